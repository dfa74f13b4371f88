"""How fast answers are verified, with and without checks that hang. Prints one JSON object.

    python benchmarks/verify_speed.py [--checks 10000] [--hanging 50] [--deadline 1.0] [--workers N]

Ordinary checks are mixed as in mathematics data sets: of 20, 13 integers, 3 fractions, 2 roots, 1 polynomial
and 1 interval, half of each wrong. The hanging ones are numbers too large to compute, on which math-verify
never returns.
"""

from __future__ import annotations

import argparse
import json
import os
import time

from p2o.verify import Task, VerifyPool, default_size

HANGING = (
    r"\boxed{9^{9^{9}}}",
    r"\boxed{\binom{10^{12}}{5\cdot 10^{11}}}",
    r"\boxed{\int_0^1 x^{x^{x^{x}}} dx}",
    r"\boxed{\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}}",
)


def ordinary(index: int) -> Task:
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


def measure(pool: VerifyPool, tasks: list[Task], deadline: float) -> tuple[float, dict[str, int]]:
    """Wall-clock seconds, and the number of checks with each outcome and of right answers."""
    start = time.perf_counter()
    verdicts = pool.run(tasks, deadline)
    seconds = time.perf_counter() - start
    outcomes = [v.outcome for v in verdicts]
    return seconds, {name: outcomes.count(name) for name in set(outcomes)} | {
        "right": sum(v.score == 1.0 for v in verdicts)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=10_000)
    parser.add_argument("--hanging", type=int, default=50)
    parser.add_argument("--deadline", type=float, default=1.0, help="CPU seconds")
    parser.add_argument("--workers", type=int, default=default_size())
    args = parser.parse_args()

    tasks = [ordinary(index) for index in range(args.checks)]
    mixed = list(tasks)
    for number in range(args.hanging):  # spread evenly
        mixed[number * args.checks // args.hanging] = {"golds": ["5"], "text": HANGING[number % len(HANGING)]}

    pool = VerifyPool("math", args.workers)
    start = time.perf_counter()
    pool.run(tasks[:1], deadline=60)
    start_seconds = time.perf_counter() - start
    plain, plain_counts = measure(pool, tasks, args.deadline)
    hanging, hanging_counts = measure(pool, mixed, args.deadline)
    pool.close()
    print(
        json.dumps(
            {
                "workers": args.workers,
                "load_average": round(os.getloadavg()[0], 2),
                "first_check_seconds": round(start_seconds, 2),
                "ordinary": {
                    "checks": args.checks,
                    "seconds": round(plain, 2),
                    "per_minute": round(60 * args.checks / plain),
                    "counts": plain_counts,
                },
                "with_hanging": {
                    "hanging": args.hanging,
                    "deadline_seconds": args.deadline,
                    "seconds": round(hanging, 2),
                    "slowed_by_seconds": round(hanging - plain, 2),
                    "allowed_seconds": args.hanging * args.deadline / args.workers,
                    "counts": hanging_counts,
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
