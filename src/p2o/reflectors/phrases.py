"""A reflector without a model: it combines phrases.

It is for policies that are too small to reflect, for tests, and as a baseline that a language model should beat.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ..core.evolve import ReflectionJob, Reply

GENERAL_BANK = (
    "Think step by step.",
    "Write down every step of your work.",
    "Check your result.",
    "Read the question twice.",
    "First say what is given and what is asked.",
    "Break the problem into smaller parts.",
    "Work from the end backwards.",
    "Try a simpler case first.",
    "Name the quantities before you calculate.",
    "Do one operation at a time.",
    "Keep track of intermediate results.",
    "Look for a pattern.",
    "Consider all the cases.",
    "Put the numbers back into the question to verify.",
    "Be careful with signs and units.",
    "State the final answer at the end.",
)
"""General reasoning strategies."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_FORMAT = re.compile(
    r"\b(format|boxed|final answer|your answer|the answer (?:must|should|has to)|end with|tags?|inside)\b",
    re.I,
)
_TELLS_ANSWER = re.compile(
    r"\d|```|\b(?:right|correct|expected|true|gold(?:en)?) (?:answer|result|solution)\b"
    r"|\banswer (?:is|was)\b",
    re.I,
)
_WRONG_FORMAT = re.compile(r"Wrong format: (.+?)\s*(?:Reward: [-\d.]+\s*)?$", re.DOTALL)
_KEEP = 0.75  # probability that a parent's phrase stays
_LONGEST_REMINDER = 200
_REMIND = 0.5  # probability that a format reminder is used


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text."""
    return [s.strip() for s in _SENTENCE_END.split(text) if s.strip()]


def format_reminders(feedback: str) -> list[str]:
    """The parts of a feedback text that state the required format.

    After "Wrong format:" (`p2o.rewards`) this is the whole text: the recipe wrote it, and it may hold an example.
    Otherwise these are the sentences that state a format and hold neither an answer nor a number.
    """
    if found := _WRONG_FORMAT.match(feedback):
        text = found[1].strip()
        return [text[:1].upper() + text[1:]] if len(text) <= _LONGEST_REMINDER else []
    return [
        s
        for s in sentences(feedback)
        if len(s) <= _LONGEST_REMINDER and _FORMAT.search(s) and not _TELLS_ANSWER.search(s)
    ]


def split_phrases(template: str, known: Sequence[str]) -> list[str]:
    """A template's phrases: known phrases, and the sentences of the rest."""
    if not known:
        return sentences(template)
    pattern = "|".join(re.escape(p) for p in sorted(known, key=len, reverse=True))
    out: list[str] = []
    for piece in re.split(f"({pattern})", template):
        out += [piece] if piece in known else sentences(piece)
    return list(dict.fromkeys(out))


class PhrasesReflector:
    """Recombines a bank of phrases and the format reminders in the feedback. Deterministic in the job's seed.

    A proposal takes each format reminder in the feedback with probability 0.5, keeps each of its parent's phrases with
    probability 0.75, is filled up from the bank to a size drawn uniformly from 1 to ``max_phrases``, and is shuffled.
    The size may be large, because some instructions help only together. With a partner it is a crossover: the phrases
    of both parents are kept with that probability, and the size has room for all of them, up to ``max_phrases``.
    """

    def __init__(self, bank: Sequence[str] = GENERAL_BANK, max_phrases: int = 8) -> None:
        self.bank = tuple(dict.fromkeys(bank))
        self.max_phrases = max_phrases

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        return [Reply(f"```\n{self.propose(job)}\n```", None, 0, 0) for job in jobs]

    def propose(self, job: ReflectionJob) -> str:
        """The new template for one job."""
        rng = random.Random(job.seed)
        reminders = dict.fromkeys(r for _, _, feedback, _ in job.records for r in format_reminders(feedback))
        reminded = [r for r in reminders if rng.random() < _REMIND]
        choices = [*self.bank, *reminders]
        size = rng.randint(1, self.max_phrases)
        both = dict.fromkeys(p for text in (job.template, job.partner) for p in split_phrases(text, choices))
        kept = [p for p in both if rng.random() < _KEEP]
        size = min(max(size, len(kept)), self.max_phrases) if job.partner else size
        # First the format reminders of the feedback, then the kept phrases of the parent, then the bank.
        wanted = list(dict.fromkeys([*reminded, *rng.sample(kept, len(kept))]))[:size]
        fresh = [p for p in self.bank if p not in wanted]
        phrases = wanted + rng.sample(fresh, min(size - len(wanted), len(fresh)))
        rng.shuffle(phrases)
        return ("\n" if any("\n" in p for p in phrases) else " ").join(phrases)
