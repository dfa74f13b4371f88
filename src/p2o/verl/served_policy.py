"""The policy in training as a reflector asks it: through verl's servers, which hold the newest weights."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl.utils.ray_utils import auto_await

from ..generation.policies import Completion
from ..generation.settings import Prompt


@dataclass(frozen=True)
class ServedPolicy:
    """Completes chats. A prompt that leaves no room for a reply is marked as one that does not fit."""

    client: Any
    """verl's `LLMServerClient`."""
    tokenizer: Any
    chat_template_kwargs: Mapping[str, Any]
    context_tokens: int
    """Longest prompt and completion together that the servers take."""

    def complete(self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int) -> list[Completion]:
        """One completion of each chat.

        Args:
            prompts: chat messages.
            max_new_tokens: longest completion.
        """
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        completions: list[Completion] = self._complete_all(ids, temperature, max_new_tokens)
        return completions

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        ids = self.tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **self.chat_template_kwargs
        )["input_ids"]
        return list(ids)

    @auto_await  # type: ignore[untyped-decorator]
    async def _complete_all(
        self, prompts: Sequence[list[int]], temperature: float, max_new_tokens: int
    ) -> list[Completion]:
        return list(await asyncio.gather(*(self._complete(ids, temperature, max_new_tokens) for ids in prompts)))

    async def _complete(self, prompt_ids: list[int], temperature: float, max_new_tokens: int) -> Completion:
        room = self.context_tokens - len(prompt_ids)
        if room < 1:
            return Completion("", len(prompt_ids), fits=False)
        sampling = {
            "temperature": temperature,
            "top_p": 1.0,
            "top_k": -1,
            "max_tokens": min(max_new_tokens, room),
        }
        output = await self.client.generate(
            request_id=uuid.uuid4().hex, prompt_ids=prompt_ids, sampling_params=sampling
        )
        text = self.tokenizer.decode(output.token_ids, skip_special_tokens=True)
        return Completion(text, len(prompt_ids), len(output.token_ids), tuple(output.token_ids))
