"""Agent loops and a tool parser as a user writes them; verl loads this module in every process."""

from typing import Any
from uuid import uuid4

from reward import NOTED
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register
from verl.experimental.agent_loop.tool_parser import FunctionCall, ToolParser


@ToolParser.register("written_work")
class WrittenWork(ToolParser):
    """Work that is written down ("w:…") calls the tool `note`: the sandbox policy has no other way to call one."""

    async def extract_tool_calls(self, responses_ids: list[int], tools: Any = None) -> tuple[str, list[FunctionCall]]:
        text = self.tokenizer.decode(responses_ids, skip_special_tokens=True)
        calls = [FunctionCall(name="note", arguments='{"text": "work"}')] if "w:" in text else []
        return text, calls


class Loop(AgentLoopBase):
    """What the loops below share."""

    async def first_prompt(self, messages: list[dict[str, Any]]) -> list[int]:
        return await self.ct_build_initial_tokens(messages)

    async def answer(self, ids: list[int], mask: list[int], logps: list[float], sampling_params: dict[str, Any]) -> Any:
        """Prompt and turns so far → the same with one more answer of the model."""
        said = await self.server_manager.generate(
            request_id=uuid4().hex, prompt_ids=ids, sampling_params=sampling_params
        )
        self.extra = dict(said.extra_fields)  # verl wants to know which weights spoke
        merged, mask, logps = await self.ct_merge_assistant_token(
            ids, said.token_ids, mask, logps, assistant_logprobs=said.log_probs
        )
        return merged.token_ids, mask, logps, self.tokenizer.decode(said.token_ids, skip_special_tokens=True)

    def output(self, ids: list[int], mask: list[int], logps: list[float], turns: int) -> AgentLoopOutput:
        limit = self.rollout_config.response_length
        return AgentLoopOutput(
            prompt_ids=ids[: len(ids) - len(mask)],
            response_ids=ids[len(ids) - len(mask) :][:limit],
            response_mask=mask[:limit],
            response_logprobs=logps[:limit],
            num_turns=turns,
            metrics={},
            extra_fields=self.extra,
        )


@register("ask_again")
class AskAgain(Loop):
    """An environment of two turns: it notes the first answer and lets the model say something more."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        messages = [dict(message) for message in kwargs["raw_prompt"]]
        ids, mask, logps = await self.first_prompt(messages), [], []
        ids, mask, logps, said = await self.answer(ids, mask, logps, sampling_params)
        more = [*messages, {"role": "assistant", "content": said}, {"role": "user", "content": NOTED}]
        merged, mask, logps = await self.ct_merge_context_msg(more[:-1], more, ids, mask, logps)
        ids, mask, logps, _ = await self.answer(merged.token_ids, mask, logps, sampling_params)
        return self.output(ids, mask, logps, turns=4)


@register("own_tokens")
class OwnTokens(AskAgain):
    """Makes its prompt by itself, so that nobody can put a template into it."""

    async def first_prompt(self, messages: list[dict[str, Any]]) -> list[int]:
        return list(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


@register("two_outputs")
class TwoOutputs(AskAgain):
    """Hands back one rollout in two pieces."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> list[AgentLoopOutput]:
        return [await super().run(sampling_params, **kwargs)] * 2


@register("starts_anew")
class StartsAnew(Loop):
    """Makes its prompt anew with the turns so far, so that the last turn alone is the response."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        messages = [dict(message) for message in kwargs["raw_prompt"]]
        ids, mask, logps = await self.first_prompt(messages), [], []
        *_, said = await self.answer(ids, mask, logps, sampling_params)
        more = [*messages, {"role": "assistant", "content": said}, {"role": "user", "content": NOTED}]
        ids, mask, logps, _ = await self.answer(await self.first_prompt(more), [], [], sampling_params)
        return self.output(ids, mask, logps, turns=4)


@register("fails")
class Fails(Loop):
    """Its environment cannot be reached."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        raise OSError("no route to the game server")
