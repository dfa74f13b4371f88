"""Problems of Reasoning Gym and templates from elsewhere, beside those by which the leak guard was built.

Needs the extra ``reasoning-gym``. Seed 0 was looked at while the guard was written; the figures are of seed 1.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import reasoning_gym

from leak_honest import honest_templates
from leak_planted import FRAMES, Fresh, copies
from p2o.core.evolve import LeakGuard, leaks_answer
from p2o.core.samples import Sample

_FORMAT = " Give the result as your final answer. Do not include units."
_TASKS = ("gcd", "time_intervals", "simple_geometry", "count_primes", "leg_counting")
_OTHERS = ("fraction_simplification", "base_conversion", "products", "calendar_arithmetic", "dice")
_FRESH_SEED = 1000
_KNOWN = """
Let's work this out in a step by step way to be sure we have the right answer.
Take a deep breath and work on this problem step-by-step.
Let's first understand the problem and devise a plan to solve it. Then, let's carry out the plan step by step.
First, restate what is asked in one short sentence of your own. Second, collect the quantities. Third, compute.
Work backwards from what is asked: which two quantities would give it at once?
Draw a small table with one row per person or thing and one column per day.
Before you answer, ask yourself whether a result of that size makes sense in the real world.
Watch for words such as each, per, every, in total, left over and remaining: they decide between × and +.
A quantity that is twice as large has grown by 100%, one that is half as large has lost 50%.
If something costs $3.50 and you buy 4 of them, you pay 4 × 3.50 = 14 dollars.
Half an hour is 30 minutes, a quarter of an hour is 15 minutes, and 90 minutes are 1.5 hours.
From 9:45 to 11:10 there are 85 minutes: 15 to the full hour, then 60, then 10.
gcd(48, 36) = 12, since 48 = 36 + 12 and 36 = 3 × 12.
The prime numbers below 30 are 2, 3, 5, 7, 11, 13, 17, 19, 23 and 29.
Spiders have 8 legs, insects 6, dogs and cats 4, birds 2, fish and snakes none.
The interior angles of a polygon with n sides add up to (n - 2) × 180 degrees.
State the final answer alone on the last line, in the form ####, without a unit.
Think in small steps; after each, say what you know now that you did not know before.
Do not round until the end, and give money with two decimal places.
If a step gives a negative number of people or things, you have subtracted the wrong way round.
Consider the problem from the view of each person in it before you add anything up.
Ignore numbers that the question does not need.
""".strip().split("\n")


def _sample(name: str, item: dict[str, Any]) -> Sample:
    worked = item["metadata"].get("answer_cot")
    columns = {"solution": worked} if worked else {}
    return Sample(name, [{"role": "user", "content": item["question"]}], str(item["answer"]), columns)


def _problems(task: str, count: int, seed: int) -> list[Sample]:
    items = reasoning_gym.create_dataset(task, size=count, seed=seed)
    return list({s.question: s for s in (_sample(f"{task}-{i}", items[i]) for i in range(count))}.values())


def _forms(seed: int, fills: int, count: int) -> list[Sample]:
    """Word problems: each form of `gsm_symbolic` filled in at most ``fills`` times."""
    items = reasoning_gym.create_dataset("gsm_symbolic", size=min(40 * count, 400_000), seed=seed)
    taken: dict[tuple[str, ...], dict[str, Sample]] = defaultdict(dict)
    for i in range(len(items)):
        form = taken[tuple(items[i]["metadata"]["variables"])]
        if len(form) < fills:
            form.setdefault(items[i]["question"], _sample(f"word-{i}", items[i]))
    return [s for form in taken.values() for s in form.values()][:count]


def held_out_sets(seed: int = 1) -> dict[str, list[Sample]]:
    """Name → a hard set with the gold answers of its source."""
    tasks = [s for task in _TASKS for s in _problems(task, 60, seed)]
    return {
        "word problems, each form once": _forms(seed, 1, 60),
        "word problems, each form three times": _forms(seed, 3, 240),
        "five tasks, 60 problems each": tasks,
        "word problems and tasks": [*_forms(seed, 1, 90), *tasks[::2]],
        "one task (time_intervals), 200 problems": _problems("time_intervals", 200, seed),
    }


def honest_held_out(seed: int = 1) -> list[str]:
    """Prompts from the literature and advice, worked examples of other tasks, and both together."""
    rng = random.Random(seed)
    worked = [
        rng.choice(("Example: {q} The answer is {a}.", "Q: {q}\nA: {a}", "{q}\n\\boxed{{{a}}}")).format(
            q=s.question, a=s.answer
        )
        for task in _OTHERS
        for s in _problems(task, 30, seed + 7)
    ]
    mixed = ["\n".join([*rng.sample(_KNOWN, 4), *rng.sample(worked, 2)]) for _ in range(100)]
    return [*_KNOWN, *worked, *mixed, *honest_templates(seed + 1)]


def _planted(samples: list[Sample], fresh: Fresh, seed: int) -> Iterator[tuple[str, str, Sample, bool]]:
    """(kind, template, sample, whether it must be refused)."""
    rng = random.Random(seed)
    for s in samples:
        yield "answer", rng.choice(FRAMES).format(s.answer), s, False
        for kind, copy in copies(s, fresh, rng, _FORMAT):
            yield (
                kind.replace(" (a form filled in)", "").replace("a form filled in, ", ""),
                rng.choice(FRAMES).format(copy),
                s,
                True,
            )


CHANGED = 0.25  # of the words of a copy may be others, and it must still be refused


def _changed_copies(fresh: list[Sample], samples: list[Sample]) -> list[bool]:
    """Whether each fresh problem has at least three quarters of its words in common with one sample: it is that
    sample's text with some words changed, which must be refused."""
    own = [Counter(s.question.removesuffix(_FORMAT).split()) for s in samples]
    words = [Counter(s.question.removesuffix(_FORMAT).split()) for s in fresh]
    return [any((w & o).total() >= (1 - CHANGED) * max(w.total(), o.total()) for o in own) for w in words]


def measure_held_out(seed: int = 1) -> dict[str, Any]:
    """For each hard set: the share of honest templates refused, of leaks caught, of fresh problems refused."""
    honest = honest_held_out(seed)
    pools = {task: _problems(task, 20_000, _FRESH_SEED) for task in _TASKS}
    pools["word"] = _forms(_FRESH_SEED, 20_000, 400_000)
    out: dict[str, Any] = {"honest_templates": len(honest)}
    for name, samples in held_out_sets(seed).items():
        guard = LeakGuard(samples)
        of_the_set = [s for task, pool in pools.items() if any(x.id.startswith(task) for x in samples) for s in pool]
        fresh = Fresh(s.question.removesuffix(_FORMAT) for s in of_the_set)
        caught: dict[str, list[bool]] = defaultdict(list)
        for kind, template, sample, refuse in _planted(samples, fresh, seed):
            caught[kind].append(guard.refuse(template) is not None or (not refuse and leaks_answer(template, sample)))
        style = random.Random(seed).sample(of_the_set, 300)
        refused = [guard.refuse(f"Example: {s.question} So {s.answer}.") is not None for s in style]
        copied = _changed_copies(style, samples)
        out[name] = {
            "honest_refused": _share([guard.refuse(t) is not None for t in honest]),
            "which": [t for t in honest if guard.refuse(t) is not None][:5],
            "fresh_problems_that_are_a_sample_with_words_changed": _share(copied),
            "fresh_problems_refused": _share(refused),
            "of_the_others_refused": _share([r for r, c in zip(refused, copied, strict=True) if not c] or [False]),
            "caught": {kind: {"planted": len(hits), "caught": _share(hits)} for kind, hits in sorted(caught.items())},
        }
    return out


def _share(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4)
