"""Rollouts: generated from T(x, z), handed back under the prompt on which they are trained (the bare prompt x)."""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from ..core.templates import apply_template
from . import NAME

TEMPLATES = "p2o_templates"
"""Column of a batch: for each sample its K templates, one for each rollout slot ("" is bare)."""

STORED_PROMPT = "p2o_stored_prompt"
"""Column of a batch: under which prompt templated rollouts are handed back, ``bare`` or ``templated``."""

SAMPLE_ID = "p2o_sample"
"""Column of a batch: the samples' stable ids."""

TEMPLATE, PROMPT_IDS, OVERFLOW = "p2o_template", "p2o_prompt_ids", "p2o_overflow"
"""Extra fields of a templated rollout: the template, the token ids of T(x, z), and whether it did not fit."""


@register(NAME)
class P2OAgentLoop(SingleTurnAgentLoop):  # type: ignore[misc]
    """verl's single-turn rollout; the slot's template stands in front of the question while it is generated."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """One rollout, bare or under the template of its slot.

        Args:
            sampling_params: as of verl, with ``priority``.
            kwargs: the sample's columns: ``raw_prompt``, ``session_id`` (the slot), and this module's columns.

        Returns:
            verl's output; of a templated rollout with the extra fields `TEMPLATE`, `PROMPT_IDS`, or `OVERFLOW` when the
            template does not fit and the rollout is bare.
        """
        templates = kwargs.get(TEMPLATES)
        template = templates[int(kwargs["session_id"]) % len(templates)] if templates else ""
        if not template:
            return await super().run(sampling_params, priority, **kwargs)
        messages = list(kwargs["raw_prompt"])
        templated = apply_template(template, messages)
        # A prompt that fills the whole prompt length was cut (verl cuts from the left): roll out bare instead.
        if len(await self.ct_build_initial_tokens(templated)) >= self.prompt_length:
            output = await super().run(sampling_params, priority, **kwargs)
            output.extra_fields[OVERFLOW] = True
            return output
        output = await super().run(sampling_params, priority, **{**kwargs, "raw_prompt": templated})
        output.extra_fields |= {TEMPLATE: template, PROMPT_IDS: output.prompt_ids}
        if kwargs.get(STORED_PROMPT) == "bare":
            output.prompt_ids = await self.ct_build_initial_tokens(messages)
        return output
