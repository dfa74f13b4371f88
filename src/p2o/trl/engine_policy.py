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
    stop_ids: Sequence[int]
    """Ids of the tokens that end a turn."""
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
        rows = [ids[n] if len(ids[n]) <= limit else filler for n in order]
        with isolated_rng(seed_of(self.settings.seed, prompts)):
            drawn = dict(zip(order, self.complete_ids(rows, temperature, length), strict=True))
        texts = self.tokenizer.batch_decode([drawn[n] for n in range(len(ids))], skip_special_tokens=True)
        return [
            Completion(texts[n], len(ids[n]), len(drawn[n]), tuple(drawn[n]))
            if len(ids[n]) <= limit
            else Completion("", fits=False)
            for n in range(len(ids))
        ]

    def complete_ids(self, rows: Sequence[list[int]], temperature: float, max_new_tokens: int) -> list[list[int]]:
        """Completion ids of prompts; collective. The caller seeds the random numbers."""
        size = len(rows) if self.in_one_call else self.settings.batch_size
        drawn: list[list[int]] = []
        with self._bar(len(rows)) as bar:
            for start in range(0, len(rows), size):
                chunk = list(rows[start : start + size])
                drawn += self.generate(chunk, temperature, max_new_tokens)
                bar.advance(len(chunk))
        return drawn

    def _bar(self, total: int) -> Bar:
        return Bar(total, self.label, shown=bool(self.label))
