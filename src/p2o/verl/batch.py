"""Rollouts of a verl batch, read from the transfer queue and written back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transfer_queue as tq
from tensordict import NonTensorData, NonTensorStack, TensorDict

from ..core.hard import is_solved
from ..errors import ConfigError
from .agent_loop import OVERFLOW, PROMPT_IDS, SAMPLE_ID, TEMPLATE
from .texts import text_of


def success_reward(name: str | None, reward: float, extra: Mapping[str, Any]) -> float:
    """The reward that says what *solved* means.

    Args:
        name: key of the dictionary that verl's reward function returns; None for the reward itself.
        extra: verl's extra fields of the rollout, with that dictionary.

    Raises:
        ConfigError: the dictionary has no such key.
    """
    if name is None:
        return reward
    returned = extra.get("reward_extra_info") or {}
    if name not in returned:
        raise ConfigError(
            f"p2o.success_reward is {name!r}, but the reward function returned {', '.join(returned) or 'a number'}; "
            "name a key of the dictionary that it returns"
        )
    return float(returned[name])


def column(values: Sequence[Any]) -> NonTensorStack:
    """One value of any type for each row."""
    return NonTensorStack.from_list([NonTensorData(value) for value in values])


def read_tokens(prompt: int, mask_T: torch.Tensor) -> int:
    """Tokens read while a rollout is drawn: each turn reads the prompt and all turns before it.

    Args:
        prompt: length of the prompt.
        mask_T: (T,) over the response, 1 on the model's own tokens.
    """
    begins = (mask_T.bool() & ~torch.cat([mask_T.new_zeros(1), mask_T[:-1]]).bool()).nonzero()
    return prompt * max(1, len(begins)) + int(begins.sum())


@dataclass
class BatchRollout:
    """One rollout of a training batch; tensors are (T,), over its response tokens."""

    key: str
    uid: str
    """Of its group in this batch."""
    sample_id: str
    prompt_tokens: int
    """Length of the stored prompt."""
    responses_T: torch.Tensor
    """All turns: what the model wrote, and what tools and environments answered."""
    mask_T: torch.Tensor
    """1 on the model's own tokens."""
    old_logps_T: torch.Tensor
    """log π_old(y_t | stored prompt)"""
    rollout_logps_T: torch.Tensor | None
    """The inference engine's log-probs on the prompt that it was given; None where verl does not ask for them."""
    reward: float
    success: float
    """The reward that says what *solved* means."""
    solved: bool
    extra: dict[str, Any]
    is_padding: bool
    """verl's own filling row."""
    weights_T: torch.Tensor
    """Weight of each token's loss; ones until the ratio mask is known."""

    @property
    def did_not_fit(self) -> bool:
        """Whether its T(x, z) was too long, so that it was drawn bare."""
        return OVERFLOW in self.extra

    @property
    def generated_tokens(self) -> int:
        """The model's own tokens."""
        return int(self.mask_T.sum())

    @property
    def read_tokens(self) -> int:
        """Tokens read to draw it, see `read_tokens`."""
        return read_tokens(len(self.templated_ids) if self.template else self.prompt_tokens, self.mask_T)

    @property
    def template(self) -> str:
        """The template that it was drawn under; "" is bare."""
        return "" if self.is_padding else text_of(self.extra.get(TEMPLATE, 0))

    @property
    def templated_ids(self) -> list[int]:
        """Token ids of T(x, z), for a templated rollout."""
        return list(self.extra[PROMPT_IDS])


def read_rollouts(
    batch: Any, rollout_logps: bool, success_name: str | None, success_threshold: float
) -> list[BatchRollout]:
    """All rollouts of a batch, in its order.

    Args:
        batch: a `KVBatchMeta` of the transfer queue.
        rollout_logps: whether it holds the inference engine's log-probs.
        success_name: see `success_reward`.
        success_threshold: a rollout is solved when that reward is at least this.
    """
    tensors = ["prompts", "responses", "response_mask", "old_log_probs", "rm_scores"]
    tensors += ["rollout_log_probs"] if rollout_logps else []
    names = [*tensors, "uid", SAMPLE_ID, "extra_fields"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    columns = {name: list(data[name].unbind() if name in tensors else data[name]) for name in names}
    extras = [dict(extra or {}) for extra in columns["extra_fields"]]
    rewards = [float(scores.sum()) for scores in columns["rm_scores"]]
    success = [success_reward(success_name, r, extra) for r, extra in zip(rewards, extras, strict=True)]
    padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
    return [
        BatchRollout(
            key=key,
            uid=columns["uid"][n],
            sample_id=columns[SAMPLE_ID][n],
            prompt_tokens=len(columns["prompts"][n]),
            responses_T=columns["responses"][n],
            mask_T=columns["response_mask"][n],
            old_logps_T=columns["old_log_probs"][n],
            rollout_logps_T=columns["rollout_log_probs"][n] if rollout_logps else None,
            reward=rewards[n],
            success=success[n],
            solved=is_solved(success[n], success_threshold),
            extra=extras[n],
            is_padding=padding[n],
            weights_T=torch.ones(len(columns["response_mask"][n])),
        )
        for n, key in enumerate(batch.keys)
    ]


def by_group(rollouts: Sequence[BatchRollout]) -> list[list[BatchRollout]]:
    """The rollouts of each group, without verl's filling rows."""
    groups: dict[str, list[BatchRollout]] = {}
    for rollout in rollouts:
        if not rollout.is_padding:
            groups.setdefault(rollout.uid, []).append(rollout)
    return list(groups.values())


def write_column(batch: Any, name: str, values: Sequence[torch.Tensor]) -> Any:
    """Writes one value per response token for all rows.

    Returns the batch to continue with: the one passed does not know the new column, and the workers would not see it.
    """
    fields = TensorDict({name: jagged(values)}, batch_size=len(values))
    return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)


def jagged(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of different lengths as one nested tensor, as verl's batches hold them."""
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)
