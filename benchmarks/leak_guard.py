"""How much of what a cheating reflector writes the leak guard catches, and how many honest templates it refuses.

Prints JSON; ``--out FILE`` writes it too. ``python benchmarks/leak_guard.py``
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from leak_honest import honest_templates
from leak_planted import Fresh, planted
from leak_sets import ANSWERS, BOX, fresh_questions, hard_set
from p2o.core.evolve import LeakGuard, leaks_answer
from p2o.core.samples import Sample

CAUGHT, REFUSED = 0.95, 0.02
SIZES = (30, 60, 100, 300, 1000)
MOST_PLANTED = 300
NO_BAR = tuple(
    f"{kind} (a form filled in, of others too)"
    for kind in ("question with every fourth word changed", "half of a question")
)
"""What holds nothing of its sample: among 100,000 other problems of these forms one has the same words left."""


def _share(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def _honest(guard: LeakGuard, samples: list[Sample], templates: list[str]) -> dict[str, Any]:
    refused = [t for t in templates if guard.refuse(t) is not None]
    some = samples[:: max(1, len(samples) // 60)]
    apart = [leaks_answer(t, s) for t in templates for s in some]
    return {"refused": round(len(refused) / len(templates), 4), "which": refused, "pairs_kept_apart": _share(apart)}


def _spread(samples: list[Sample]) -> list[Sample]:
    """At most 300 samples: all with a wording of their own, and some of the others, evenly spread."""
    own, others = [[s for s in samples if s.id.startswith(first)] for first in "qs"]
    return own + others[:: max(1, -(-len(others) // (MOST_PLANTED - len(own))))]


def _in_style(guard: LeakGuard, kind: str) -> float:
    """Share refused of worked problems of the set's own forms, with other names and numbers."""
    fresh = [s for s in hard_set(kind, 360, seed=1) if s.id.startswith("s")]
    told = [f"Example: {s.question.removesuffix(BOX)} {s.columns['solution']} So {s.answer}." for s in fresh]
    return _share([guard.refuse(t) is not None for t in told])


def measure(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> dict[str, Any]:
    """Shares for each kind of answers and each kind of leak.

    Leaks are planted of at most 300 samples of a set. A leak counts as caught when the template is refused; when it
    holds one answer, also when it is kept from the sample whose answer it is.
    """
    templates, fresh = honest_templates(seed), Fresh(fresh_questions())
    honest: dict[str, dict[str, Any]] = {}
    in_style: dict[str, float] = {}
    caught: dict[str, dict[tuple[int, str], list[bool]]] = defaultdict(lambda: defaultdict(list))
    for kind in ANSWERS:
        for size in sizes:
            samples = hard_set(kind, size, seed)
            guard = LeakGuard(samples)
            honest[f"{kind}, {size} samples"] = _honest(guard, samples, templates)
            in_style[f"{kind}, {size} samples"] = _in_style(guard, kind)
            for leak, template, leaked, refuse in planted(kind, _spread(samples), fresh, seed):
                hit = guard.refuse(template) is not None
                caught[leak][size, kind].append(hit or (not refuse and all(leaks_answer(template, s) for s in leaked)))
    leaks = {
        leak: {
            "planted": sum(map(len, sets.values())),
            "caught": _share([hit for hits in sets.values() for hit in hits]),
            "by_size": {
                size: _share([hit for (of, _), hits in sets.items() for hit in hits if of == size])
                for size in sizes
                if any(of == size for of, _ in sets)
            },
            "least": min((_share(hits), f"{kind}, {size} samples") for (size, kind), hits in sets.items()),
        }
        for leak, sets in sorted(caught.items())
    }
    passed = all(row["refused"] <= REFUSED for row in honest.values())
    passed &= all(min(row["by_size"].values()) >= CAUGHT for leak, row in leaks.items() if leak not in NO_BAR)
    return {
        "honest_templates": len(templates),
        "honest": honest,
        "leaks": leaks,
        "fresh_problems_in_the_sets_style_refused": in_style,
        "bars": {"caught": CAUGHT, "honest_refused": REFUSED, "without_bar": NO_BAR},
        "passed": passed,
    }


def timings(samples: int = 10_000, templates: int = 1_000) -> dict[str, float]:
    """CPU seconds of building a guard, of judging templates, and of looking for answers in pairs."""
    hard = hard_set("mixed LaTeX", samples)
    rng = random.Random(0)
    texts = [f"{rng.choice(honest_templates())} ({i})" for i in range(templates)]
    clock = [time.process_time()]
    guard = LeakGuard(hard)
    clock.append(time.process_time())
    for text in texts:
        guard.refuse(text)
    clock.append(time.process_time())
    for text in texts[:300]:
        for sample in hard[:1000]:
            leaks_answer(text, sample)
    clock.append(time.process_time())
    names = (f"index {samples} samples", f"judge {templates} templates", "look at 300 x 1000 pairs")
    return {name: round(b - a, 2) for name, a, b in zip(names, clock, clock[1:], strict=False)}


def main() -> bool:
    """Print the figures; whether all bars are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from leak_held_out import measure_held_out

    result = {**measure(), "held_out": measure_held_out(), "cpu_seconds": timings()}
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return bool(result["passed"])


if __name__ == "__main__":
    sys.exit(not main())
