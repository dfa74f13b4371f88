"""The ratio mask on verl's batches: log π_old(y | T(x, z)) by verl's own log-prob pass, then `p2o.core.distill`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import transfer_queue as tq
from tensordict import NonTensorData, NonTensorStack, TensorDict
from torch.nn.utils.rnn import pad_sequence
from verl.protocol import DataProto
from verl.utils.debug.metrics import calculate_debug_metrics
from verl.workers.utils.padding import response_from_nested

from ..core.distill import log_ratio, ratio_mask
from .batch import Row, jagged, write_column
from .settings import VerlSettings

if TYPE_CHECKING:
    from .trainer import P2OTrainer

PARTITION = "p2o"
"""Partition of the transfer queue for the second pass; empty outside it."""


def onto_bare_prompt(trainer: P2OTrainer, batch: Any, rows: Sequence[Row], metrics: dict[str, Any]) -> Any:
    """Sets the templated rows' weights, and moves their engine log-probs onto x, where verl compares them."""
    mode = trainer.settings.distillation
    templated = [row for row in rows if row.template]
    bare = logps = [row.old_logps_T for row in templated]
    if mode != "no_mask":
        with trainer.cost.timed("ratio") as cost:
            logps = templated_logps(trainer, templated)
        cost.add(scored_tokens=sum(len(r.templated_ids) + len(r.responses_T) for r in templated))
    if mode in ("mask", "soft"):
        for row, weights in zip(templated, token_weights(bare, logps, trainer.settings), strict=True):
            row.weights_T = weights
        metrics.update(log_ratios(bare, logps, [row.mask_T for row in templated], trainer.settings))
    if mode == "importance":
        for row, logp in zip(templated, logps, strict=True):
            row.old_logps_T = logp
        return write_column(batch, "old_log_probs", [row.old_logps_T for row in rows])
    if rows[0].rollout_logps_T is None:
        return batch
    # The engine's log-probs are of T(x, z): keep their distance from the trainer's, on x (none without the pass).
    for row, logp in zip(templated, logps, strict=True):
        engine = logp if row.rollout_logps_T is None or mode == "no_mask" else row.rollout_logps_T
        row.rollout_logps_T = row.old_logps_T + engine - logp
    columns = [row.rollout_logps_T for row in rows if row.rollout_logps_T is not None]
    batch = write_column(batch, "rollout_log_probs", columns)
    names = ["responses", "response_mask", "old_log_probs", "rollout_log_probs"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    metrics.update(calculate_debug_metrics(DataProto(batch=data.to_padded_tensor())))
    return batch


def weigh(trainer: P2OTrainer, batch: Any, rows: Sequence[Row]) -> Any:
    """Writes each token's weight, times verl's own (the correction of the engine's log-probs) if there is one."""
    weights = [row.weights_T for row in rows]
    if trainer.settings.drop_failed_template_rollout:
        dropped = [bool(row.template) and not trainer.is_solved(row.reward, row.extra) for row in rows]
        weights = [torch.zeros_like(w) if drop else w for w, drop in zip(weights, dropped, strict=True)]
    if trainer.config.algorithm.rollout_correction.rollout_is and rows[0].rollout_logps_T is not None:
        names = ["rollout_is_weights"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
        weights = [w * own for w, own in zip(weights, data["rollout_is_weights"].unbind(), strict=True)]
    return write_column(batch, "rollout_is_weights", weights)


def templated_logps(trainer: P2OTrainer, rows: Sequence[Row]) -> list[torch.Tensor]:
    """(T,) log π_old(y_t | T(x, z)) of each templated row, by the weights in training."""
    rollout = trainer.config.actor_rollout_ref.rollout
    # The workers take a multiple of so many rows; the first row is repeated to fill up.
    ranks = max(trainer.actor_rollout_wg._dispatch_info["actor"]) + 1
    multiple = ranks * (1 if rollout.log_prob_use_dynamic_bsz else int(rollout.log_prob_micro_batch_size_per_gpu))
    filled = [*rows, *[rows[0]] * (-len(rows) % multiple)]
    prompts = [torch.tensor(row.templated_ids, dtype=torch.int64) for row in filled]
    input_ids = [torch.cat([p, row.responses_T]) for p, row in zip(prompts, filled, strict=True)]
    masks = jagged([row.mask_T for row in filled])
    fields = TensorDict(
        {
            "prompts": jagged(prompts),
            "responses": jagged([row.responses_T for row in filled]),
            "response_mask": masks,
            "loss_mask": masks,
            "input_ids": jagged(input_ids),
            "position_ids": jagged([torch.arange(len(ids)) for ids in input_ids]),
            "multi_modal_inputs": NonTensorStack.from_list([NonTensorData({}) for _ in filled]),
        },
        batch_size=len(filled),
    )
    keys = [f"{PARTITION}{n}_{row.key}" for n, row in enumerate(filled)]
    tags = [{"status": "success", "seq_len": len(ids)} for ids in input_ids]
    # What comes back knows the fields; the workers would not see those of a batch made by hand.
    batch = tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=fields, tags=tags)
    batch.extra_info = {"temperature": rollout.temperature, "calculate_entropy": False, "compute_loss": False}
    try:
        trainer.actor_rollout_wg.compute_log_prob(batch)
        data = tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=["log_probs", "response_mask"])
    finally:
        tq.kv_clear(keys=keys, partition_id=PARTITION)
    return list(response_from_nested(data["log_probs"], data["response_mask"]).unbind())[: len(rows)]


def token_weights(
    bare: Sequence[torch.Tensor], templated: Sequence[torch.Tensor], settings: VerlSettings
) -> list[torch.Tensor]:
    """(T,) weight of each token's loss, for each templated rollout. A ratio that is not a number gives NaN: verl skips
    an update whose gradient is not finite.

    Args:
        bare, templated: (T,) log π_old(y_t | x) and log π_old(y_t | T(x, z)) of each rollout.
    """
    bare_BT, templated_BT = (pad_sequence(list(rows), batch_first=True).float() for rows in (bare, templated))
    weights_BT = ratio_mask(
        bare_BT,
        templated_BT,
        torch.ones(len(bare_BT), dtype=torch.bool),
        low=settings.ratio_low,
        high=settings.ratio_high,
        soft=settings.distillation == "soft",
        soft_max=settings.soft_max,
    )
    weights_BT = weights_BT.masked_fill(log_ratio(bare_BT, templated_BT).isnan(), math.nan)
    return [weights[: len(row)] for weights, row in zip(weights_BT, bare, strict=True)]


def log_ratios(
    bare: Sequence[torch.Tensor],
    templated: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor],
    settings: VerlSettings,
) -> dict[str, float]:
    """Where the ratios of the templated rollouts' tokens lie: shares outside the bounds, quantiles."""
    ratios = torch.cat([log_ratio(b, t)[m.bool()] for b, t, m in zip(bare, templated, masks, strict=True)])
    ratios = ratios[~ratios.isnan()]
    if not ratios.numel():
        return {}
    quantiles = ratios.quantile(torch.tensor([0.01, 0.1, 0.5, 0.9, 0.99])).exp().tolist()
    return {
        "p2o/ratio_below": (ratios < math.log(settings.ratio_low)).float().mean().item(),
        "p2o/ratio_above": (ratios > math.log(settings.ratio_high)).float().mean().item(),
        **{f"p2o/ratio_q{p:02d}": q for p, q in zip((1, 10, 50, 90, 99), quantiles, strict=True)},
    }
