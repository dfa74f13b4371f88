"""The model in training as a policy where TRL itself must generate: vLLM, sharded weights, continuous batching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.live import Bar
from ..generation.policies import Completion, isolated_rng, seed_of
from ..generation.settings import GenerationSettings, Prompt, prompt_ids


@dataclass(frozen=True)
class EnginePolicy:
    """A `p2o.generation.policies.Policy`. All ranks must make the same number of calls, each with the same number of
    prompts."""

    tokenizer: Any
    settings: GenerationSettings
    generate: Callable[[list[list[int]], float, int], list[list[int]]]
    """(prompt ids, temperature, longest completion) → completion ids."""
    room: Callable[[int], int]
    """Longest completion → longest prompt, in tokens."""
    in_one_call: bool
    """vLLM batches by itself."""
    label: str = ""

    def complete(
        self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int | None = None
    ) -> list[Completion]:
        """Like `Policy.complete`; collective."""
        length = max_new_tokens or self.settings.max_new_tokens
        ids = prompt_ids(self.tokenizer, prompts, self.settings)
        limit = self.room(length)
        order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
        filler = ids[order[0]][:limit]  # in place of a prompt that does not fit: the ranks' calls must stay equal
        size = len(order) if self.in_one_call else self.settings.batch_size
        drawn: dict[int, list[int]] = {}
        with isolated_rng(seed_of(self.settings.seed, prompts)), self._bar(len(order)) as bar:
            for start in range(0, len(order), size):
                chunk = order[start : start + size]
                rows = [ids[n] if len(ids[n]) <= limit else filler for n in chunk]
                drawn.update(zip(chunk, self.generate(rows, temperature, length), strict=True))
                bar.advance(len(chunk))
        texts = self.tokenizer.batch_decode([drawn[n] for n in range(len(ids))], skip_special_tokens=True)
        return [
            Completion(texts[n], len(ids[n]), len(drawn[n]), tuple(drawn[n]))
            if len(ids[n]) <= limit
            else Completion("", fits=False)
            for n in range(len(ids))
        ]

    def _bar(self, total: int) -> Bar:
        return Bar(total, self.label, shown=bool(self.label))
