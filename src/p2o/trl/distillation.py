"""Context distillation on a GRPOTrainer: rollouts drawn from T(x, z) are trained on x (see `p2o.core.distill`).

TRL prepares the batch for the loss on the bare prompt. Only these are changed in it: the advantages (TRL allows one for
each token, "to support subclasses"), the old log-probs or, without distillation, the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import pad

from ..core.credit import Credit
from ..core.distill import log_ratio
from .batch import Batch, TokenLogps, model_tokens

Output = dict[str, Any]
"""What TRL prepares for the loss: row-aligned tensors of this rank."""

LogpsOf = Callable[[Output, list[int], list[torch.Tensor]], torch.Tensor]
"""(output, R rows, token ids of R prompts) → (R, T) log-probs of the rows' completions after these prompts, by the
current weights, without gradient (collective if the weights are sharded)."""

CorrectEngine = Callable[[Output, TokenLogps, torch.Tensor], None]
"""(output, engine log-probs of templated rows, (B, T) the trainer's log-probs on T(x, z)): writes the engine's
correction into the output."""


@dataclass(frozen=True)
class Ratios:
    """Log-probs of completions on both prompts, for the metrics."""

    bare_logps_BT: torch.Tensor
    templated_logps_BT: torch.Tensor
    tokens_BT: torch.Tensor
    """1 on the completion tokens of templated rows."""

    def of_templated_tokens(self) -> torch.Tensor:
        """(N,) log π_old(y_t | x) − log π_old(y_t | T(x, z)) of the tokens whose ratio was computed."""
        known = self.tokens_BT.bool() & (self.templated_logps_BT != 0)
        return log_ratio(self.bare_logps_BT, self.templated_logps_BT)[known]


def distill(
    output: Output, batch: Batch, credit: Credit, logps_of: LogpsOf, correct_engine: CorrectEngine | None, pad_id: int
) -> tuple[Output, Ratios | None]:
    """Trains the templated rows of a batch as the method's credit says.

    Args:
        output: TRL's batch; changed in place.
        correct_engine: None if no inference engine needs a correction.
        pad_id: the token id that pads prompts on the left.

    Returns:
        The batch, and the ratios; None if no token weights were made from them.
    """
    templated_B = torch.tensor([bool(t) for t in batch.templates], device=output["advantages"].device)
    if credit.drop_failed:
        failed_B = ~torch.tensor(batch.solved, device=templated_B.device)
        output["advantages"] = output["advantages"].masked_fill(templated_B & failed_B, 0.0)
    if credit.trained_on == "templated":
        train_on_templated_prompts(output, batch, logps_of, pad_id)
        if correct_engine:
            correct_engine(output, batch.engine_logps, output["old_per_token_logps"])
        return output, None
    if not credit.needs_ratio and not correct_engine:
        return output, None
    bare_BT, templated_BT = ratio_pass(output, batch, templated_B, logps_of, all_rows=credit.old_logps == "templated")
    if correct_engine:
        correct_engine(output, batch.engine_logps, templated_BT)
    if credit.old_logps == "templated":
        old_BT = output.get("old_per_token_logps")
        old_BT = bare_BT if old_BT is None else old_BT
        output["old_per_token_logps"] = torch.where(templated_B[:, None], templated_BT, old_BT)
    if credit.weights is None:
        return output, None
    ratios = Ratios(bare_BT, templated_BT, templated_B[:, None] * model_tokens(output))
    solved_B = torch.tensor(batch.solved, device=templated_B.device)
    weights_BT = credit.weights(bare_BT, templated_BT, templated_B, solved_B)
    # A ratio that is NaN must not count as one outside the bounds: the step that trains on it is skipped (`finite`).
    broken_BT = ratios.tokens_BT.bool() & log_ratio(bare_BT, templated_BT).isnan()
    output["advantages"] = output["advantages"][:, None] * weights_BT.masked_fill(broken_BT, math.nan)
    return output, ratios


def ratio_pass(
    output: Output, batch: Batch, templated_B: torch.Tensor, logps_of: LogpsOf, all_rows: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) log-probs on x and on T(x, z).

    Rows that need no log-probs (bare, or without advantage), and a tool's tokens, are zeros on both: their ratio is 1.

    Args:
        all_rows: compute the log-probs on x for every row.
    """
    completion_ids = output["completion_ids"]
    bare_BT = torch.zeros(completion_ids.shape, device=completion_ids.device)
    templated_BT = torch.zeros_like(bare_BT)
    live = (templated_B & (output["advantages"] != 0)).nonzero()[:, 0].tolist()
    if batch.drawn_logps:
        for n in live:
            drawn_T = torch.tensor(batch.drawn_logps.of(n, completion_ids.size(1), 0.0), device=completion_ids.device)
            templated_BT[n, : len(drawn_T)] = drawn_T
    else:
        ids = [torch.tensor(batch.templated_ids[n], device=completion_ids.device) for n in live]
        templated_BT[live] = logps_of(output, live, ids)
    old_BT = output.get("old_per_token_logps")
    if old_BT is not None:
        bare_BT[live] = old_BT[live].float()
    else:
        rows = list(range(len(batch.rows))) if all_rows else live
        bare_BT[rows] = logps_of(output, rows, [bare_ids(output, n) for n in rows])
    others_BT = ~model_tokens(output).bool()  # of a tool, or padding
    return bare_BT.masked_fill(others_BT, 0.0), templated_BT.masked_fill(others_BT, 0.0)


def bare_ids(output: Output, row: int) -> torch.Tensor:
    """The bare prompt's token ids, without padding."""
    return output["prompt_ids"][row][output["prompt_mask"][row].bool()]


def train_on_templated_prompts(output: Output, batch: Batch, logps_of: LogpsOf, pad_id: int) -> None:
    """No distillation: the gradient is computed on T(x, z), the prompt from which the rollout was generated."""
    device = output["prompt_ids"].device
    prompts = [
        torch.tensor(ids, device=device) if ids else bare_ids(output, n) for n, ids in enumerate(batch.templated_ids)
    ]
    if "old_per_token_logps" in output:
        output["old_per_token_logps"] = logps_of(output, list(range(len(prompts))), prompts)
    output["prompt_ids"] = pad(prompts, padding_value=pad_id, padding_side="left")
    output["prompt_mask"] = pad([torch.ones_like(p) for p in prompts], padding_value=0, padding_side="left")
