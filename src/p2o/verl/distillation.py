"""Context distillation on verl's batches (see `p2o.core.credit`).

Everything that verl computes is computed on the bare prompt x. Here log π_old(y | T(x, z)) is added by verl's own
log-prob pass, and the method's token weights (P²O's ratio mask) enter as verl's weight of each token's loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transfer_queue as tq
from tensordict import NonTensorData, NonTensorStack, TensorDict
from torch.nn.utils.rnn import pad_sequence
from verl.protocol import DataProto
from verl.utils.debug.metrics import calculate_debug_metrics
from verl.workers.utils.padding import response_from_nested

from ..core.credit import Credit
from ..core.distill import log_ratio
from .batch import BatchRollout, jagged, write_column

if TYPE_CHECKING:
    from ..core.credit import Weights

PARTITION = "p2o"
"""Partition of the transfer queue for the second log-prob pass; empty outside it."""

WEIGHTS = "rollout_is_weights"
"""verl's column of token weights, by which its policy losses are multiplied."""

LogProbs = Callable[[Sequence[BatchRollout]], list[torch.Tensor]]
"""(T,) log π_old(y_t | T(x, z)) of each templated rollout."""


@dataclass
class Distilled:
    """What distillation makes of a batch of R rollouts."""

    batch: Any
    """To continue with, see `write_column`."""
    weights: list[torch.Tensor]
    """R times (T,): weight of each token's loss."""
    log_ratios_N: torch.Tensor
    """(N,) log-ratios of the templated rollouts' tokens from which weights were made, without NaN."""


def distill(
    batch: Any, rollouts: Sequence[BatchRollout], credit: Credit, log_probs: LogProbs, corrects_engine: bool
) -> Distilled:
    """Trains the templated rollouts of a batch as the method's credit says.

    Args:
        batch: the `KVBatchMeta` of the rollouts.
        rollouts: all of the batch, in its order.
        log_probs: the second log-prob pass.
        corrects_engine: whether verl weighs tokens by trainer over engine (``algorithm.rollout_correction``).
    """
    dropped = [credit.drop_failed and bool(r.template) and not r.solved for r in rollouts]
    weights = [torch.full((len(r.mask_T),), 0.0 if drop else 1.0) for r, drop in zip(rollouts, dropped, strict=True)]
    ratios_N = torch.empty(0)
    if credit.trained_on == "templated":  # stored under T(x, z) from the start
        return Distilled(batch, weights, ratios_N)
    places = [n for n, rollout in enumerate(rollouts) if rollout.template]
    templated = [rollouts[n] for n in places]
    bare = [rollout.old_logps_T for rollout in templated]
    under_template = log_probs(templated) if credit.needs_ratio or corrects_engine else bare
    if credit.weights is not None:
        pairs = [_on_own_tokens(r.mask_T, r.old_logps_T, t) for r, t in zip(templated, under_template, strict=True)]
        solved = [rollout.solved for rollout in templated]
        made = token_weights([b for b, _ in pairs], [t for _, t in pairs], solved, credit.weights)
        for n, own_T in zip(places, made, strict=True):
            weights[n] = weights[n] * own_T
        ratios_N = _log_ratios(templated, under_template)
    old = [rollout.old_logps_T for rollout in rollouts]
    engine = [rollout.rollout_logps_T for rollout in rollouts]
    for n, logps_T in zip(places, under_template, strict=True):
        engine_T = engine[n]
        if credit.old_logps == "templated":
            old[n] = logps_T
        elif engine_T is not None:
            # The engine's are on T(x, z): keep their distance from the trainer's, on x.
            engine[n] = old[n] + (engine_T - logps_T if under_template is not bare else 0.0)
    if credit.old_logps == "templated":
        batch = write_column(batch, "old_log_probs", old)
    elif known := [logps_T for logps_T in engine if logps_T is not None]:
        batch = write_column(batch, "rollout_log_probs", known)
    return Distilled(batch, weights, ratios_N)


def token_weights(
    bare: Sequence[torch.Tensor], templated: Sequence[torch.Tensor], solved: Sequence[bool], weights: Weights
) -> list[torch.Tensor]:
    """(T,) weights of each templated rollout's tokens. A ratio that is not a number gives NaN: verl skips an update
    whose gradient is not finite.

    Args:
        bare, templated: (T,) log π_old(y_t | x) and log π_old(y_t | T(x, z)) of each rollout.
        solved: of each rollout.
        weights: of the method's credit.
    """
    bare_BT, templated_BT = (pad_sequence(list(rows), batch_first=True).float() for rows in (bare, templated))
    weights_BT = weights(bare_BT, templated_BT, torch.ones(len(bare_BT), dtype=torch.bool), torch.tensor(solved))
    weights_BT = weights_BT.masked_fill(log_ratio(bare_BT, templated_BT).isnan(), math.nan)
    return [weights_T[: len(row)] for weights_T, row in zip(weights_BT, bare, strict=True)]


def _on_own_tokens(mask_T: torch.Tensor, *logps: torch.Tensor) -> list[torch.Tensor]:
    """(T,) log-probs, 0 where a tool or an environment wrote: no ratio is taken there."""
    return [logps_T.masked_fill(~mask_T.bool(), 0.0) for logps_T in logps]


def _log_ratios(rollouts: Sequence[BatchRollout], templated: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N,) of all tokens, without NaN."""
    ratios = [log_ratio(r.old_logps_T, t)[r.mask_T.bool()] for r, t in zip(rollouts, templated, strict=True)]
    ratios_N = torch.cat(ratios)
    return ratios_N[~ratios_N.isnan()]


def write_weights(batch: Any, weights: Sequence[torch.Tensor], times_verls_own: bool) -> Any:
    """Writes each token's weight.

    Args:
        weights: (T,) of each rollout.
        times_verls_own: the batch holds verl's own weights (trainer over engine): the product is written.
    """
    if times_verls_own:
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=[WEIGHTS])
        weights = [w * own for w, own in zip(weights, data[WEIGHTS].unbind(), strict=True)]
    return write_column(batch, WEIGHTS, weights)


def engine_metrics(batch: Any) -> dict[str, Any]:
    """verl's comparison of trainer and engine. verl takes it before the templated rollouts' log-probs are put on one
    prompt; taken again afterwards it replaces those figures."""
    names = ["responses", "response_mask", "old_log_probs", "rollout_log_probs"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    metrics: dict[str, Any] = calculate_debug_metrics(DataProto(batch=data.to_padded_tensor()))
    return metrics


def templated_log_probs(
    rollouts: Sequence[BatchRollout], compute: Callable[[Any], Any], multiple: int, temperature: float
) -> list[torch.Tensor]:
    """(T,) log π_old(y_t | T(x, z)) of each templated rollout, by the weights in training.

    Args:
        compute: the workers' log-prob pass on a `KVBatchMeta`; it writes ``log_probs``.
        multiple: the workers take a multiple of this number of rows; the first row is repeated to fill up.
        temperature: of the rollouts.
    """
    filled = [*rollouts, *[rollouts[0]] * (-len(rollouts) % multiple)]
    prompts = [torch.tensor(rollout.templated_ids, dtype=torch.int64) for rollout in filled]
    input_ids = [torch.cat([p, rollout.responses_T]) for p, rollout in zip(prompts, filled, strict=True)]
    masks = jagged([rollout.mask_T for rollout in filled])
    fields = TensorDict(
        {
            "prompts": jagged(prompts),
            "responses": jagged([rollout.responses_T for rollout in filled]),
            "response_mask": masks,
            "loss_mask": masks,
            "input_ids": jagged(input_ids),
            "position_ids": jagged([torch.arange(len(ids)) for ids in input_ids]),
            "multi_modal_inputs": NonTensorStack.from_list([NonTensorData({}) for _ in filled]),
        },
        batch_size=len(filled),
    )
    keys = [f"{PARTITION}{n}_{rollout.key}" for n, rollout in enumerate(filled)]
    tags = [{"status": "success", "seq_len": len(ids)} for ids in input_ids]
    # What comes back knows the fields; the workers would not see those of a batch made by hand.
    batch = tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=fields, tags=tags)
    batch.extra_info = {"temperature": temperature, "calculate_entropy": False, "compute_loss": False}
    try:
        compute(batch)
        data = tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=["log_probs", "response_mask"])
    finally:
        tq.kv_clear(keys=keys, partition_id=PARTITION)
    return list(response_from_nested(data["log_probs"], data["response_mask"]).unbind())[: len(rollouts)]
