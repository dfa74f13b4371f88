"""P2OTrainer: TRL's GRPOTrainer with the joint loop around it.

Only wraps ``super()`` (see `docs/decisions.md`): rollouts of hard samples are generated from T(x, z), everything
that TRL computes stays on the bare prompt x, and the ratio mask enters through per-token advantages.
"""

from __future__ import annotations

from . import compat  # noqa: F401 (before TRL: another version may lack a name that is imported below)

# isort: split

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import broadcast_object_list, gather_object
from trl import GRPOTrainer

from ..base.stopping import StopRequest
from ..base.text import shorten
from ..core.cost import CostMeter, Made, Phase
from ..core.evolve import Reflector, Reply
from ..core.hard import is_solved
from ..core.loop import EpochSummary, JointLoop
from ..core.metrics import Group, cost_metrics, evaluation_metrics, group_metrics
from ..core.rollout_log import MAX_CHARS, EpochRecord, RecordedRollout
from ..core.templates import apply_to_prompt
from ..data import sample_of
from ..errors import ConfigError
from ..reflectors.control_tokens import ControlGuard
from ..reflectors.guard import guard_control_tokens
from ..reflectors.local import LocalReflector
from ..rewards import text_of
from ..rewards.deadline import watch
from .batch_sizes import coverage_warning
from .callbacks import LoopCallback
from .checkpoint import latest_checkpoint
from .config import P2OConfig
from .dead_rows import LOSS_TYPES, has_dropout, live_rows, rows_to_keep, share_of_denominator, take_rows
from .display import EvolutionBar
from .distillation import Batch, distill
from .engine import hold_back, roomy_engine
from .finite import FiniteGuard
from .peers import lost_peers_explained
from .resume import failing_writes_explained, load_state, save_state
from .rollouts import Generator, roll_out_templated, trackers_off
from .sampler import ReplayingSampler


class P2OTrainer(GRPOTrainer):
    """Drop-in for [`trl.GRPOTrainer`] that also evolves prompt templates for the samples on which every rollout
    fails, and distils them into the bare prompt (P²O, arXiv 2603.21877).

    Args:
        model, reward_funcs, args, train_dataset, eval_dataset, **kwargs: as in `trl.GRPOTrainer`; ``args`` is a
            `P2OConfig`. The data set may carry a ``sample_id`` column (else ids are hashes of the rows). A reward
            function may call ``log_extra("feedback", texts)`` to tell the reflector what was wrong.
        reflector: writes new templates. A `p2o.core.evolve.Reflector`, or "self" (the frozen starting policy) or
            "policy" (the current weights).

    Raises:
        ConfigError: the combination of arguments cannot work.
    """

    _tag_names: ClassVar = ["trl", "grpo", "p2o"]
    _name = "P2O"
    control: Any  # HF's TrainerControl
    _paper: ClassVar = {
        "title": "P2O: Joint Policy and Prompt Optimization",
        "id": "2603.21877",
        "citation": "@article{p2o2026, title = {{P2O: Joint Policy and Prompt Optimization}}, year = 2026, "
        "eprint = {arXiv:2603.21877}}",
    }

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: P2OConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        reflector: Reflector | str = "self",
        **kwargs: Any,
    ) -> None:
        for name in ("tools", "rollout_func", "environment_factory"):
            if kwargs.get(name) is not None:
                raise ConfigError(f"{name} cannot be combined with prompt templates; use trl.GRPOTrainer for it")
        if args is None:
            args = P2OConfig("p2o-run")
        if reward_funcs is not None:
            several = isinstance(reward_funcs, list)
            watched = [watch(f, args.reward_timeout) for f in (reward_funcs if several else [reward_funcs])]
            reward_funcs = watched if several else watched[0]
        if train_dataset is None or not hasattr(train_dataset, "__len__"):
            raise ConfigError("P2OTrainer needs a train_dataset of known length (no iterable data set)")
        if "sample_id" not in train_dataset.column_names:
            train_dataset = train_dataset.add_column("sample_id", [sample_of(row).id for row in train_dataset])
        self.run_dir = Path(args.output_dir)
        self.cost = CostMeter()
        self.train_rows = {row["sample_id"]: row for row in train_dataset}
        if len(self.train_rows) < len(train_dataset):
            raise ConfigError("two rows of train_dataset have the same sample_id; make the ids unique")
        samples = {i: sample_of(row) for i, row in self.train_rows.items()}
        self.loop = JointLoop(args, samples, self.run_dir / "p2o")
        self.record = EpochRecord(self.run_dir / "p2o")
        self.last_evaluation: dict[str, float] = {}
        self.last_solved: dict[str, bool] = {}
        self.stop = StopRequest()
        self.finite = FiniteGuard(self)
        self.saved_step = -1
        self.resumed_at: tuple[int, list[dict[str, torch.Tensor]] | None] = (0, None)
        self._batch: Batch | None = None
        self._phase: Phase = "rollout"
        self._sampler: ReplayingSampler | None = None
        with roomy_engine():
            super().__init__(
                model=model,
                reward_funcs=reward_funcs,
                args=args,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                **kwargs,
            )
        self._check_inputs(len(train_dataset))
        self.generator = Generator(self)
        self._success_index = self._find_success_reward()
        self._has_dropout = has_dropout(self.accelerator.unwrap_model(self.model))
        self._warn_of_dropout()
        self.reflector = LocalReflector(self, reflector) if isinstance(reflector, str) else reflector
        self.add_callback(LoopCallback(self))

    def _check_inputs(self, samples: int) -> None:
        groups = self.args.generation_batch_size // self.num_generations
        warning = coverage_warning(samples, groups, self.num_generations)
        if warning and self.accelerator.is_main_process:
            warnings.warn(warning, stacklevel=3)
        chat = any(not isinstance(row["prompt"], str) for row in self.train_rows.values())
        if chat and not (self.chat_template or self._tokenizer.chat_template):
            raise ConfigError(
                f"the tokenizer of {self.model.config._name_or_path!r} has no chat template, and prompts are chats; "
                "set chat_template_path to a tokenizer or a .jinja file that has one (a base model has none of its own)"
            )

    def _warn_of_dropout(self) -> None:
        if self.args.skip_dead_rows and self._has_dropout and self.accelerator.is_main_process:
            warnings.warn(
                "the model has dropout, so rollouts without advantage are trained like the others; without it "
                "(lora_dropout: 0, and none in the model's config) they would cost nothing",
                stacklevel=3,
            )

    def _find_success_reward(self) -> int:
        name = self.args.success_reward
        if name is None:
            return 0
        if name not in self.reward_func_names:
            raise ConfigError(
                f"success_reward is {name!r}, but the reward functions are {', '.join(self.reward_func_names)}"
            )
        return int(self.reward_func_names.index(name))

    # --- what solved and reward mean ---------------------------------------------------------------------

    def is_solved(self, rewards_F: Sequence[float]) -> bool:
        """Whether the named reward of one rollout reached the threshold (NaN has not)."""
        return is_solved(rewards_F[self._success_index], self.args.success_threshold)

    def total_reward(self, rewards_F: Sequence[float]) -> float:
        """TRL's weighted sum over the reward functions, NaN left out."""
        weights = self.reward_weights.tolist()
        return sum(w * r for w, r in zip(weights, rewards_F, strict=True) if not math.isnan(r))

    # --- rollouts ------------------------------------------------------------------------------------------

    @property
    def generates_in_step(self) -> bool:
        """Whether all ranks must call generation equally often (sharded weights, vLLM server)."""
        return bool(self.use_vllm or self.weights_are_sharded)

    @property
    def corrects_engine(self) -> bool:
        """Whether the loss weighs rollouts by what the trainer and vLLM make of them."""
        return bool(self.use_vllm and self.vllm_importance_sampling_correction)

    @property
    def weights_are_sharded(self) -> bool:
        plugin = self.accelerator.state.deepspeed_plugin
        return bool(self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))

    def prompt_limit(self, max_new_tokens: int | None = None) -> int:
        """Longest prompt, in tokens, that leaves room for the completion."""
        config = self.model.config.get_text_config()
        context = getattr(config, "max_position_embeddings", None) or 2**31
        if self.use_vllm and self.args.vllm_max_model_length:
            context = min(context, self.args.vllm_max_model_length)
        return int(context - (max_new_tokens or self.max_completion_length))

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Counts generation inside as ``phase``."""
        before, self._phase = self._phase, phase
        try:
            with self.cost.timed(phase):
                yield
        finally:
            self._phase = before

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        batch = self._batch = Batch(inputs)
        try:
            with self.phase("rollout"):
                output = super()._generate_and_score_completions(inputs)
        finally:
            self._batch = None
        if "old_per_token_logps" in output:
            self.count_scored("rollout", output["prompt_mask"], output["completion_mask"])
        return distill(self, output, batch) if self.loop.assignment else output

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        batch = self._batch
        if batch is not None and self.loop.assignment:
            prompt_ids = self._put_templates(batch, prompt_ids)
            num_generations = 1  # the prompts of a group differ

        def generate(ids: list[list[int]]) -> tuple[list[list[int]], Any]:
            return GRPOTrainer._generate_single_turn(
                self, ids, images, multimodal_fields, num_generations, has_tool_images
            )

        if batch is not None and any(batch.templates) and self.generates_alone:
            completion_ids, batch.drawn_logps = roll_out_templated(self, batch.templates, prompt_ids, generate)
            logprobs = None
        else:
            completion_ids, logprobs = generate(prompt_ids)
        self.cost[self._phase].add(
            rollouts=len(completion_ids) if self._phase != "reflect" else 0,
            prompt_tokens=sum(map(len, prompt_ids)),
            generated_tokens=sum(map(len, completion_ids)),
        )
        if logprobs is not None and batch is not None and batch.templates:
            logprobs, batch.engine_logps = hold_back(logprobs, batch.templates)
        return completion_ids, logprobs

    @property
    def generates_alone(self) -> bool:
        """Whether this rank generates by itself, with transformers' own loop."""
        return not (self.generates_in_step or self.args.use_transformers_continuous_batching)

    def _put_templates(self, batch: Batch, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Replaces the prompt ids of templated slots by those of T(x, z); rows where it does not fit stay bare."""
        first = self.accelerator.process_index * len(batch.rows)
        batch.templates = [
            self.loop.template(row["sample_id"], (first + n) % self.num_generations) for n, row in enumerate(batch.rows)
        ]
        batch.templated_ids = [[] for _ in batch.rows]
        templated = [n for n, template in enumerate(batch.templates) if template]
        if not templated:
            return prompt_ids
        prompts = [apply_to_prompt(batch.templates[n], batch.rows[n]["prompt"]) for n in templated]
        ids, _, _ = self._tokenize_prompts(prompts)
        limit = self.prompt_limit()
        overflow = 0
        for n, row_ids in zip(templated, ids, strict=True):
            if len(row_ids) <= limit:
                batch.templated_ids[n] = list(row_ids)
            else:
                batch.templates[n] = ""
                overflow += 1
        self._metrics["train"]["p2o/context_overflow"].append(overflow / len(batch.rows))
        return [t or bare for t, bare in zip(batch.templated_ids, prompt_ids, strict=True)]

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        rewards_NF = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._batch is not None:
            self._record(self._batch, completions, rewards_NF)
        return rewards_NF

    def _record(self, batch: Batch, completions: Any, rewards_NF: torch.Tensor) -> None:
        """Writes the groups of all ranks into the ledger: N = ranks × rows, in TRL's rank-major order."""
        templates = batch.templates or [""] * len(batch.rows)
        texts = [shorten(text_of(completion), MAX_CHARS) for completion in completions]
        facts = gather_object([(r["sample_id"], t, c) for r, t, c in zip(batch.rows, templates, texts, strict=True)])
        rewards_N = rewards_NF[:, self._success_index].tolist()
        solved = [is_solved(r, self.args.success_threshold) for r in rewards_N]
        start = self.accelerator.process_index * len(batch.rows)
        batch.solved = solved[start : start + len(batch.rows)]
        totals = [self.total_reward(row) for row in rewards_NF.tolist()]
        K = self.num_generations
        groups = []
        for g in range(0, len(facts), K):
            sample_id, templated = facts[g][0], [bool(template) for _, template, _ in facts[g : g + K]]
            self.loop.record(sample_id, rewards_N[g : g + K], templated)
            groups.append(Group(sample_id, templated, solved[g : g + K]))
            if self.accelerator.is_main_process and (sample_id in self.loop.needed or not any(solved[g : g + K])):
                sample = self.loop.samples[sample_id]
                self.record.add_group(
                    sample_id,
                    sample.question,
                    sample.answer,
                    [RecordedRollout(facts[n][1], facts[n][2], totals[n], solved[n]) for n in range(g, g + K)],
                )
        for name, value in group_metrics(groups, self.loop.needed, self.args.tau).items():
            self._metrics["train"][name].append(value)

    # --- cost ----------------------------------------------------------------------------------------------

    def count_scored(self, phase: Phase, prompt_mask: torch.Tensor, completion_mask: torch.Tensor) -> None:
        self.cost[phase].add(scored_tokens=int(prompt_mask.sum() + completion_mask.sum()))

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if not self.model.training:
            return super()._compute_loss(model, inputs)
        kept = self._without_dead_rows(inputs) if self.skips_dead_rows else inputs
        self.cost["train"].add(trained_tokens=int(kept["prompt_mask"].sum() + kept["completion_mask"].sum()))
        loss = super()._compute_loss(model, kept)
        return loss if kept is inputs else loss * share_of_denominator(inputs, kept, self.loss_type)

    @property
    def skips_dead_rows(self) -> bool:
        """Off by itself where a row without advantage has a gradient or changes another row's."""
        return bool(
            self.args.skip_dead_rows
            and self.loss_type in LOSS_TYPES
            and not self._has_dropout
            and self.beta == 0
            and not self._entropy_bonus_enabled
            and not self.aux_loss_enabled
            and self.top_entropy_quantile == 1.0
        )

    def _without_dead_rows(self, inputs: dict[str, Any]) -> dict[str, Any]:
        total = inputs["completion_ids"].size(0)
        live = live_rows(inputs)
        # A rank without live rows still joins the collectives, with one row; and all ranks with equally many.
        count = max(1, len(live))
        if self.accelerator.num_processes > 1:
            count = max(gather_object([count]))
        if count == total:
            return inputs
        self._metrics["train"]["p2o/skipped_rows"].append(1 - count / total)
        return take_rows(inputs, rows_to_keep(live, total, count))

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        before = self.cost["rollout"].seconds + self.cost["ratio"].seconds
        with self.cost.timed("train") as train:
            loss = super().training_step(*args, **kwargs)
        self.finite.see_loss(loss)
        # TRL generates inside the step; that time is counted where it belongs.
        train.seconds -= self.cost["rollout"].seconds + self.cost["ratio"].seconds - before
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.finite.see_gradient(norm)
        return norm

    def global_cost(self) -> CostMeter:
        """The counts of all ranks together (collective)."""
        total = CostMeter()
        for rank, state in enumerate(gather_object([self.cost.state_dict()])):
            for phase in total.phases:
                counts = {k: v for k, v in state[phase].items() if k != "cost" and (k != "seconds" or rank == 0)}
                total.phases[phase].add(**counts)
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:  # what it has cost so far, next to whatever is logged
            logs.update(cost_metrics(self.global_cost()))
        super().log(logs, start_time)

    # --- epochs --------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> ReplayingSampler:
        self._sampler = ReplayingSampler(super()._get_train_sampler(dataset))
        return self._sampler

    def begin_epoch(self, epoch: int) -> EpochSummary | None:
        """Runs the prompt step that is due before this epoch, if any, and lets all ranks agree on its result."""
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)
        if epoch < self.loop.next_epoch:
            return None
        self.write_record()
        if self.loop.evolution_is_due():
            self.save_once()  # steps that are repeated after a kill must not cost the evolution with them
        was_training = self.model.training
        self.model.eval()
        try:
            summary = self.generator.drive(self._prompt_step)
        finally:
            self.model.train(was_training)
        shared = [(summary, self.loop.state_dict())]
        broadcast_object_list(shared)
        summary, state = shared[0]
        self.loop.load_state_dict(state)
        self.record.begin(epoch)
        return summary

    def write_record(self) -> None:
        if self.accelerator.is_main_process:
            self.record.write()

    def _prompt_step(self, call: Any) -> EpochSummary:
        made = Made()

        def roll_out(pairs: Any) -> Any:
            if self.stop:
                raise self.stop.error(self.state.global_step, latest_checkpoint(self.run_dir))
            rows = [(template, self.train_rows[sample.id]) for template, sample in pairs]
            return made.rolled_out(call("roll_out", rows, self.args.evolve_temperature, "evolve"))

        def reflect(jobs: Any) -> list[Reply]:
            with self.cost.timed("reflect"):
                return made.reflected(guarded(jobs))

        reflector = self.reflector
        bound = reflector.bound(call) if isinstance(reflector, LocalReflector) else reflector
        guarded = guard_control_tokens(bound, ControlGuard(self._tokenizer, self.chat_template))
        shown = not self.args.disable_tqdm
        bar = EvolutionBar(f"evolution before epoch {self.loop.next_epoch + 1}", shown)
        try:
            summary = self.loop.prompt_step(roll_out, reflect, bar.update)
        finally:
            bar.close()
        if summary.evolve_cost:
            made.add_replayed(self.cost, summary.evolve_cost, teacher=not isinstance(reflector, LocalReflector))
        return summary

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Bare success on held-out samples, one completion each at ``eval_temperature`` (collective).

        Returns:
            ``{prefix}_bare_success`` (also by ``eval_group_column``), ``{prefix}_reward``,
            ``{prefix}_completion_length``; logged during training.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ConfigError("evaluate needs an eval_dataset")
        if not self.is_in_train:
            self._last_loaded_step = -1  # the engine may hold others: the best weights are loaded at the last step
        was_training = self.model.training
        self.model.eval()
        with trackers_off(self):
            rollouts = self.generator.roll_out([("", row) for row in dataset], self.args.eval_temperature, "evaluate")
        self.model.train(was_training)
        self.last_solved = {sample_of(row).id: r.solved for row, r in zip(dataset, rollouts, strict=True)}
        column = self.args.eval_group_column
        groups = [str(row.get(column)) for row in dataset] if column is not None else None
        metrics = evaluation_metrics(rollouts, groups, metric_key_prefix)
        self.last_evaluation = metrics
        if self.is_in_train:
            self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- state ---------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """As in TRL; ``True`` takes the newest whole checkpoint of the run directory."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = latest_checkpoint(self.run_dir)
        if resume_from_checkpoint:
            load_state(self, Path(resume_from_checkpoint))
        if self.accelerator.is_main_process:
            self.loop.forget_later_epochs()
            if resume_from_checkpoint:
                self.record.resume(self.loop.next_epoch - 1)
        eval_on_start = self.args.eval_on_start
        self.args.eval_on_start = eval_on_start and not resume_from_checkpoint
        try:
            with lost_peers_explained(self.run_dir):
                output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self.args.eval_on_start = eval_on_start
        if self.stop:
            raise self.stop.error(self.state.global_step, latest_checkpoint(self.run_dir))
        return output

    def save_once(self) -> None:
        """Saves a checkpoint of this step, unless there is one or none are wanted (collective)."""
        if self.args.save_strategy == "no" or self.saved_step == self.state.global_step:
            return
        self._save_checkpoint(self.model_wrapped, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Our state goes first and HF's trainer_state.json last: a checkpoint with both is whole.
        folder = self.run_dir / f"checkpoint-{self.state.global_step}"
        with failing_writes_explained(folder):
            save_state(self, folder)
            super()._save_checkpoint(model, trial)
        self.saved_step = self.state.global_step
