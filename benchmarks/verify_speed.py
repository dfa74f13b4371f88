"""How fast answers are verified, with and without checks that hang. Prints one JSON object, and writes
`benchmarks/results/verify-speed.json` with `--write`.

    python benchmarks/verify_speed.py [--checks 10000] [--hanging 50] [--deadline 1.0] [--workers N] [--beside N]

Ordinary checks are mixed as in mathematics data sets: of 20, 13 integers, 3 fractions, 2 roots, 1 polynomial
and 1 interval, half of each wrong, no two the same. The hanging ones (spread among them, no two the same) are numbers
too large to compute, on which math-verify never returns; each burns its whole deadline on a core, so that all checks
together cannot be done sooner than ordinary ones + hanging × deadline / cores. ``rest_slowed_by_seconds`` is how much
later the last ordinary check was answered than without them. ``--beside N`` runs N busy loops next to it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from p2o.rewards.verifier_pool import Check, CheckResult, VerifyPool, default_size

RESULT = Path(__file__).parent / "results" / "verify-speed.json"

HANGING = (
    r"\boxed{{9^{{9^{{{n}}}}}}}",
    r"\boxed{{\binom{{10^{{12}}+{n}}}{{5\cdot 10^{{11}}}}}}",
    r"\boxed{{\int_0^{n} x^{{x^{{x^{{x}}}}}} dx}}",
    r"\boxed{{\dfrac{{{n}^{{\left(5^{{\left(5^{{\left(5^5\right)}}\right)}} - 4\right)}} - 5}}{{16}}}}",
)


class TimedPool(VerifyPool):
    """Notes when the last answer came (a hanging check never answers)."""

    last_answer = 0.0

    def _hear(self, worker: Any, results: dict[int, CheckResult]) -> bool:
        before = len(results)
        alive = super()._hear(worker, results)
        if len(results) > before:
            self.last_answer = time.perf_counter()
        return alive


def ordinary(index: int) -> Check:
    """An everyday check; those of odd rounds of 20 are wrong."""
    (block, place), shift = divmod(index, 20), index // 20 % 2
    n = block + 1
    if place < 13:
        gold, answer = f"{n + place}", f"{n + place + shift}"
    elif place < 16:
        gold, answer = f"\\frac{{{n}}}{{{n + 1}}}", f"\\dfrac{{{2 * n + shift}}}{{{2 * n + 2}}}"
    elif place < 18:
        gold, answer = f"{n}\\sqrt{{2}}", f"\\sqrt{{{2 * n * n + shift}}}"
    elif place < 19:
        gold, answer = f"x^2 - {n * n}", f"(x-{n})(x+{n + shift})"
    else:
        gold, answer = f"(1, {n + 1})", f"(1, {n + 1 + shift})"
    return {"golds": [gold], "text": f"\\boxed{{{answer}}}"}


def measure(pool: TimedPool, checks: list[Check], deadline: float) -> tuple[float, float, dict[str, int]]:
    """Seconds until all results and until the last answer; how many checks had each outcome or were right."""
    start = time.perf_counter()
    results = pool.run(checks, deadline)
    seconds = time.perf_counter() - start
    counts = Counter(r.outcome for r in results) | Counter(right=sum(r.score == 1.0 for r in results))
    return seconds, pool.last_answer - start, dict(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=10_000)
    parser.add_argument("--hanging", type=int, default=50)
    parser.add_argument("--deadline", type=float, default=1.0, help="CPU seconds")
    parser.add_argument("--workers", type=int, default=default_size())
    parser.add_argument("--beside", type=int, default=0, help="busy loops that run next to it")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()

    checks = [ordinary(index) for index in range(2 * args.checks)]
    plain_checks, mixed = checks[: args.checks], checks[args.checks :]  # different ones: nothing is known from before
    for n in range(args.hanging):
        text = HANGING[n % len(HANGING)].format(n=9 + n)
        mixed[n * args.checks // args.hanging] = {"golds": ["5"], "text": text}

    beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.beside)]
    try:
        pool = TimedPool("math", args.workers)
        start = time.perf_counter()
        pool.run([{"golds": ["5"], "text": "5"}], deadline=60)
        first = time.perf_counter() - start
        load = os.getloadavg()[0]
        plain, _, plain_counts = measure(pool, plain_checks, args.deadline)
        total, rest, counts = measure(pool, mixed, args.deadline)
        pool.close()
    finally:
        for process in beside:
            process.kill()
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "workers": args.workers,
        "busy_loops_beside": args.beside,
        "load_average_at_start": round(load, 2),
        "first_check_seconds": round(first, 2),
        "ordinary": {
            "checks": args.checks,
            "seconds": round(plain, 2),
            "per_minute": round(60 * args.checks / plain),
            "counts": plain_counts,
        },
        "with_hanging": {
            "hanging": args.hanging,
            "deadline_seconds": args.deadline,
            "rest_slowed_by_seconds": round(rest - plain, 2),
            "all_slowed_by_seconds": round(total - plain, 2),
            "allowed_seconds": args.hanging * args.deadline / args.workers,
            "counts": counts,
        },
        "versions": {name: version(name) for name in ("math-verify", "sympy", "latex2sympy2_extended")},
    }
    print(json.dumps(result, indent=1))
    if args.write:
        content = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        content[f"{args.beside} busy loops beside"] = result
        RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
