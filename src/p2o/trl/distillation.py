"""Context distillation on a GRPOTrainer: rollouts drawn from T(x, z) are trained on x (P²O; see `p2o.core.distill`).

Takes what TRL prepared for the loss, which stands on the bare prompt throughout, and changes only the advantages
(one per token, "to support subclasses"), the old log-probs or, without distillation, the prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from trl.trainer.utils import pad

from ..core.distill import log_ratio, ratio_mask
from ..core.rollout_log import count_ratios
from .engine import EngineLogps, correct_templated_rows

if TYPE_CHECKING:
    from .trainer import P2OTrainer

RATIO_PERCENTILES = (1, 10, 50, 90, 99)
"""Quantiles of the ratio that are logged."""

Output = dict[str, Any]
"""What `_generate_and_score_completions` returns: row-aligned tensors of this rank."""


@dataclass
class Batch:
    """One rank's rows of a generation batch, from rollout to ratio mask."""

    rows: list[dict[str, Any]]
    templates: list[str] = field(default_factory=list)
    """The template of each row's rollout; "" is bare."""
    templated_ids: list[list[int]] = field(default_factory=list)
    """Token ids of T(x, z) for each row; empty for bare rows."""
    drawn_logps: list[list[float]] = field(default_factory=list)
    """The log-probs that each rollout's tokens had when they were drawn (transformers generation; else empty)."""
    solved: list[bool] = field(default_factory=list)
    engine_logps: list[EngineLogps] = field(default_factory=list)
    """With vLLM: its log-probs of the rows drawn from T(x, z); empty for bare rows."""


def distill(trainer: P2OTrainer, output: Output, batch: Batch) -> Output:
    """Trains templated rows on the bare prompt, by the configured mode (`p2o.core.distill.Distillation`)."""
    args = trainer.args
    templated_B = torch.tensor([bool(t) for t in batch.templates], device=output["advantages"].device)
    if args.drop_failed_template_rollout:
        failed_B = ~torch.tensor(batch.solved, device=templated_B.device)
        output["advantages"] = output["advantages"].masked_fill(templated_B & failed_B, 0.0)
    if args.distillation == "none":
        output = train_on_templated_prompts(trainer, output, batch)
        if trainer.corrects_engine:
            correct_templated_rows(trainer, output, batch.engine_logps, output["old_per_token_logps"])
        return output
    if args.distillation == "no_mask" and not trainer.corrects_engine:
        return output
    bare_BT, templated_BT = ratio_pass(trainer, output, batch, templated_B)
    if trainer.corrects_engine:
        correct_templated_rows(trainer, output, batch.engine_logps, templated_BT)
    if args.distillation == "no_mask":
        return output
    if args.distillation == "importance":
        old_BT = output.get("old_per_token_logps")
        old_BT = bare_BT if old_BT is None else old_BT
        output["old_per_token_logps"] = torch.where(templated_B[:, None], templated_BT, old_BT)
        return output
    mask_BT = ratio_mask(
        bare_BT,
        templated_BT,
        templated_B,
        low=args.ratio_low,
        high=args.ratio_high,
        soft=args.distillation == "soft",
        soft_max=args.soft_max,
    )
    tokens_BT = templated_B[:, None] * output["completion_mask"]
    log_ratios(trainer, bare_BT, templated_BT, tokens_BT)
    # A ratio that is no number must not pass for one outside the bounds: the step that trains it is skipped (`finite`).
    broken_BT = tokens_BT.bool() & log_ratio(bare_BT, templated_BT).isnan()
    output["advantages"] = output["advantages"][:, None] * mask_BT.masked_fill(broken_BT, math.nan)
    return output


def ratio_pass(
    trainer: P2OTrainer, output: Output, batch: Batch, templated_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) log-probs on x and on T(x, z).

    Rows that need none (bare, or without advantage) hold zeros, so their ratio is 1. With ``importance`` every row
    needs its log-prob on x.
    """
    completion_ids = output["completion_ids"]
    bare_BT = torch.zeros(completion_ids.shape, device=completion_ids.device)
    templated_BT = torch.zeros_like(bare_BT)
    live = (templated_B & (output["advantages"] != 0)).nonzero()[:, 0].tolist()
    with trainer.cost.timed("ratio"):
        if batch.drawn_logps:
            for n in live:
                drawn_T = torch.tensor(batch.drawn_logps[n], device=completion_ids.device)
                templated_BT[n, : len(drawn_T)] = drawn_T
        else:
            ids = [torch.tensor(batch.templated_ids[n], device=completion_ids.device) for n in live]
            logps_of_rows(trainer, output, live, ids, templated_BT)
        old_BT = output.get("old_per_token_logps")
        if old_BT is not None:
            bare_BT[live] = old_BT[live].float()
        else:
            rows = list(range(len(batch.rows))) if trainer.args.distillation == "importance" else live
            logps_of_rows(trainer, output, rows, [bare_ids(output, n) for n in rows], bare_BT)
    return bare_BT, templated_BT


def logps_of_rows(
    trainer: P2OTrainer, output: Output, rows: list[int], prompt_ids: list[torch.Tensor], into_BT: torch.Tensor
) -> None:
    """Log-probs of the rows' completions after the given prompts, by the current weights, without gradient."""
    padded_rows = rows
    if trainer.weights_are_sharded:  # all ranks must run equally many forwards
        spare = max(gather_object([len(rows)])) - len(rows)
        prompt_ids = prompt_ids + [bare_ids(output, 0)] * spare
        padded_rows = rows + [0] * spare
    if not padded_rows:
        return
    prompts = pad(prompt_ids, padding_value=trainer._tokenizer.pad_token_id, padding_side="left")
    masks = pad([torch.ones_like(p) for p in prompt_ids], padding_value=0, padding_side="left")
    completion_mask = output["completion_mask"][padded_rows]
    with torch.no_grad():
        logps = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([prompts, output["completion_ids"][padded_rows]], dim=1),
            torch.cat([masks, completion_mask], dim=1),
            into_BT.size(1),
            batch_size=trainer.args.per_device_train_batch_size,
        )[0]
    trainer.count_scored("ratio", masks, completion_mask)
    into_BT[rows] = logps[: len(rows)].float()


def bare_ids(output: Output, row: int) -> torch.Tensor:
    """The bare prompt's token ids, without padding."""
    return output["prompt_ids"][row][output["prompt_mask"][row].bool()]


def train_on_templated_prompts(trainer: P2OTrainer, output: Output, batch: Batch) -> Output:
    """No distillation: the gradient is taken on T(x, z), from which the rollout was drawn."""
    device = output["prompt_ids"].device
    prompts = [
        torch.tensor(ids, device=device) if ids else bare_ids(output, n) for n, ids in enumerate(batch.templated_ids)
    ]
    if "old_per_token_logps" in output:
        old_BT = torch.zeros_like(output["old_per_token_logps"], dtype=torch.float32)
        with trainer.cost.timed("ratio"):
            logps_of_rows(trainer, output, list(range(len(prompts))), prompts, old_BT)
        output["old_per_token_logps"] = old_BT
    output["prompt_ids"] = pad(prompts, padding_value=trainer._tokenizer.pad_token_id, padding_side="left")
    output["prompt_mask"] = pad([torch.ones_like(p) for p in prompts], padding_value=0, padding_side="left")
    return output


def log_ratios(trainer: P2OTrainer, bare_BT: torch.Tensor, templated_BT: torch.Tensor, tokens_BT: torch.Tensor) -> None:
    """Logs where the ratios lie on all ranks; ``tokens_BT`` are the completion tokens of templated rows."""
    local = log_ratio(bare_BT, templated_BT)[tokens_BT.bool() & (templated_BT != 0)]
    padded = trainer.accelerator.gather(trainer.accelerator.pad_across_processes(local, pad_index=math.nan))
    ratios = padded[~padded.isnan()]
    if not ratios.numel():
        return
    trainer.record.add_ratios(trainer._step, count_ratios(ratios))
    metrics = trainer._metrics["train"]
    metrics["p2o/ratio_below"].append((ratios < math.log(trainer.args.ratio_low)).float().mean().item())
    metrics["p2o/ratio_above"].append((ratios > math.log(trainer.args.ratio_high)).float().mean().item())
    for percent in RATIO_PERCENTILES:
        quantile = ratios.kthvalue(max(1, math.ceil(percent / 100 * ratios.numel()))).values
        metrics[f"p2o/ratio_q{percent:02d}"].append(quantile.exp().item())
