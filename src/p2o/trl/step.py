"""What P²O changes within a training step of GRPOTrainer, by wrapping ``super()``:

templates in front of the rollouts' prompts   _generate_single_turn             hook prompt (`turns`)
rewards into the ledger                       _calculate_rewards
credit of templated rollouts                  _generate_and_score_completions   hook credit
length of a step by what it has to say        _compute_loss
rows without advantage left out               _compute_loss
steps that are not finite skipped             _get_grad_norm
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.utils import gather_object

from ..base.stopping import StopRequest
from ..core.given import Given
from ..core.methods.dapo import further_samples
from ..core.metrics import call_metrics, group_metrics
from ..core.retention import spread_share
from ..core.rollout_log import MAX_CHARS, LoggedRollout
from ..core.turns import calls_in, transcript, turns
from ..errors import ConfigError
from .batch import Batch, RolloutFacts, groups_of
from .dead_rows import LOSS_TYPES, has_dropout, live_rows, rows_to_keep, share_of_denominator, take_rows
from .distillation import UNWEIGHED, Output
from .finite import FiniteGuard
from .flat import flat_rows, put_flat_advantages
from .inputs import check_inputs
from .pull import Pull, check_pull
from .ranks import on_main
from .redraw import Redraw
from .reward_reading import RewardReading, success_indices
from .step_scale import StepScale
from .turns import TurnsTrainer

SPREAD_SHARE = "spread_share"
"""Field of a batch: the share of its groups with a spread of rewards, with ``scale_steps``."""


class StepTrainer(TurnsTrainer):
    """The training step of `p2o.P2OTrainer`; what happens between steps is in `trainer`."""

    stop: StopRequest
    given_rewards: int
    """Number of reward functions; the rewards of environments come after them."""

    def prepare_steps(self) -> None:
        """Prepares what a step needs, after TRL's constructor. Checks that the settings and the data fit together.

        Raises:
            ConfigError: they do not.
        """
        indices = success_indices(self.args.success_reward, self.reward_func_names, self.given_rewards)
        self.check_tools()
        self.check_sharing()
        self.reading = RewardReading(indices, self.args.success_threshold, self.reward_weights.tolist())
        self.finite = FiniteGuard()
        self.step_scale = StepScale()
        check_pull(self.args.pull, self.policy_model, self.weights_are_sharded or self.is_deepspeed_enabled)
        self.pull = Pull(self.policy_model, self.args.pull)
        self.check_credit()
        self._batch: Batch | None = None
        self._has_dropout = has_dropout(self.policy_model)
        check_inputs(
            self.args,
            samples=self.rows.samples,
            chat_template=self.chat_template or self._tokenizer.chat_template,
            model_name=self.model.config._name_or_path,
            prompt_limit=self.prompt_limit(),
            has_dropout=self._has_dropout,
            warn=self.accelerator.is_main_process,
        )

    # --- rollouts ------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Output:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        output, batch = self._draw(inputs)
        if self.loop.method.redraws:
            output = self._redraw(output, batch)
        if self.loop.assignment or self.all_are_taught:
            output = self._distill(output, batch)
        flat = self.loop.credit().flat
        if flat:
            first = self.accelerator.process_index * len(batch.rows)
            rows = flat_rows(batch.groups, first, len(batch.rows), self.num_generations)
            put_flat_advantages(output, rows, self._entropies_of, flat)
        if self.args.scale_steps:
            share = spread_share(batch.groups, flat_too=flat is not None)
            output[SPREAD_SHARE] = torch.tensor(1.0 if self.all_are_taught else share)
        return output

    def _draw(self, rows: list[dict[str, Any]]) -> tuple[Output, Batch]:
        """Draws and scores this rank's rollouts, by TRL."""
        batch = self._batch = Batch(rows)
        try:
            with self.cost.timed("rollout"):
                output = super()._generate_and_score_completions([dict(self.rows.given(row)) for row in rows])
        finally:
            self._batch = None
        if "old_per_token_logps" in output:
            self._count_scored("rollout", output["prompt_mask"], output["completion_mask"])
        return output, batch

    def _redraw(self, output: Output, batch: Batch) -> Output:
        """Replaces groups without spread by groups of further samples, as the method wants it (`redraw`)."""
        if self.loop.assignment:
            raise ConfigError(
                f"method {self.args.method} gives prompts and replaces groups too, which cannot be combined; set its "
                "redraws to 0"
            )
        world, K = self.accelerator.num_processes, self.num_generations

        def draw(ids: Sequence[str]) -> tuple[Output, Batch]:
            rows = [self.rows.by_id[i] for i in ids for _ in range(K)]
            size = len(rows) // world
            first = self.accelerator.process_index * size
            return self._draw([dict(row) for row in rows[first : first + size]])

        redraw = Redraw(self.accelerator, K, self._tokenizer.pad_token_id, self.loop.method.redraws, draw)
        further = further_samples(self.loop.samples, [g.sample_id for g in batch.groups], self.args.seed, self._step)
        return redraw.fill(output, batch, further)

    # --- rewards -------------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        rewards_NF: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._batch is not None:
            self._record(self._batch, completions, rewards_NF.tolist())
        return rewards_NF

    def _record(self, batch: Batch, completions: Any, rewards_NF: list[list[float]]) -> None:
        """Writes the groups of all ranks into the ledger: N = ranks × rows, in TRL's rank-major order."""
        messages = [[{"content": c}] if isinstance(c, str) else c for c in completions]
        known = gather_object(
            [(row["sample_id"], batch.template(n), calls_in(messages[n])) for n, row in enumerate(batch.rows)]
        )
        read = self.reading
        rollouts = [
            RolloutFacts(i, t, read.success(r), read.total(r), read.is_solved(r), calls)
            for (i, t, calls), r in zip(known, rewards_NF, strict=True)
        ]
        start = self.accelerator.process_index * len(batch.rows)
        batch.solved = [rollout.solved for rollout in rollouts[start : start + len(batch.rows)]]
        groups = groups_of(rollouts, self.num_generations)
        batch.groups = [group for group, _ in groups]
        kept = []
        for n, (group, own) in enumerate(groups):
            drawn = [r.reward for r in own if not isinstance(r.template, Given)]
            self.loop.record(group.sample_id, drawn, group.templated, [r.total for r in own])
            if group.sample_id in self.loop.needed or not any(group.solved):
                kept.append(n)
        self._keep_rollouts({n: groups[n][1] for n in kept}, messages, start)
        figures = group_metrics(batch.groups, self.loop.needed, self.args.tau)
        self._append_metrics(figures)
        if self.tools:
            self._append_metrics(call_metrics([(bool(r.template), r.calls) for r in rollouts]))

    def _keep_rollouts(self, groups: Mapping[int, Sequence[RolloutFacts]], messages: list[Any], start: int) -> None:
        """Writes groups into the log of rollouts, which rank 0 keeps (collective).

        Args:
            groups: by their number in the batch of all ranks.
            messages: of this rank's rollouts, whose first is the rollout ``start`` of all ranks.
        """
        K = self.num_generations
        own = [n - start for group in groups for n in range(group * K, group * K + K)]
        texts = on_main(
            [
                (transcript(messages[n], MAX_CHARS), turns(messages[n], MAX_CHARS))
                for n in own
                if 0 <= n < len(messages)
            ],
            self.accelerator,
        )
        if not self.accelerator.is_main_process:
            return
        for place, rollouts in enumerate(groups.values()):
            sample = self.loop.samples[rollouts[0].sample_id]
            recorded = [
                LoggedRollout(r.template, text, r.total, r.solved, parts)
                for r, (text, parts) in zip(rollouts, texts[place * K : place * K + K], strict=True)
            ]
            self.rollout_log.add_group(sample.id, sample.question, sample.answer, recorded)

    # --- loss ----------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: Output) -> torch.Tensor:
        if not self.model.training:
            return super()._compute_loss(model, inputs)
        if SPREAD_SHARE in inputs:
            self.step_scale.lower(self.optimizer, float(inputs[SPREAD_SHARE]))
        kept = self._without_dead_rows(inputs) if self.skips_dead_rows else inputs
        if UNWEIGHED[0] in kept:
            self.unweighed = kept = dict(kept)
        self.cost["train"].add(trained_tokens=int(kept["prompt_mask"].sum() + kept["completion_mask"].sum()))
        term = self.loop.credit().kl if "teacher_mask" in kept else None
        listening: AbstractContextManager[list[torch.Tensor]] = self._head.listening() if term else nullcontext([])
        with listening as hidden:
            loss = super()._compute_loss(model, kept)
        if kept["completion_ids"] is not inputs["completion_ids"]:
            loss = loss * share_of_denominator(inputs, kept, self.loss_type)
        return loss + self._kl_loss(kept, hidden, term) if term else loss

    @property
    def skips_dead_rows(self) -> bool:
        """Whether rows without advantage are left out. Not when such a row has a gradient or changes another row's."""
        return bool(
            self.args.skip_dead_rows
            and self.loss_type in LOSS_TYPES
            and not self._has_dropout
            and self.beta == 0
            and not self._entropy_bonus_enabled
            and not self.aux_loss_enabled
            and self.top_entropy_quantile == 1.0
        )

    def _without_dead_rows(self, inputs: Output) -> Output:
        total = inputs["completion_ids"].size(0)
        live = live_rows(inputs)
        # A rank without live rows joins the collectives with one row, and all ranks need the same number of rows.
        count = max(1, len(live))
        if self.accelerator.num_processes > 1:
            count = max(gather_object([count]))
        if count == total:
            return inputs
        self._metrics["train"]["p2o/skipped_rows"].append(1 - count / total)
        return take_rows(inputs, rows_to_keep(live, total, count))

    def step_is_taken(self) -> None:
        """After an optimizer step: the learning rate is the full one again, and the weights are pulled."""
        self.step_scale.restore(self.optimizer)
        self.pull.after_step()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        before = self.cost["rollout"].seconds + self.cost["ratio"].seconds
        with self.cost.timed("train") as train:
            loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.finite.see_loss(loss)
        # TRL generates inside the step; that time is counted as rollout time, not as training time.
        train.seconds -= self.cost["rollout"].seconds + self.cost["ratio"].seconds - before
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Drops the gradient of a step that is not finite; called once a step, before the optimizer (collective)."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        scaled = self.accelerator.scaler is not None
        finite = self.finite.step_is_finite(norm, scaled)
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(float(not finite), device=self.accelerator.device)
            finite = not self.accelerator.reduce(flag, reduction="sum").item()
        reason = self.finite.decide(finite)
        if self.finite.skipped:
            self._metrics["train"]["p2o/skipped_steps"] = [float(self.finite.skipped)]
        if (
            not finite and not scaled
        ):  # the optimizer does not change parameters without a gradient, not even by weight decay
            self.model.zero_grad(set_to_none=True)
        if reason:
            self.stop.make(reason)
        return norm
