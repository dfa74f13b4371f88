"""What the accepted templates of an evolution changed, and on which samples that helped (``p2o evolve --explain``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..base.text import counted, one_line
from ..core.evolve import Evolution
from ..reflectors.phrases import sentences

_SENTENCE_CHARS, _QUESTION_CHARS = 160, 60
_MOST_SENTENCES, _MOST_QUESTIONS = 6, 3


def explained(evolution: Evolution, questions: Mapping[str, str]) -> Iterator[str]:
    """Lines: first the fates of all proposals; then of each accepted template the sentences that its parent does not
    have (+), those of the parent that it does not have (-), and the dev samples that it solves and its parent does not.

    Args:
        questions: sample id → question.
    """
    fates = {fate: n for fate, n in evolution.fates.items() if fate != "seed"}
    yield f"{counted(sum(fates.values()), 'proposal')}: " + (
        ", ".join(f"{n} {fate.replace('_', ' ')}" for fate, n in fates.items()) or "none was made"
    )
    for place, parent in enumerate(evolution.parents):
        if parent is None:
            continue
        old, new = evolution.templates[parent], evolution.templates[place]
        yield ""
        yield f"template {place}, made from {f'template {parent}' if old else 'the bare prompt'}"
        yield from difference(old, new)
        solved, before = evolution.solved_CV[place], evolution.solved_CV[parent]
        ids = evolution.dev_ids
        gained = [i for i, now, then in zip(ids, solved, before, strict=True) if now and not then]
        lost = [i for i, now, then in zip(ids, solved, before, strict=True) if then and not now]
        yield f"  solves {sum(solved)} of {counted(len(ids), 'dev sample')}, its parent {sum(before)}"
        for sign, some in (("gained", gained), ("lost", lost)):
            if some:
                yield f"  {sign} {len(some)}: {_quoted([questions[i] for i in some])}"


def difference(old: str, new: str) -> Iterator[str]:
    """The sentences of two templates that only one of them has, the new one's first."""
    for sign, ours, others in (("+", new, old), ("-", old, new)):
        own = [s for s in dict.fromkeys(sentences(ours)) if s not in sentences(others)]
        yield from (f"  {sign} {one_line(s, _SENTENCE_CHARS)}" for s in own[:_MOST_SENTENCES])
        if len(own) > _MOST_SENTENCES:
            yield f"  {sign} and {len(own) - _MOST_SENTENCES} more"
    if set(sentences(old)) == set(sentences(new)):
        yield "  the same sentences, in another order"


def _quoted(questions: Sequence[str]) -> str:
    quoted = ", ".join(f'"{one_line(q, _QUESTION_CHARS)}"' for q in questions[:_MOST_QUESTIONS])
    return quoted + (" …" if len(questions) > _MOST_QUESTIONS else "")
