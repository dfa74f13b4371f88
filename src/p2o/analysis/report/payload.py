"""What the page's script shows on a click: texts of models and data sets, cleaned, as JSON.

Samples are known to the script by their row, not by their id: an id is a text from outside too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...base.text import clean_text, one_line, shorten
from ...core.evolve import Candidate
from ...core.hard import Tally
from ...core.rollout_log import MAX_SAMPLES, reading_order
from ...core.stored import TextNumbers
from ...runs.run_directory import Run
from . import states

MAX_ROWS = MAX_SAMPLES
"""Samples in the matrix: not more than the run keeps rollouts of, so that each shows its question."""
MAX_ROLLOUT_CHARS = 900_000
"""Text of prompts and rollouts in one page; samples beyond it show their counts only."""
MAX_TEMPLATE_CHARS = 400_000
"""Text of refused templates in one page, and as much of the others."""
LEAST_CHARS = 80
"""A template is not cut shorter."""
CANDIDATE = ("template", "parent", "iteration", "fate", "reason", "minibatch", "parent_scores", "scores", "dev_mean")
"""Fields of a candidate in the page; its id is its place."""
LABEL_CHARS = 90
"""Of the beginning of a question."""
TEXT_OVERHEAD = 40
"""Characters of JSON around each rollout."""


def payload(run: Run, max_chars: int = MAX_ROLLOUT_CHARS) -> dict[str, Any]:
    """The data of one run.

    Args:
        max_chars: room for prompts and rollouts.

    Returns:
        ``rows`` (id, then the state in each epoch), ``labels`` (how each question begins), ``tallies`` by row and
        epoch, ``samples`` (row → prompt, answer, rollouts by epoch) of those that fit, ``evolutions`` (all candidates
        of each, as rows of the fields ``candidate``), and ``texts``: each template, reason and minibatch's id once; all
        others name its place.
    """
    rows = states.in_need(states.matrix(run.epochs))
    shown = sorted(rows, key=reading_order)[:MAX_ROWS]
    order = states.by_story({i: rows[i] for i in shown})
    texts = TextNumbers()
    content = {
        "epochs": [e.number + 1 for e in run.epochs],
        "rows": [[i, *rows[i]] for i in order],
        "labels": [_question(run, i) for i in order],
        "tallies": [[_counts(e.tallies[i]) if i in e.tallies else None for e in run.epochs] for i in order],
        "samples": _rollouts(run, order, max_chars, texts),
        "candidate": CANDIDATE,
        "evolutions": _candidates(run, texts),
        "texts": texts.texts,
    }
    return dict(jsonable(content))


def jsonable(value: Any) -> Any:
    """The value with its texts cleaned (`clean_text`), NaN (not scorable) as None, infinities as text: JSON has
    neither."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {jsonable(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    return value


def _candidates(run: Run, texts: TextNumbers) -> dict[int, list[list[Any]]]:
    """All candidates by evolution. When their texts are too many for the page, they lose their middle."""
    every = [c for e in run.evolutions.values() for c in e.candidates]
    kept = {c.template for c in every if c.fate in ("seed", "accepted")}
    shown = _shortened(kept) | _shortened({c.template for c in every} - kept)

    def row(c: Candidate) -> list[Any]:
        ids = [texts.number(i) for i in c.minibatch]
        values = {
            **vars(c),
            "template": texts.number(shown[c.template]),
            "reason": texts.number(c.reason),
            "minibatch": ids,
        }
        return [values[name] for name in CANDIDATE]

    return {n: [row(c) for c in e.candidates] for n, e in run.evolutions.items()}


def _shortened(texts: Collection[str]) -> dict[str, str]:
    """Each text as the page shows it."""
    fits = sum(map(len, texts)) <= MAX_TEMPLATE_CHARS
    room = MAX_TEMPLATE_CHARS if fits else max(LEAST_CHARS, MAX_TEMPLATE_CHARS // len(texts))
    return {text: shorten(text, room) for text in texts}


def _question(run: Run, sample_id: str) -> str:
    """How a sample's question begins; its id, if the run kept none of its rollouts."""
    kept = (e.record["samples"][sample_id] for e in run.epochs if sample_id in e.record.get("samples", {}))
    return one_line(next((sample["prompt"] for sample in kept), sample_id), LABEL_CHARS)


def _counts(tally: Tally) -> list[int]:
    return [tally.bare, tally.bare_solved, tally.templated, tally.templated_solved]


def _rollouts(run: Run, ids: Sequence[str], max_chars: int, texts: TextNumbers) -> dict[int, Any]:
    """Prompts and rollouts of as many samples as fit, whole samples over all epochs."""
    samples: dict[int, Any] = {}
    room = max_chars
    for row, i in sorted(enumerate(ids), key=lambda pair: reading_order(pair[1])):
        kept = [(n, e.record, e.record["samples"][i]) for n, e in enumerate(run.epochs)
                if i in e.record.get("samples", {})]  # fmt: skip
        if not kept:
            continue
        room -= len(kept[0][2]["prompt"]) + sum(_size(r) for *_, s in kept for r in s["rollouts"])
        if room < 0:
            break
        by_epoch = {n: [_rollout(r, record["templates"], texts) for r in s["rollouts"]] for n, record, s in kept}
        samples[row] = {"prompt": kept[0][2]["prompt"], "answer": kept[0][2]["answer"], "rollouts": by_epoch}
    return samples


def _rollout(row: Sequence[Any], local: Sequence[str], texts: TextNumbers) -> list[Any]:
    """A recorded rollout, its template's place in the run's list instead of the epoch's."""
    place, completion, reward, solved, *turns = row
    number = None if place is None else texts.number(local[place])
    return [number, "" if turns else completion, reward, solved, *turns]


def _size(row: Sequence[Any]) -> int:
    """Characters of a recorded rollout in the page."""
    texts = [row[1]] if len(row) == 4 else [text for turn in row[4] for text in turn]
    return sum(len(text) + TEXT_OVERHEAD for text in texts)
