"""Hook *prompt* on TRL: the template of a rollout stands in front of its prompt, in each of its turns.

TRL computes on the bare prompt and the turns after it. Each turn of a templated rollout is drawn from T(x, z) and these
turns: the bare prompt's ids are exchanged for those of T(x, z) when the model is asked, and only then.
"""

from __future__ import annotations

import warnings
from typing import Any

from trl import GRPOTrainer

from ..errors import ConfigError
from ..generation.efficient import why_not
from ..generation.row_ids import with_rows
from ..generation.tools import guarded_calls
from .batch import Batch
from .credit import CreditTrainer
from .engine import hold_back
from .rollouts import draw_efficiently


class TurnsTrainer(CreditTrainer):
    """Draws a step's rollouts, of one turn or of several; used by `p2o.trl.step.StepTrainer`."""

    _batch: Batch | None
    """The batch that is being drawn and scored in a training step."""
    _sync_tool_dicts: list[dict[str, Any]]
    _async_tool_dicts: list[dict[str, Any]]

    def check_tools(self) -> None:
        """Raises ConfigError where rollouts with tools cannot work."""
        if not self.tools:
            return
        if self._is_vlm:
            raise ConfigError(
                "P2OTrainer takes no tools with a vision model: their results may hold images, and templates, ratios "
                "and evaluations are for text; use trl.GRPOTrainer"
            )
        if any(sample.text is not None for sample in self.rows.samples.values()):
            raise ConfigError("tools need chats, and train_dataset has prompts that are plain text; make them messages")
        alone = self.generates_alone or (
            self.use_vllm and self.vllm_mode == "colocate" and self.args.vllm_tensor_parallel_size == 1
        )
        if self.accelerator.num_processes > 1 and not alone:
            raise ConfigError(
                "with tools every process must generate on its own, because rollouts end after different numbers of "
                "turns; use whole weights on every process (DDP, ZeRO-2), or vllm_mode: colocate without "
                "vllm_tensor_parallel_size"
            )

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        """TRL calls it once for each batch of rollouts, before the first turn."""
        ids, images, fields = super()._tokenize_prompts(prompts)
        batch = self._batch
        self.cost["evaluate" if batch is None else "rollout"].add(rollouts=len(ids))  # outside a batch TRL evaluates
        if batch is None:
            return ids, images, fields
        batch.bare_lengths = [len(row_ids) for row_ids in ids]
        if self.loop.assignment:
            self._put_templates(batch, prompts)
        return with_rows(ids), images, fields

    def _put_templates(self, batch: Batch, prompts: list[Any]) -> None:
        """Chooses the batch's templates. A prompt holds what its environment said, so T(x, z) holds it too."""
        first = self.accelerator.process_index * len(batch.rows)
        slots = [
            self.loop.template(row["sample_id"], (first + n) % self.num_generations) for n, row in enumerate(batch.rows)
        ]
        overflow = batch.put_templates(
            slots, prompts, lambda applied: GRPOTrainer._tokenize_prompts(self, applied)[0], self.prompt_limit()
        )
        if any(slots):
            self._metrics["train"]["p2o/context_overflow"].append(overflow / len(batch.rows))

    def _tool_call_loop(self, *arguments: Any, **options: Any) -> Any:
        """TRL's, where a call of a tool has a deadline."""
        for calls in (self._sync_tool_dicts, self._async_tool_dicts):
            calls[:] = [guarded_calls(tools, self.args.tool_timeout) for tools in calls]
        return super()._tool_call_loop(*arguments, **options)

    def _generate_single_turn(
        self,
        prompt_ids: list[Any],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        *more: Any,
        **options: Any,
    ) -> tuple[list[list[int]], Any]:
        batch = self._batch
        if batch is None:
            completion_ids, logprobs = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, *more, **options
            )
            self._count_turn("evaluate", prompt_ids, completion_ids)
            return completion_ids, logprobs
        rows, starts = [ids.row for ids in prompt_ids], batch.places(prompt_ids)
        drawn_from = batch.prompts_to_draw_from(prompt_ids)
        if self.loop.assignment:
            num_generations = 1  # the prompts of a group differ

        def generate(ids: list[list[int]]) -> tuple[list[list[int]], Any]:
            return GRPOTrainer._generate_single_turn(
                self, ids, images, multimodal_fields, num_generations, *more, **options
            )

        logprobs = None
        templates = [batch.template(row) for row in rows]
        if self._draws_efficiently(any(templates)):
            completion_ids, logps = draw_efficiently(self.policy_model, drawn_from, lambda ids: generate(ids)[0])
            batch.drawn_logps.put(rows, starts, logps)
        else:
            completion_ids, logprobs = generate(drawn_from)
        self._count_turn("rollout", drawn_from, completion_ids)
        if logprobs is not None and batch.templates:
            logprobs, held_back = hold_back(logprobs, templates)
            batch.engine_logps.put(rows, starts, held_back)
        return completion_ids, logprobs

    def _count_turn(self, phase: Any, read: list[Any], written: list[list[int]]) -> None:
        """Counts the tokens of a turn. What stands before it is read again, tool results too."""
        self.cost[phase].add(prompt_tokens=sum(map(len, read)), generated_tokens=sum(map(len, written)))

    def _draws_efficiently(self, templated: bool) -> bool:
        """Whether `p2o.generation.sampler` draws a turn of this batch, and not TRL's generation."""
        return (templated or self.args.share_prompts) and self.why_not_efficient is None

    @property
    def why_not_efficient(self) -> str | None:
        """Why `p2o.generation.sampler` cannot draw the rollouts; None if it can."""
        if self.use_vllm:
            return "vLLM draws them"
        if self.weights_are_sharded:
            return "the weights are sharded over processes"
        if self.args.use_transformers_continuous_batching:
            return "use_transformers_continuous_batching is set"
        return why_not(self.policy_model, self.generation_config)

    def check_sharing(self) -> None:
        """Warns where ``share_prompts`` has no effect. vLLM needs no warning: it shares prompts itself."""
        reason = self.args.share_prompts and not self.use_vllm and self.why_not_efficient
        if reason and self.accelerator.is_main_process:
            warnings.warn(f"share_prompts has no effect, because {reason}", stacklevel=4)
