"""Does an evolution keep a template that succeeds seldom, where nothing else succeeds at all?

    python benchmarks/sparse_success.py --evolutions 1000 --fewer 200
    python benchmarks/sparse_success.py --table

The evolution is the real one (`p2o.core.evolve.evolve`) with the quickstart's sizes; policy and reflector are
simulated. Bare success is 0. The reflector knows ``writes`` texts. It offers each once, in a random order, and after
that only the useless ones again. Under one of them 5 % of the rollouts succeed on every sample, under the others none.
*Kept*: it is in the pool after the evolution, because it solved a dev sample.

``minibatch`` is the paper's gate; ``race`` has a patience of 2. Both have the same budget. Evolutions that are in
``benchmarks/results/sparse-success.json`` are kept, so that a killed run continues.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2o.analysis.statistics import wilson_interval
from p2o.core.evolve import EvolveConfig, ReflectionJob, Reply, evolve
from p2o.core.evolve.config import Search
from p2o.core.samples import Rollout, Sample
from p2o.core.templates import make_pool

RESULT = Path(__file__).parent / "results" / "sparse-success.json"
CHANCE, GROUP = 0.05, 6
TRAIN, DEV, BUDGET, PARENTS = 48, 48, 900, 16
WRITES = (4, 8, 12, 16, 48)
ARMS: dict[Search, int | None] = {"minibatch": None, "race": 2}
"""Way of comparing → patience."""
SAMPLES = [Sample(str(n), [{"role": "user", "content": f"Question {n}"}]) for n in range(TRAIN + DEV)]


class Simulation:
    """Policy and reflector of one evolution."""

    def __init__(self, writes: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.useless = [f"Useless {n}." for n in range(1, writes)]
        self.offers = [*self.useless, "Good."]
        self.rng.shuffle(self.offers)

    def roll_out(self, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        """Every rollout on its own."""
        solved = [template == "Good." and self.rng.random() < CHANCE for template, _ in pairs]
        return [Rollout("", float(s), s, "Wrong.", 1, 1) for s in solved]

    def reflect(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The next texts."""
        texts = [self.offers.pop() if self.offers else self.rng.choice(self.useless) for _ in jobs]
        return [Reply(f"```\n{text}\n```", None, 0, 0) for text in texts]


def evolution(writes: int, search: Search, seed: int) -> tuple[bool, int]:
    """(Whether the good template was kept, rollouts)."""
    simulation = Simulation(writes, seed)
    config = EvolveConfig(
        budget=BUDGET, parents=PARENTS, fill_proposals=True, seed=seed, search=search, group=GROUP, draws=GROUP,
        patience=ARMS[search],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        e = evolve(SAMPLES[DEV:], SAMPLES[:DEV], simulation.roll_out, simulation.reflect, config, Path(folder))
    pool = make_pool(e.templates, e.scores_CV, e.solved_CV, e.dev_ids)
    return any(t.text == "Good." for t in pool), e.cost.metric_calls


def measure(evolutions: dict[Search, int], seconds: float) -> None:
    """Fills up all cells, in turns, and writes them after each turn; stops early when the time is over."""
    cells: dict[str, list[Any]] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    end = time.monotonic() + seconds
    for seed in range(max(evolutions.values())):
        for writes in WRITES:
            for search in ARMS:
                rows = cells.setdefault(f"{writes} {search}", [])
                if seed == len(rows) < evolutions[search] and time.monotonic() < end:
                    kept, rollouts = evolution(writes, search, seed)
                    rows.append([int(kept), rollouts])
        RESULT.write_text("{" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in cells.items()) + "}\n")


def table() -> str:
    """The result as markdown."""
    cells: dict[str, list[Any]] = json.loads(RESULT.read_text())
    lines = ["| texts | compared by | evolutions | kept | rollouts, mean |", "|---|---|---|---|---|"]
    for name, rows in cells.items():
        writes, search = name.split()
        kept = sum(row[0] for row in rows)
        low, high = wilson_interval(kept, len(rows))
        mean = sum(row[1] for row in rows) / len(rows)
        share = f"{kept / len(rows):.1%} [{low:.1%}, {high:.1%}]"
        lines.append(f"| {writes} | {search} | {len(rows)} | {share} | {mean:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evolutions", type=int, default=1000)
    parser.add_argument("--fewer", type=int, default=200, help="evolutions with the minibatch gate, which take longer")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time; call again to continue")
    parser.add_argument("--table", action="store_true", help="print the result and measure nothing")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # of each evolution that found nothing
    if not args.table:
        measure({"race": args.evolutions, "minibatch": args.fewer}, args.seconds)
    print(table())


if __name__ == "__main__":
    main()
