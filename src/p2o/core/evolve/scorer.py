"""Scores (template, sample) pairs: each once, all missing ones in one rollout call, every call charged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace

from ...base.journal import Journal, digest
from ...base.text import shorten
from ...errors import StateError
from ..samples import Rollout, RolloutFn, Sample
from .leak import leaks_answer
from .reflector import token_count
from .result import EvolveCost

LEAKED = Rollout("", 0.0, False, prompt_tokens=0, completion_tokens=0)
"""In place of a rollout that is not made, because the template holds the sample's answer."""

Pair = tuple[str, Sample]


class Scorer:
    """The rollout function with a memory, a journal and a budget.

    Calls in the journal are read from it in their order, and charged as if they were made now. So a killed evolution
    loses at most the rollout call that was running.

    Args:
        train_ids: samples whose completions a reflector will read; of other samples no text is kept.
        keep_chars: completions and feedback are shortened to this (memory and journal stay small).
    """

    def __init__(
        self,
        rollout: RolloutFn,
        journal: Journal,
        cost: EvolveCost,
        budget: int,
        train_ids: Iterable[str],
        keep_chars: int,
    ) -> None:
        self.rollout = rollout
        self.journal = journal
        self.cost = cost
        self.budget = budget
        self.train_ids = frozenset(train_ids)
        self.keep_chars = keep_chars
        self.known: dict[tuple[str, str], list[Rollout]] = {}
        self.not_finite = 0
        self.helped = False
        """Whether a template, not the bare prompt, has solved anything."""

    def missing(self, pairs: Iterable[Pair]) -> list[Pair]:
        """The distinct pairs that would be rolled out, and charged, if these were scored now."""
        new = {(t, s.id): (t, s) for t, s in pairs if (t, s.id) not in self.known}
        return [(t, s) for t, s in new.values() if not leaks_answer(t, s)]

    def may_draw(self, template: str, sample: Sample) -> bool:
        """Whether a pair can be rolled out: the template does not hold the sample's answer."""
        return not leaks_answer(template, sample)

    def drawn(self, template: str, sample: Sample) -> Sequence[Rollout]:
        """All rollouts that were made of a pair."""
        return self.known.get((template, sample.id), ())

    def known_rollouts(self, template: str, samples: Sequence[Sample]) -> list[Rollout]:
        """The known rollout of a template on each sample (`LEAKED` where there is none, because the template holds the
        sample's answer). Of several, the first with their mean reward; it is solved if one of them is."""
        return [_together(self.drawn(template, s)) for s in samples]

    def score(self, pairs: Sequence[Pair], phase: str) -> list[Rollout]:
        """One rollout per pair, in order; at most one generation call."""
        missing = self.missing(pairs)
        self._roll_out(missing, phase)
        out = [_together(self.drawn(*pair)) for pair in pairs]
        leaked = sum(r is LEAKED for r in out)
        self.cost.leaked_scores += leaked
        self.cost.reused_scores += len(out) - leaked - len(missing)
        return out

    def draw(self, pairs: Sequence[Pair], phase: str) -> int:
        """One more rollout of each pair, in one generation call. Returns their number."""
        self._roll_out(list(pairs), phase)
        return len(pairs)

    def _roll_out(self, pairs: list[Pair], phase: str) -> None:
        if not pairs:
            return
        assert self.cost.metric_calls + len(pairs) <= self.budget, "the plan did not keep the budget"
        for (template, sample), result in zip(pairs, self._roll(pairs, phase), strict=True):
            self.known.setdefault((template, sample.id), []).append(result)
            self.helped |= bool(template.strip()) and result.solved
            self.cost.prompt_tokens += result.prompt_tokens or 0
            self.cost.completion_tokens += result.completion_tokens or 0
            self.cost.scored_tokens += result.scored_tokens
            self.cost.unmeasured_rollouts += None in (result.prompt_tokens, result.completion_tokens)
            self.cost.no_room += not result.fits
        self.cost.generation_calls += 1
        self.cost.metric_calls += len(pairs)
        self.cost.rollouts[phase] += len(pairs)

    def _roll(self, pairs: list[Pair], phase: str) -> list[Rollout]:
        key = digest(phase, [(t, s.id) for t, s in pairs])
        call = self.cost.generation_calls
        if call < len(self.journal.events):
            event = self.journal.events[call]
            if event.get("key") != key:
                raise StateError(f"{self.journal.path}, line {call + 1} belongs to another evolution; use a new folder")
            self.not_finite += event["not_finite"]
            return [Rollout(*row) for row in event["rows"]]
        results = self.rollout(pairs)
        if len(results) != len(pairs):
            raise ValueError(f"the rollout function gave {len(results)} rollouts for {len(pairs)} pairs")
        bad = sum(not math.isfinite(r.reward) for r in results)
        self.not_finite += bad
        results = [self._trim(r, s) for r, (_, s) in zip(results, pairs, strict=True)]
        rows = [list(astuple(r)) for r in results]
        self.journal.append({"key": key, "phase": phase, "not_finite": bad, "rows": rows})
        return results

    def _trim(self, r: Rollout, sample: Sample) -> Rollout:
        read = sample.id in self.train_ids
        return replace(
            r,
            completion=shorten(r.completion, self.keep_chars) if read else "",
            feedback=shorten(r.feedback, self.keep_chars) if read else "",
            reward=float(r.reward) if math.isfinite(r.reward) else 0.0,
            solved=bool(r.solved),
            prompt_tokens=token_count(r.prompt_tokens),
            completion_tokens=token_count(r.completion_tokens),
        )


def _together(rollouts: Sequence[Rollout]) -> Rollout:
    if len(rollouts) < 2:
        return rollouts[0] if rollouts else LEAKED
    mean = sum(r.reward for r in rollouts) / len(rollouts)
    return replace(rollouts[0], reward=mean, solved=any(r.solved for r in rollouts))
