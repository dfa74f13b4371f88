"""Rollouts: generated from T(x, z), handed back under the prompt on which they are trained (the bare prompt x).

Any agent loop of verl is wrapped: its own single-turn and tool loops, and a user's. The template stands in the question
of the prompt with which a rollout begins; what tools and environments say later is the same under both prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, _agent_loop_registry, register

from ..core.templates import apply_template
from ..errors import ConfigError
from . import NAME
from .texts import text_of

TEMPLATES = "p2o_templates"
"""Column of a batch: for each sample the numbers of its K templates (see `p2o.verl.texts`), one for each rollout slot
(0 is bare)."""

STORED_PROMPT = "p2o_stored_prompt"
"""Column of a batch: under which prompt templated rollouts are handed back, ``bare`` or ``templated``."""

SAMPLE_ID = "p2o_sample"
"""Column of a batch: the samples' stable ids."""

AGENT = "p2o_agent"
"""Column of a batch: the agent loop that is wrapped. verl's own column ``agent_name`` names the wrapper."""

TEMPERATURE = "p2o_temperature"
"""Column of a batch: at which it is sampled; without it as verl says."""

TEMPLATE, PROMPT_IDS, OVERFLOW = "p2o_template", "p2o_prompt_ids", "p2o_overflow"
"""Extra fields of a templated rollout: the template's number, the token ids of T(x, z), and whether it did not fit."""


def known_agent_loops() -> frozenset[str]:
    """The names under which agent loops are registered in this process."""
    return frozenset(_agent_loop_registry)


@register(NAME)
class P2OAgentLoop:
    """One rollout by the agent loop that its sample asks for, bare or under the template of its slot.

    Args:
        made_with: what verl makes an agent loop with.
    """

    def __init__(self, **made_with: Any) -> None:
        self.made_with = made_with

    async def run(self, sampling_params: dict[str, Any], **columns: Any) -> AgentLoopOutput:
        """One rollout.

        Args:
            sampling_params: as of verl.
            columns: the sample's, with this module's; ``session_id`` is the slot.

        Returns:
            What the wrapped agent loop returns; of a templated rollout with the extra fields `TEMPLATE` and
            `PROMPT_IDS`, or `OVERFLOW` when the template does not fit and the rollout is bare.

        Raises:
            ConfigError: the agent loop is one that cannot be wrapped.
        """
        agent, templates = columns.pop(AGENT), columns.pop(TEMPLATES)
        stored = columns.pop(STORED_PROMPT, "templated")
        columns.pop(SAMPLE_ID, None)
        if TEMPERATURE in columns:
            sampling_params = {**sampling_params, "temperature": columns.pop(TEMPERATURE), "top_p": 1.0, "top_k": -1}
        loop = hydra.utils.instantiate(_agent_loop_registry[agent], **self.made_with)
        template = templates[int(columns["session_id"]) % len(templates)]
        prompts = TemplatedPrompts(loop, text_of(template)) if template else None
        output = await loop.run(sampling_params, **columns)
        if not isinstance(output, AgentLoopOutput):
            raise ConfigError(
                f"the agent loop {agent!r} hands back {len(output)} outputs for one rollout, and P²O trains one; "
                "return one AgentLoopOutput"
            )
        if prompts is None:
            return output
        if prompts.too_long:
            output.extra_fields[OVERFLOW] = True
            return output
        bare_ids = prompts.bare_of(output.prompt_ids)
        if bare_ids is None:
            raise ConfigError(
                f"the agent loop {agent!r} hands back a prompt that it did not make with verl's "
                "ct_build_initial_tokens, so that no template can stand in it; make the first prompt with that method"
            )
        output.extra_fields |= {TEMPLATE: template, PROMPT_IDS: output.prompt_ids}
        if stored == "bare":
            output.prompt_ids = bare_ids
        return output


class TemplatedPrompts:
    """Puts a template into the prompts that an agent loop makes, and knows the bare prompt of each.

    The loop's messages stay bare, so that tools, environments and later turns never see the template.

    Args:
        loop: an `AgentLoopBase`; its ``ct_build_initial_tokens`` is replaced.
    """

    def __init__(self, loop: Any, template: str) -> None:
        self.template = template
        self.too_long = False
        """Whether T(x, z) fills the whole prompt length: verl would cut it, and the rollout is bare instead."""
        self._build, self._prompt_length = loop.ct_build_initial_tokens, loop.rollout_config.prompt_length
        self._first_messages = 0
        self._bare: dict[tuple[int, ...], list[int]] = {}
        loop.ct_build_initial_tokens = self.build

    async def build(self, messages: Sequence[Mapping[str, Any]], *args: Any, **kwargs: Any) -> list[int]:
        """Token ids of T(x, z), x the messages; a loop that makes its prompt anew with more turns gets the template in
        the same message again."""
        bare_ids: list[int] = await self._build(list(messages), *args, **kwargs)
        if self.too_long:
            return bare_ids
        first = self._first_messages or len(messages)
        templated = [*apply_template(self.template, messages[:first]), *messages[first:]]
        ids: list[int] = await self._build(templated, *args, **kwargs)
        if not self._first_messages and len(ids) >= self._prompt_length:
            self.too_long = True
            return bare_ids
        self._first_messages = first
        self._bare[tuple(ids)] = bare_ids
        return ids

    def bare_of(self, prompt_ids: Sequence[int]) -> list[int] | None:
        """The bare prompt's token ids; None for a prompt that was not made here."""
        return self._bare.get(tuple(prompt_ids))
