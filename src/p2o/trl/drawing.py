"""The model in training as a policy: rollouts for evolution and evaluation, replies for the *self* and *policy*
reflectors. Collective: every process makes the same calls with the same arguments and gets all results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from peft import PeftModel
from trl import GRPOTrainer

from ..core.evolve import Reflector
from ..core.samples import Rollout
from ..generation.local import LocalPolicy
from ..generation.policies import Completion, Policy
from ..generation.prompt_step import policy_reflector
from ..generation.settings import GenerationSettings, Prompt, context_length
from ..generation.size import asks_short, reflecting_temperature
from ..generation.tool_loop import IdPolicy, ToolLoop
from ..generation.toolbox import Toolbox
from ..generation.worth import Weigh, weigher
from .engine_policy import EnginePolicy
from .reward_reading import RewardReading
from .rollouts import (
    Reflect,
    RollOut,
    Row,
    RowScore,
    SharedRollouts,
    as_trl_has_it,
    engine_sampling,
    starting_model,
    transformers_sampling,
)
from .rows import TrainingRows


class DrawingTrainer(GRPOTrainer):
    """GRPOTrainer whose model can be used as a policy between the steps."""

    rows: TrainingRows
    reading: RewardReading
    reflector: Reflector | str
    _pending_extra_logs: Any
    _pending_metrics: Any
    environments: Any
    _environment_pool: Any

    @property
    def generates_in_step(self) -> bool:
        """Whether all ranks must make the same number of generation calls (sharded weights, vLLM server)."""
        return bool(self.use_vllm or self.weights_are_sharded)

    @property
    def generates_alone(self) -> bool:
        """Whether this rank generates alone, with transformers' own loop."""
        return not (self.generates_in_step or self.args.use_transformers_continuous_batching)

    @property
    def weights_are_sharded(self) -> bool:
        """Whether no rank has all weights (FSDP, ZeRO-3)."""
        plugin = self.accelerator.state.deepspeed_plugin
        return bool(self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))

    @property
    def policy_model(self) -> Any:
        """The model in training, without its wrappers."""
        return self.accelerator.unwrap_model(self.model)

    def prompt_limit(self, max_new_tokens: int | None = None) -> int:
        """Longest prompt, in tokens, that leaves room for the completion."""
        context = context_length(self.model.config) or 2**31
        if self.use_vllm and self.args.vllm_max_model_length:
            context = min(context, self.args.vllm_max_model_length)
        return int(context - (max_new_tokens or self.max_completion_length))

    def policy(self, label: str = "") -> IdPolicy:
        """The current weights as a policy.

        Args:
            label: of a progress bar; none without one.
        """
        settings = GenerationSettings.of(self.args, self.chat_template)
        shown = label if self.accelerator.is_main_process and not self.args.disable_tqdm else ""
        if self.generates_alone:
            return LocalPolicy(self.policy_model, self._tokenizer, settings, shown)
        return EnginePolicy(
            self._tokenizer,
            settings,
            self._generate_ids,
            self.prompt_limit,
            bool(self.use_vllm),
            self.eos_token_ids,
            shown,
        )

    def _generate_ids(self, ids: list[list[int]], temperature: float, max_new_tokens: int) -> list[list[int]]:
        """Completion ids by TRL's own generation."""
        with self._sampling(temperature, max_new_tokens), trackers_off(self.args, self.is_in_train):
            completions, _ = GRPOTrainer._generate_single_turn(self, ids, None, {}, 1)
        return [list(completion) for completion in completions]

    def _sampling(self, temperature: float, max_new_tokens: int) -> Any:
        if self.use_vllm:
            return engine_sampling(self.vllm_generation, temperature, max_new_tokens)
        return transformers_sampling(self, temperature, max_new_tokens)

    # --- rollouts ------------------------------------------------------------------------------------------

    def roll_out(
        self, pairs: Sequence[tuple[str, Row]], temperature: float, label: str = "", weigh: Weigh | None = None
    ) -> list[Rollout]:
        """One scored rollout of each (template, row); see `SharedRollouts.roll_out`."""
        shared = SharedRollouts(self.accelerator, self._score)
        given = [(template, self.rows.given(row)) for template, row in pairs]
        if not self.tools:
            return shared.roll_out(self.policy(label), given, temperature, weigh)
        args = self.args
        loop = ToolLoop(self.policy(), self.toolbox, args.max_tool_calling_iterations, args.tool_timeout)
        return shared.roll_out_turns(loop, given, temperature, self.args.evolve_batch_size)

    @cached_property
    def toolbox(self) -> Toolbox:
        """The tools, with environments of their own: training's are not touched between the steps."""
        factories = self.environment_factories
        return Toolbox(
            self._standalone_tools, factories if factories is None or None not in factories else factories[None]
        )

    def carry_out(self, request: RollOut | Reflect) -> Any:
        """What rank 0 asks of all ranks in a prompt step."""
        if isinstance(request, RollOut):
            pairs = [(template, self.rows.by_id[sample_id]) for template, sample_id in request.pairs]
            return self.roll_out(pairs, self.args.evolve_temperature, weigh=self._weigh())
        with self._reflecting_policy() as policy:
            temperature = reflecting_temperature(self.args.reflect_temperature, self._asks_short)
            return SharedRollouts(self.accelerator, self._score).complete(
                policy, request.prompts, temperature, self.args.reflect_max_tokens
            )

    def _weigh(self) -> Weigh | None:
        """What an evolution's rollouts are worth (``template_worth``)."""
        if self.args.template_worth == "success":
            return None
        settings = GenerationSettings.of(self.args, self.chat_template)
        return weigher(LocalPolicy(self.policy_model, self._tokenizer, settings), self.args)

    def _score(self, rows: Sequence[Row], completions: Sequence[Completion]) -> list[RowScore]:
        """Scores this rank's rows with TRL's reward calls. What they log is kept out of the training's log."""
        asked = [as_trl_has_it(row, completion) for row, completion in zip(rows, completions, strict=True)]
        prompts, texts, ids = [p for p, _ in asked], [t for _, t in asked], [list(c.ids) for c in completions]
        kept = self._pending_extra_logs, self._pending_metrics, self.environments
        self._pending_extra_logs, self._pending_metrics = type(kept[0])(list), type(kept[1])(list)
        if self.environment_factories is not None:
            self.environments = [getattr(completion, "environment", None) for completion in completions]
        try:
            with trackers_off(self.args, self.is_in_train):
                rewards_NF = self._calculate_rewards(list(rows), prompts, texts, ids)
            told = [column for name, column in self._pending_extra_logs.items() if name.endswith("feedback")]
        finally:
            self._pending_extra_logs, self._pending_metrics, self.environments = kept
        start = self.accelerator.process_index * len(rows)
        scores = []
        for n, rewards_F in enumerate(rewards_NF[start : start + len(rows)].tolist()):
            total = self.reading.total(rewards_F)
            said = [*(column[n] for column in told), getattr(completions[n], "told", "")]
            feedback = " ".join(str(text) for text in said if text)
            feedback = feedback or f"The reward of this answer is {total:g}."
            scores.append(RowScore(total, self.reading.is_solved(rewards_F), feedback))
        return scores

    # --- reflection ----------------------------------------------------------------------------------------

    def bound_reflector(self, complete: Callable[[Sequence[Prompt]], Sequence[Completion]]) -> Reflector:
        """The run's reflector; *self* and *policy* write their replies with ``complete``."""
        if not isinstance(self.reflector, str):
            return self.reflector
        return policy_reflector(complete, self._chats, self._asks_short, context_length(self.model.config))

    @property
    def _chats(self) -> bool:
        return bool(self.chat_template or self._tokenizer.chat_template)

    @cached_property
    def _asks_short(self) -> bool:
        return self._chats and asks_short(self.args.reflect_prompt, self.policy_model)

    @contextmanager
    def _reflecting_policy(self) -> Iterator[Policy]:
        """The policy that reflects: the current weights ("policy"), or the frozen starting policy ("self").

        With LoRA the starting policy needs no second copy: the adapter is switched off. With LoRA and vLLM, the
        replies come from transformers, because the engine holds the adapter merged into its weights.
        """
        if self.reflector == "policy":
            yield self.policy()
            return
        model = self.policy_model
        if isinstance(model, PeftModel) and not self.use_vllm:
            with model.disable_adapter():
                yield self.policy()
            return
        settings = GenerationSettings.of(self.args, self.chat_template)
        if isinstance(model, PeftModel):
            with model.disable_adapter():
                yield LocalPolicy(model, self._tokenizer, settings)
            return
        source = self.model.config._name_or_path
        with starting_model(model, source, self.accelerator.device, self.args.trust_remote_code) as loaded:
            yield LocalPolicy(loaded, self._tokenizer, settings)

    # --- evaluation ----------------------------------------------------------------------------------------

    def sampled_evaluation(self, dataset: Any, ignore_keys: Any, prefix: str) -> dict[str, float]:
        """TRL's own figures: groups at the training temperature, and their loss."""
        loader = self.get_eval_dataloader(dataset)
        with self._environments_apart():
            figures: dict[str, float] = self.evaluation_loop(
                loader, "Evaluation", prediction_loss_only=True, ignore_keys=ignore_keys, metric_key_prefix=prefix
            ).metrics
        for name, values in self._metrics["eval"].items():
            known = [v for v in values if v == v]
            if known:
                figures[f"{prefix}_{name}"] = sum(known) / len(known)
        self._metrics["eval"].clear()
        return figures

    @contextmanager
    def _environments_apart(self) -> Iterator[None]:
        """Inside this context TRL uses other environments than training's."""
        if self.environment_factories is None:
            yield
            return
        kept = self._environment_pool, self.environments
        self._environment_pool = self.toolbox.pools
        try:
            yield
        finally:
            self._environment_pool, self.environments = kept


@contextmanager
def trackers_off(args: Any, in_training: bool) -> Iterator[None]:
    """Turns the trackers off outside training: there is no run then, and TRL's profiler would still log to trackio."""
    trackers = args.report_to
    args.report_to = trackers if in_training else []
    try:
        yield
    finally:
        args.report_to = trackers
