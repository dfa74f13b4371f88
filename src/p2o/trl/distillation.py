"""Context distillation on a GRPOTrainer: rollouts drawn from T(x, z) are trained on x (see `p2o.core.distill`).

TRL prepares the batch for the loss on the bare prompt. Only these are changed in it: the advantages (TRL allows one for
each token, "to support subclasses"), the old log-probs or, without distillation, the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.utils import pad

from ..core.credit import Credit
from ..core.distill import log_ratio
from .batch import Batch, TokenLogps, model_tokens

if TYPE_CHECKING:
    from ..core.credit import Weights

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
) -> Ratios | None:
    """Trains the templated rows of a batch as the method's credit says.

    Args:
        output: TRL's batch; changed in place.
        correct_engine: None if no inference engine needs a correction.
        pad_id: the token id that pads prompts on the left.

    Returns:
        The ratios; None if no token weights were made from them. Where the loss's own forward pass gives the log-probs
        on x, `weigh` makes the weights then, and the batch has the fields `UNWEIGHED`.
    """
    device = output["advantages"].device
    templated_B = torch.tensor([bool(t) for t in batch.templates], device=device)
    solved_B = torch.tensor(batch.solved, device=device)
    if credit.drop_failed:
        output["advantages"] = output["advantages"].masked_fill(templated_B & ~solved_B, 0.0)
    if credit.trained_on == "templated":
        train_on_templated_prompts(output, batch, logps_of, pad_id)
        if correct_engine:
            correct_engine(output, batch.engine_logps, output["old_per_token_logps"])
        return None
    if not credit.needs_ratio and not correct_engine:
        return None
    live = (templated_B & (output["advantages"] != 0)).nonzero()[:, 0].tolist()
    templated_BT = logps_under_templates(output, batch, live, logps_of)
    old_BT = output.get("old_per_token_logps")
    if credit.weights is not None:
        output |= dict(zip(UNWEIGHED, (templated_BT, templated_B, solved_B), strict=True))
        if credit.old_logps == "bare" and old_BT is None and not (correct_engine or credit.flat):
            return None
    bare_BT = old_BT
    if bare_BT is None:
        rows = list(range(len(batch.rows))) if credit.old_logps == "templated" else live
        bare_BT = torch.zeros_like(templated_BT)
        bare_BT[rows] = logps_of(output, rows, [bare_ids(output, n) for n in rows])
    if correct_engine:
        correct_engine(output, batch.engine_logps, templated_BT)
    if credit.old_logps == "templated":
        output["old_per_token_logps"] = torch.where(templated_B[:, None], templated_BT, bare_BT)
    return weigh(output, bare_BT, credit.weights) if credit.weights is not None else None


UNWEIGHED = ("templated_logps", "templated", "solved")
"""Fields of a batch whose tokens have no weights yet: (B, T) log-probs under the templates, (B,) which rows were drawn
under one, and (B,) which are solved."""


def weigh(inputs: Output, bare_logps_BT: torch.Tensor, weights: Weights) -> Ratios:
    """Multiplies the advantages by the weight of each token. Takes the fields `UNWEIGHED` out.

    Args:
        inputs: a batch, or a part of it.
        bare_logps_BT: (B, T) log π_old(y_t | x), at least of the templated rows with an advantage.
    """
    templated_BT, templated_B, solved_B = (inputs.pop(name) for name in UNWEIGHED)
    live_B = templated_B & (inputs["advantages"] != 0)
    tokens_BT = templated_B[:, None] * model_tokens(inputs)
    # A row without advantage, and what is a tool's or padding, is 0 on both: its ratio is 1.
    bare_BT = bare_logps_BT.float().masked_fill(~live_B[:, None] | (model_tokens(inputs) == 0), 0.0)
    weights_BT = weights(bare_BT, templated_BT, templated_B, solved_B)
    # A ratio that is NaN must not count as one outside the bounds: the step that trains on it is skipped (`finite`).
    broken_BT = tokens_BT.bool() & log_ratio(bare_BT, templated_BT).isnan()
    inputs["advantages"] = inputs["advantages"][:, None] * weights_BT.masked_fill(broken_BT, math.nan)
    return Ratios(bare_BT, templated_BT, tokens_BT)


def logps_under_templates(output: Output, batch: Batch, rows: list[int], logps_of: LogpsOf) -> torch.Tensor:
    """(B, T) log-probs of the rows on T(x, z), as they were recorded, or computed; 0 on other rows, on a tool's tokens
    and on given rows, whose ratio is π(y_t | x)."""
    completion_ids = output["completion_ids"]
    rows = [n for n in rows if n not in batch.given_ids]
    templated_BT = torch.zeros(completion_ids.shape, device=completion_ids.device)
    if batch.drawn_logps:
        width = completion_ids.size(1)
        drawn = [batch.drawn_logps.of(n, width, 0.0) for n in rows]
        padded = [[*row, *[0.0] * (width - len(row))] for row in drawn]
        templated_BT[rows] = torch.tensor(padded, device=completion_ids.device).view(-1, width)
    else:
        ids = [torch.tensor(batch.templated_ids[n], device=completion_ids.device) for n in rows]
        templated_BT[rows] = logps_of(output, rows, ids)
    return templated_BT.masked_fill(~model_tokens(output).bool(), 0.0)


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
