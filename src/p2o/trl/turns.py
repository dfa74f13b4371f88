"""Hook *prompt* on TRL: the template of a rollout stands in front of its prompt, in each of its turns.

TRL computes on the bare prompt and the turns after it. Each turn of a templated rollout is drawn from T(x, z) and these
turns: the bare prompt's ids are exchanged for those of T(x, z) when the model is asked, and only then.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trl import GRPOTrainer

from ..core.given import Given, gives
from ..core.templates import apply_to_prompt
from ..errors import ConfigError
from ..generation.efficient import why_not
from ..generation.row_ids import RowIds, with_rows
from ..generation.settings import QUIET
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
        if gives(self.loop.assignment.values()):
            raise ConfigError(
                f"method {self.args.method} gives whole completions, and with tools a rollout has several turns; leave "
                "the tools out, or take another method"
            )
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
        ids, images, fields = self._tokenize_once(prompts)
        batch = self._batch
        self.cost["evaluate" if batch is None else "rollout"].add(rollouts=len(ids))  # outside a batch TRL evaluates
        if batch is None:
            return ids, images, fields
        batch.bare_lengths = [len(row_ids) for row_ids in ids]
        if self.loop.assignment:
            self._put_templates(batch, prompts)
        term = self.loop.credit().kl
        if term and term.teacher:
            batch.teacher_ids = self._teacher_ids([term.teacher(row["sample_id"]) for row in batch.rows], prompts)
        return with_rows(ids), images, fields

    def _tokenize_once(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        """TRL's token ids; prompts that follow an equal one (those of a group) are not tokenized again."""
        if self._is_vlm or self.environment_factories is not None:
            return super()._tokenize_prompts(prompts)
        first = [n for n in range(len(prompts)) if not n or prompts[n] != prompts[n - 1]]
        ids, images, fields = super()._tokenize_prompts([prompts[n] for n in first])
        counts = [after - n for n, after in zip(first, [*first[1:], len(prompts)], strict=True)]

        def for_all(rows: Any) -> list[Any]:
            return [list(row) for row, count in zip(rows, counts, strict=True) for _ in range(count)]

        return for_all(ids), images, {name: for_all(rows) for name, rows in fields.items()}

    def _put_templates(self, batch: Batch, prompts: list[Any]) -> None:
        """Chooses the batch's templates. A prompt holds what its environment said, so T(x, z) holds it too."""
        first = self.accelerator.process_index * len(batch.rows)
        slots = [
            self.loop.template(row["sample_id"], (first + n) % self.num_generations) for n, row in enumerate(batch.rows)
        ]
        given = {n: self._as_written(slot) for n, slot in enumerate(slots) if isinstance(slot, Given)}
        batch.given_ids = {n: ids for n, ids in given.items() if len(ids) <= self.max_completion_length}
        too_long = given.keys() - batch.given_ids.keys()  # these are drawn
        slots = ["" if n in too_long else slot for n, slot in enumerate(slots)]
        overflow = batch.put_templates(
            slots, prompts, lambda applied: self._tokenize_once(applied)[0], self.prompt_limit()
        )
        if any(slots) or too_long:
            self._metrics["train"]["p2o/context_overflow"].append((overflow + len(too_long)) / len(batch.rows))

    def _teacher_ids(self, scaffolds: list[str], prompts: list[Any]) -> list[list[int]]:
        """Token ids of the prompts behind a teacher's scaffolds; empty without one, or where it does not fit."""
        applied = [apply_to_prompt(scaffold, prompt) for scaffold, prompt in zip(scaffolds, prompts, strict=True)]
        found = self._tokenize_once(applied)[0]
        limit = self.prompt_limit()
        return [list(ids) if z and len(ids) <= limit else [] for z, ids in zip(scaffolds, found, strict=True)]

    def _as_written(self, text: str) -> list[int]:
        """The token ids of a text as the policy would write it."""
        ids: list[int] = self._tokenizer(text=text, add_special_tokens=False, **QUIET)["input_ids"]
        return [*ids, self._tokenizer.eos_token_id]

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
        # Other ways to generate need all rows of all ranks; what they draw for given rows is not used.
        asked = [ids for ids in prompt_ids if ids.row not in batch.given_ids or not self.generates_alone]
        if self.loop.assignment:
            num_generations = 1  # the prompts of a group differ

        def generate(ids: list[list[int]]) -> tuple[list[list[int]], Any]:
            return GRPOTrainer._generate_single_turn(
                self, ids, images, multimodal_fields, num_generations, *more, **options
            )

        completion_ids, logprobs = self._draw_turn(batch, asked, generate) if asked else ([], None)
        if not batch.given_ids:
            return completion_ids, logprobs
        return with_given(batch.given_ids, prompt_ids, asked, completion_ids, logprobs)

    def _draw_turn(
        self, batch: Batch, prompt_ids: list[Any], generate: Callable[[list[list[int]]], tuple[list[list[int]], Any]]
    ) -> tuple[list[list[int]], Any]:
        """Draws a turn after these prompts, or after T(x, z) and these turns."""
        rows, starts = [ids.row for ids in prompt_ids], batch.places(prompt_ids)
        drawn_from = batch.prompts_to_draw_from(prompt_ids)
        logprobs = None
        templates = ["" if row in batch.given_ids else batch.template(row) for row in rows]
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


def with_given(
    given_ids: Mapping[int, list[int]],
    prompt_ids: Sequence[RowIds],
    drawn: Sequence[RowIds],
    completion_ids: Sequence[list[int]],
    logprobs: Sequence[Any] | None,
) -> tuple[list[list[int]], list[Any] | None]:
    """The completions of all rows of a turn: those that were drawn, and given ones in their places.

    Args:
        given_ids: row → its completion.
        drawn: the prompts after which was drawn, with their completions and an engine's log-probs, if it gave them.

    Returns:
        Completions and log-probs in the order of ``prompt_ids``; a given completion has None as its log-probs.
    """
    ids_of = {ids.row: row_ids for ids, row_ids in zip(drawn, completion_ids, strict=True)} | dict(given_ids)
    completions = [ids_of[ids.row] for ids in prompt_ids]
    if logprobs is None:
        return completions, None
    logps_of = dict(zip((ids.row for ids in drawn), logprobs, strict=True))
    logps_of |= {row: [None] * len(row_ids) for row, row_ids in given_ids.items()}
    return completions, [logps_of[ids.row] for ids in prompt_ids]
