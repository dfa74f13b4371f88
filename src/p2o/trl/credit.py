"""Hook *credit* on TRL: log-probs on both prompts, token weights and the KL term, on a batch of rollouts."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.trainer.utils import pad

from ..core.cost import CostMeter
from ..core.kl_term import KlTerm
from ..core.loop import JointLoop
from ..core.ratio_log import ratio_metrics
from ..core.rollout_log import RolloutLog, count_ratios
from ..errors import ConfigError
from .batch import Batch, TokenLogps
from .distillation import Output, Ratios, bare_ids, distill, weigh
from .drawing import DrawingTrainer
from .engine import EngineCorrection, mismatch_metrics
from .kl import Head, head_of, kl_loss, teach
from .ranks import gather_values


class CreditTrainer(DrawingTrainer):
    """Trains scaffolded rollouts as the method's credit says; used by `p2o.trl.step.StepTrainer`."""

    loop: JointLoop
    cost: CostMeter
    rollout_log: RolloutLog
    unweighed: Output | None = None
    """The part of a batch whose loss is being computed, if its tokens have no weights yet."""

    def check_credit(self) -> None:
        """Raises ConfigError where the KL term, or the worth of templates, cannot be computed."""
        if self.args.template_worth != "success" and (self.tools or self.weights_are_sharded):
            why = "conversations with tools" if self.tools else "rollouts with weights that are sharded over processes"
            worth = self.args.template_worth
            raise ConfigError(f"template_worth: {worth} cannot score {why}; set template_worth to success")
        if self.loop.credit().kl is None:
            return
        if self.weights_are_sharded:
            raise ConfigError(
                "a KL term cannot be computed with weights that are sharded over processes; take a method and a "
                "distillation without one"
            )
        _ = self._head

    def _append_metrics(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._metrics["train"][name].append(value)

    @property
    def all_are_taught(self) -> bool:
        """Whether a KL term is on all rollouts, not on templated ones alone."""
        term = self.loop.credit().kl
        return term is not None and term.teacher is not None

    def _distill(self, output: Output, batch: Batch) -> Output:
        credit = self.loop.credit()
        if credit.kl:
            self._teach(output, batch, credit.kl)
        if not self.loop.assignment:
            return output
        corrects = self.use_vllm and self.vllm_importance_sampling_correction
        ratios = distill(
            output,
            batch,
            credit,
            self._logps_of,
            self._correct_engine if corrects else None,
            self._tokenizer.pad_token_id,
        )
        if ratios is not None:
            self._log_ratios(ratios)
        return output

    def _log_ratios(self, ratios: Ratios) -> None:
        """Logs the ratios of all ranks (collective)."""
        log_ratios = gather_values(ratios.of_templated_tokens(), self.accelerator)
        if log_ratios.numel():
            self.rollout_log.add_ratios(self._step, count_ratios(log_ratios))
        self._append_metrics(ratio_metrics(log_ratios, self.args.ratio_low, self.args.ratio_high))

    def weigh(self, inputs: Output, bare_logps_BT: torch.Tensor) -> None:
        """Gives the tokens of a batch, or a part of it, their weights (`distillation.weigh`; collective)."""
        weights = self.loop.credit().weights
        assert weights is not None
        self._log_ratios(weigh(inputs, bare_logps_BT, weights))

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """The loss asks for the log-probs on x before it reads the advantages: they give the tokens their weights."""
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self.unweighed is not None:
            inputs, self.unweighed = self.unweighed, None
            self.weigh(inputs, found[0].detach())
        return found

    def _teach(self, output: Output, batch: Batch, term: KlTerm) -> None:
        """Writes the teacher's distributions into the batch, and takes the policy gradient from rows of ``alone``."""
        if term.teacher is None:
            rows = [n for n, solved in enumerate(batch.solved) if solved and batch.templates[n]]
            prompts, taught_alone = batch.templated_ids, [bool(template) for template in batch.templates]
        else:
            rows = [n for n, ids in enumerate(batch.teacher_ids) if ids]
            prompts, taught_alone = batch.teacher_ids, [True] * len(batch.rows)
        with self._head.listening() as hidden:
            self._logps_of(output, rows, [torch.tensor(prompts[n]).to(self.model.device) for n in rows])
        teach(output, rows, hidden, self._head, term.top_k)
        if term.alone:
            alone_B = torch.tensor(taught_alone, device=output["advantages"].device)
            output["advantages"] = output["advantages"].masked_fill(alone_B, 0.0)

    def _correct_engine(self, output: Output, engine_logps: TokenLogps, templated_BT: torch.Tensor) -> None:
        correction = EngineCorrection(
            self.vllm_importance_sampling_mode,
            self.vllm_importance_sampling_clip_min,
            self.vllm_importance_sampling_clip_max,
        )
        differences = correction(output, engine_logps, templated_BT)
        self._append_metrics(mismatch_metrics(differences, self.accelerator))

    def _logps_of(self, output: Output, rows: list[int], prompt_ids: list[torch.Tensor]) -> torch.Tensor:
        """(R, T) log-probs of the rows' completions after these prompts, by the current weights, without gradient."""
        return self._figures_of(output, rows, prompt_ids)

    def _entropies_of(self, output: Output, rows: list[int]) -> torch.Tensor:
        """(R, T) entropies, in nats, at the tokens of the rows' completions after the bare prompts."""
        return self._figures_of(output, rows, [bare_ids(output, n) for n in rows], entropies=True)

    def _figures_of(
        self, output: Output, rows: list[int], prompt_ids: list[torch.Tensor], entropies: bool = False
    ) -> torch.Tensor:
        """(R, T) log-probs, or entropies, by one forward pass without gradient, which is counted."""
        padded_rows, width = rows, output["completion_ids"].size(1)
        if self.weights_are_sharded:  # all ranks must run the same number of forward passes
            spare = max(gather_object([len(rows)])) - len(rows)
            prompt_ids = prompt_ids + [bare_ids(output, 0)] * spare
            padded_rows = rows + [0] * spare
        if not padded_rows:
            return torch.zeros((0, width), device=output["completion_ids"].device)
        prompts = pad(prompt_ids, padding_value=self._tokenizer.pad_token_id, padding_side="left")
        masks = pad([torch.ones_like(p) for p in prompt_ids], padding_value=0, padding_side="left")
        completion_mask = output["completion_mask"][padded_rows]
        with self.cost.timed("ratio"), torch.no_grad():
            figures = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([prompts, output["completion_ids"][padded_rows]], dim=1),
                torch.cat([masks, completion_mask], dim=1),
                width,
                batch_size=self.args.per_device_train_batch_size,
                compute_entropy=entropies,
            )[int(entropies)]
        self._count_scored("ratio", masks, completion_mask)
        return figures[: len(rows)].float()

    def _count_scored(self, phase: Any, prompt_mask: torch.Tensor, completion_mask: torch.Tensor) -> None:
        self.cost[phase].add(scored_tokens=int(prompt_mask.sum() + completion_mask.sum()))

    @cached_property
    def _head(self) -> Head:
        return head_of(self.accelerator.unwrap_model(self.model), self.temperature)

    def _kl_loss(self, inputs: Output, hidden: list[torch.Tensor], term: KlTerm) -> torch.Tensor:
        """The KL term, divided by the completion tokens of one optimizer step (TRL's denominator of ``dapo``)."""
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        return kl_loss(inputs, hidden, self._head, term) / tokens
