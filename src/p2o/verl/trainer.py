"""P2OTrainer on verl: stock verl's synchronous PPO trainer with the joint loop around it.

Only wraps ``super()``: rollouts of samples that a method helps are generated from T(x, z) (`agent_loop`), everything
that verl computes is computed on the bare prompt x, and the method's token weights enter as verl's weight of each
token's loss (`distillation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf, open_dict
from verl.trainer.ppo.v1 import register_trainer
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer

from ..core.cost import CostMeter
from ..core.evolve import Reflector
from ..core.loop import JointLoop
from ..core.methods.evolving import set_aside
from ..core.metrics import Group, cost_metrics, epoch_metrics, group_metrics
from ..core.ratio_log import ratio_metrics
from ..core.rollout_log import count_ratios
from ..core.samples import RolloutFn
from ..core.states import has_spread
from ..data.fingerprint import fingerprint
from ..generation.prompt_step import counted_tools, policy_reflector, run_prompt_step
from ..generation.size import asks_short, reflecting_temperature
from ..reflectors.building import build_reflector
from ..reflectors.control_tokens import ControlGuard
from . import NAME
from .agent_check import check_agent_loops
from .agent_loop import AGENT, SAMPLE_ID, STORED_PROMPT, TEMPLATES
from .batch import BatchRollout, by_group, column, read_rollouts
from .distillation import distill, engine_metrics, templated_log_probs, write_weights
from .liveness import told_if_a_worker_dies
from .method_check import check_credits, check_given
from .sampler import OrderedSampler, in_order_of
from .scored_rollouts import PARTITION, ScoredRollouts
from .served_policy import ServedPolicy
from .settings import settings_of
from .state import RunState, claim
from .texts import SharedTexts
from .training_data import ROW_COLUMNS, agent_of, check_size, read_samples, sample_of
from .watched import WatchedTrainer


@register_trainer(NAME)
class P2OTrainer(WatchedTrainer):  # type: ignore[misc]
    """Chosen with ``trainer.v1.trainer_mode=p2o``; its settings are the ``p2o`` group (see `settings.VerlSettings`).

    Raises:
        ConfigError: the combination of settings cannot work.
        ReflectorError: the reflector has no key.
    """

    train_dataloader: Any

    def __init__(self, config: Any) -> None:
        self.settings = settings_of(OmegaConf.to_container(config, resolve=True))
        # Built now, so that a missing model or key, or a misspelt name, costs no epoch.
        self.chosen_reflector = build_reflector(self.settings)
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # verl asks for it by name in many places
        self.default_agent = str(config.actor_rollout_ref.rollout.agent.default_agent_loop)
        self.run_dir = Path(config.trainer.default_local_dir).absolute()
        self.claim = claim(self.run_dir)
        self.cost = CostMeter()
        self.epoch_figures: dict[str, float] = {}
        self.saved_step = -1
        super().__init__(config)

    # --- data ----------------------------------------------------------------------------------------------

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        rows = [self.train_dataset[n] for n in range(len(self.train_dataset))]
        check_size(len(rows), self.config.data.train_batch_size)
        found = read_samples(rows)
        self.data = fingerprint([sample_of(row) for row in rows])
        self.row_of = {sample_id: row for sample_id, (row, _) in found.items()}
        self.row_of_agent = {agent_of(row, self.default_agent): row for row in reversed(rows)}
        samples = {sample_id: sample for sample_id, (_, sample) in found.items()}
        self.loop = JointLoop(
            self.settings, samples, self.run_dir / "p2o", self.settings.num_generations, self.settings.seed
        )
        check_given(self.loop.assignment, self.settings.method)
        check_credits(map(self.loop.method.credit, range(self.config.trainer.total_epochs)), self.settings.method)
        self.prepare_watch()
        if self.loop.has_own_order:
            sampler = OrderedSampler(
                [sample_of(row).id for row in rows],
                self.loop.order,
                epoch=lambda: self.loop.next_epoch - 1,
                seed=self.settings.seed if self.config.data.shuffle else None,
            )
            self.train_dataloader = in_order_of(sampler, self.train_dataloader)

    def _next_train_batch(self, num_prompts: int | None = None) -> Any:
        batch = super()._next_train_batch(num_prompts)
        names = [name for name in ROW_COLUMNS if name in batch]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*(batch[name] for name in names), strict=True)]
        ids = [sample_of(row).id for row in rows]
        slots = range(self.settings.num_generations)
        batch[SAMPLE_ID] = column(ids)
        batch[AGENT] = column([agent_of(row, self.default_agent) for row in rows])
        batch["agent_name"] = column([NAME] * len(ids))
        batch[TEMPLATES] = column([self.texts.numbers_of([self.loop.template(i, slot) for slot in slots]) for i in ids])
        tu.assign_non_tensor_data(batch, STORED_PROMPT, self.loop.credit().trained_on)
        return batch

    # --- one step ------------------------------------------------------------------------------------------

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        has_engine_logps = bool(self.config.actor_rollout_ref.rollout.calculate_log_probs)
        settings = self.settings
        rollouts = read_rollouts(batch, has_engine_logps, settings.success_reward, settings.success_threshold)
        metrics.update(self._record_groups(rollouts))
        self._count_rollouts(rollouts)
        if not any(rollout.template for rollout in rollouts):
            batch = super()._compute_advantage(batch, metrics)
        else:
            correction = self.config.algorithm.rollout_correction
            corrects = has_engine_logps and bool(correction.rollout_is or correction.rollout_rs)
            with marked_timer("p2o_ratio", self.timing_raw):
                distilled = distill(batch, rollouts, self.loop.credit(), self._templated_log_probs, corrects)
            if distilled.log_ratios_N.numel():
                self.rollout_log.add_ratios(self.global_steps, count_ratios(distilled.log_ratios_N))
            metrics.update(ratio_metrics(distilled.log_ratios_N, settings.ratio_low, settings.ratio_high))
            if has_engine_logps:
                metrics.update(engine_metrics(distilled.batch))
            batch = super()._compute_advantage(distilled.batch, metrics)
            batch = write_weights(batch, distilled.weights, has_engine_logps and bool(correction.rollout_is))
        metrics.update(cost_metrics(self.cost) | self.epoch_figures)
        self.epoch_figures = {}
        return batch

    def _templated_log_probs(self, rollouts: Sequence[BatchRollout]) -> list[torch.Tensor]:
        """(T,) log π_old(y_t | T(x, z)) of each templated rollout, counted as cost."""
        rollout = self.config.actor_rollout_ref.rollout
        workers = self.actor_rollout_wg
        ranks = max(workers._dispatch_info["actor"]) + 1
        rows = 1 if rollout.log_prob_use_dynamic_bsz else int(rollout.log_prob_micro_batch_size_per_gpu)
        with self.cost.timed("ratio") as cost:
            logps = templated_log_probs(rollouts, workers.compute_log_prob, ranks * rows, rollout.temperature)
        cost.add(scored_tokens=sum(len(r.templated_ids) + len(r.responses_T) for r in rollouts))
        return logps

    def _record_groups(self, rollouts: Sequence[BatchRollout]) -> dict[str, float]:
        """Writes the batch's groups into the ledger; their figures."""
        groups = []
        for group in by_group(rollouts):
            sample_id, templated = group[0].sample_id, [bool(r.template) for r in group]
            totals = [r.reward for r in group]
            self.loop.record(sample_id, [r.success for r in group], templated, totals)
            self.log_group(sample_id, group)
            groups.append(Group(sample_id, templated, [r.solved for r in group], has_spread(totals)))
        drawn = [r for r in rollouts if not r.is_padding]
        overflow = sum(r.did_not_fit for r in drawn) / max(1, len(drawn))
        return group_metrics(groups, self.loop.needed, self.settings.tau) | {"p2o/context_overflow": overflow}

    def _count_rollouts(self, rollouts: Sequence[BatchRollout]) -> None:
        """Counts what a batch costs: drawing it, old log-probs, and the update."""
        drawn = [r for r in rollouts if not r.is_padding]
        generated = sum(r.generated_tokens for r in drawn)
        stored = sum(r.prompt_tokens + len(r.responses_T) for r in drawn)
        self.cost["rollout"].add(
            rollouts=len(drawn),
            prompt_tokens=sum(r.read_tokens for r in drawn),
            generated_tokens=generated,
            scored_tokens=stored * (2 if self.use_reference_policy else 1),  # old log-probs, and those of a KL term
        )
        self.cost["train"].add(trained_tokens=stored * int(self.config.actor_rollout_ref.actor.ppo_epochs))

    # --- epochs --------------------------------------------------------------------------------------------

    def fit(self, agent_loop_manager: Any) -> None:
        """Trains, as verl does, after a trial of every agent loop that the run asks for (see `check_agent_loops`).

        Raises:
            ProcessError: a process that the run needs has died.
        """
        workers = agent_loop_manager.agent_loop_workers
        check_agent_loops(workers, self.row_of_agent)
        self.texts = SharedTexts(workers)
        self.watch_over(workers)
        self.begin_watch()
        with told_if_a_worker_dies():
            super().fit(agent_loop_manager)
        if self.last_step:  # 0: verl was asked for a validation only
            self.end_watch(self.last_step)

    def on_step_begin(self) -> None:
        """Runs the prompt step that is due before this epoch; verl's servers hold the newest weights here."""
        super().on_step_begin()
        if (self.global_steps - 1) // self.steps_per_epoch >= self.loop.next_epoch:
            with marked_timer("p2o_prompt_step", self.timing_raw):
                self.prompt_step()

    def prompt_step(self) -> None:
        """Closes the epoch and prepares the next one, with the newest weights."""
        chosen = self.chosen_reflector
        bar = self.watch.evolution(self.loop.next_epoch + 1)
        try:
            tools = counted_tools(
                self._scored_rollouts(),
                self._policy_reflector() if isinstance(chosen, str) else chosen,
                self.cost,
                control=ControlGuard(self.tokenizer),
                on_policy=isinstance(chosen, str),
                progress=bar.update,
            )
            summary = run_prompt_step(self.loop, tools, self.cost, isinstance(chosen, str))
        finally:
            bar.close()
        self.epoch_figures = epoch_metrics(summary)
        self.tell_epoch(summary)

    def _scored_rollouts(self) -> RolloutFn:
        return ScoredRollouts(
            data_row=lambda sample: self.train_dataset[self.row_of[sample.id]],
            default_agent=self.default_agent,
            numbers_of=self.texts.numbers_of,
            generate=self.agent_loop_manager.generate_sequences,
            wait_for=self._wait_for_rollouts,
            step=self.global_steps,
            temperature=self.settings.evolve_temperature,
            decode=partial(self.tokenizer.decode, skip_special_tokens=True),
            success_reward=self.settings.success_reward,
            success_threshold=self.settings.success_threshold,
        )

    def _wait_for_rollouts(self, count: int) -> Any:
        done, _ = self.replay_buffer.sample(global_steps=self.global_steps, partition_id=PARTITION, batch_size=count)
        return done

    def _policy_reflector(self) -> Reflector:
        rollout, settings = self.config.actor_rollout_ref.rollout, self.settings
        policy = ServedPolicy(
            client=self.get_llm_client(),
            tokenizer=self.tokenizer,
            chat_template_kwargs=dict(self.config.data.get("apply_chat_template_kwargs") or {}),
            context_tokens=rollout.prompt_length + rollout.response_length,
        )
        short = asks_short(settings.reflect_prompt)
        temperature = reflecting_temperature(settings.reflect_temperature, short)
        complete = partial(policy.complete, temperature=temperature, max_new_tokens=settings.reflect_max_tokens)
        return policy_reflector(complete, short=short, context=policy.context_tokens)

    def on_step_end(self) -> None:
        """Ends training when the budget is spent; saves a checkpoint then, and where the next step begins with an
        evolution."""
        self.last_step = self.global_steps
        if self.cost.reaches(self.settings.max_cost, self.settings.max_rollouts):
            self.total_training_steps = self.global_steps  # verl's loop ends after this step
            self.save_once()
        elif self._evolves_next():
            self.save_once()  # steps that are repeated after a kill must not cost the evolution with them
        super().on_step_end()

    def _evolves_next(self) -> bool:
        ends = self.global_steps >= self.total_training_steps
        return not ends and self.global_steps % self.steps_per_epoch == 0 and self.loop.rolls_out_next()

    # --- state ---------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        return self.run_dir / f"global_step_{self.global_steps}"

    def save_once(self) -> None:
        """Saves a checkpoint of this step, unless there is one or none are wanted."""
        if self.config.trainer.save_freq > 0 and self.saved_step != self.global_steps:
            self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        # Ours first: verl marks a checkpoint as the newest when all of it is written.
        RunState(self.loop.state_dict(), self.cost.state_dict(), self.data).save(self._folder())
        super()._save_checkpoint()
        self.saved_step = self.global_steps

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        self.last_step = self.global_steps
        if not self.global_steps:
            if self.loop.run_dir.exists():  # of an earlier run that is not resumed: its evolutions are of other weights
                set_aside(self.loop.run_dir)
            return
        resumed_from = self._folder()
        if self.config.trainer.resume_mode == "resume_path":
            resumed_from = Path(self.config.trainer.resume_from_path).absolute()
        state = RunState.load(resumed_from, self.data)
        self.loop.load_state_dict(state.loop)
        self.cost.load_state_dict(state.cost)
        self.loop.forget_later_epochs()
        self.resume_watch()
