"""Rows of a verl batch, read from the transfer queue and written back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transfer_queue as tq
from tensordict import NonTensorData, NonTensorStack, TensorDict

from ..core.samples import Sample
from ..data import stable_id
from .agent_loop import PROMPT_IDS, SAMPLE_ID, TEMPLATE


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row of verl's data set; its id is a hash of prompt and answer (verl's ``index`` may be
    missing, and its ``uid`` is new at each fetch)."""
    messages = [{"role": m["role"], "content": m["content"]} for m in row["raw_prompt"]]
    gold = (row.get("reward_model") or {}).get("ground_truth")
    answer = None if gold is None else str(gold)
    return Sample(stable_id(messages, [] if answer is None else [answer]), messages, answer)


def column(values: Sequence[Any]) -> NonTensorStack:
    """One value of any type for each row."""
    return NonTensorStack.from_list([NonTensorData(value) for value in values])


@dataclass
class Row:
    """One rollout of a training batch; tensors are (T,), over its response tokens."""

    key: str
    uid: str
    """Of its group in this batch."""
    sample_id: str
    prompt_tokens: int
    """Length of the stored prompt."""
    responses_T: torch.Tensor
    mask_T: torch.Tensor
    old_logps_T: torch.Tensor
    """log π_old(y_t | stored prompt)"""
    rollout_logps_T: torch.Tensor | None
    """The inference engine's log-probs on the prompt that it was given; None where verl does not ask for them."""
    reward: float
    extra: dict[str, Any]
    is_padding: bool
    """verl's own filling row."""
    weights_T: torch.Tensor
    """Weight of each token's loss; ones until the ratio mask is known."""

    @property
    def template(self) -> str:
        """The template that it was drawn under; "" is bare."""
        return "" if self.is_padding else str(self.extra.get(TEMPLATE, ""))

    @property
    def templated_ids(self) -> list[int]:
        """Token ids of T(x, z), for a templated rollout."""
        return list(self.extra[PROMPT_IDS])


def read_rows(batch: Any, rollout_logps: bool) -> list[Row]:
    """All rows of a batch (a `KVBatchMeta` of the transfer queue), in its order."""
    tensors = ["prompts", "responses", "response_mask", "old_log_probs", "rm_scores"]
    tensors += ["rollout_log_probs"] if rollout_logps else []
    names = [*tensors, "uid", SAMPLE_ID, "extra_fields"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    columns = {name: list(data[name].unbind() if name in tensors else data[name]) for name in names}
    return [
        Row(
            key=key,
            uid=columns["uid"][n],
            sample_id=columns[SAMPLE_ID][n],
            prompt_tokens=len(columns["prompts"][n]),
            responses_T=columns["responses"][n],
            mask_T=columns["response_mask"][n],
            old_logps_T=columns["old_log_probs"][n],
            rollout_logps_T=columns["rollout_log_probs"][n] if rollout_logps else None,
            reward=float(columns["rm_scores"][n].sum()),
            extra=dict(columns["extra_fields"][n] or {}),
            is_padding=bool(batch.tags[n].get("is_padding", False)),
            weights_T=torch.ones(len(columns["response_mask"][n])),
        )
        for n, key in enumerate(batch.keys)
    ]


def write_column(batch: Any, name: str, values: Sequence[torch.Tensor]) -> Any:
    """Writes one value per response token for all rows.

    Returns the batch to go on with: the one passed does not know the new column, and the workers would not see it.
    """
    fields = TensorDict({name: jagged(values)}, batch_size=len(values))
    return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)


def jagged(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of different lengths as one nested tensor, as verl's batches hold them."""
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)
