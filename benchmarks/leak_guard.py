"""How much of what a cheating reflector writes the leak guard catches, and how many honest templates it
refuses. Prints JSON. ``python benchmarks/leak_guard.py``
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from p2o.core.evolve import LeakGuard, leaks_answer
from p2o.core.evolve.number_words import spell
from p2o.core.samples import Sample
from p2o.reflectors import GENERAL_BANK

BOX = " Let's think step by step and output the final answer within \\boxed{}."
NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jo Kim Lea Max Nora Omar Pia".split()  # noqa: SIM905
THINGS = "apples books coins shells stamps pens cards marbles".split()  # noqa: SIM905


def hard_set(rng: random.Random, count: int = 300) -> list[Sample]:
    """Sums, word problems with a solution, fractions, and choices, as in real data sets, gold answers of
    1 to 6 characters."""
    out = []
    for i in range(count):
        kind = i % 5
        columns: dict[str, Any] = {"source": "made", "level": i % 4}
        if kind == 0:
            a, b = rng.randint(100, 9999), rng.randint(100, 9999)
            question, answer = f"What is {a} + {b}?", str(a + b)
        elif kind in (1, 2):
            n, thing = rng.choice(NAMES), rng.choice(THINGS)
            a, b, c = rng.randint(3, 60), rng.randint(2, 30), rng.randint(2, 9)
            answer = str((a + b) * c)
            question = (
                f"{n} has {a} {thing} in a drawer and finds {b} more under the bed. A week later {n} has {c} "
                f"times as many {thing} as that. How many {thing} does {n} have in the end?"
            )
            columns["solution"] = (
                f"{n} starts with {a} {thing}. Adding the {b} from under the bed makes {a + b}. Having "
                f"{c} times as many means multiplying {a + b} by {c}, which gives {answer} {thing}."
            )
        elif kind == 3:
            a, b = rng.randint(1, 30), rng.randint(31, 60)
            answer = f"\\frac{{{a}}}{{{b}}}"
            question = f"A bag holds {b} balls of which {a} are red. What is the chance to draw a red one?"
        else:
            a, answer = rng.randint(2, 500), rng.choice("BCD")
            question = f"Which of these is a divisor of {a * 6}? (A) {a + 1} (B) {a * 4} (C) {a} (D) {a * 5}"
        out.append(Sample(f"s{i}", [{"role": "user", "content": question + BOX}], answer, columns))
    return out


def planted(samples: list[Sample], rng: random.Random) -> Iterator[tuple[str, str, list[Sample]]]:
    """(kind, template, the samples it leaks)."""
    frames = (
        "{} Check the result.",
        "Remember: {}",
        "Work carefully. {} Write it down.",
        "Example.\n{}\nGo on.",
    )
    for s in samples:
        answer, frame = str(s.answer), rng.choice(frames)
        yield "answer", frame.format(f"The answer is {answer}."), [s]
        if answer.isdecimal() and int(answer) > 12:
            words = " ".join(spell(int(answer)))
            yield "answer in words", frame.format(f"The answer is {words}."), [s]
        yield "copied question", frame.format(s.question.removesuffix(BOX)), [s]
        yield "copied question and format", frame.format(s.question), [s]
        if "solution" in s.columns:
            yield "copied solution", frame.format(s.columns["solution"]), [s]
            half = s.columns["solution"].split(". ")
            yield "half a solution", frame.format(". ".join(half[:2])), [s]
    for _ in range(100):
        some = rng.sample([s for s in samples if str(s.answer).isdecimal()], rng.randint(3, 12))
        yield "table of answers", "Known answers: " + "; ".join(f"{s.id}: {s.answer}" for s in some), some
        letters = rng.sample([s for s in samples if len(str(s.answer)) == 1], 6)
        yield "table of letters", "\n".join(f"{i}. {s.answer}" for i, s in enumerate(letters, 1)), letters


HONEST = [
    *GENERAL_BANK,
    "",
    "Step 1: Read the problem. Step 2: Set up an equation. Step 3: Solve it. Step 4: Check.",
    "1. Understand the question.\n2. Make a plan.\n3. Carry it out.\n4. Look back.",
    "1) List what is known. 2) Find what is asked. 3) Compute. 4) Box the result.",
    "Let's think step by step and output the final answer within \\boxed{}.",
    "Put your final answer within \\boxed{} and write nothing after it.",
    "Always put exactly 1 answer in \\boxed{}.",
    "Reason first; then write the final answer as \\boxed{answer}.",
    "Give the final answer as a reduced fraction, such as \\frac{a}{b}.",
    "If the answer is a fraction, reduce it to lowest terms.",
    "Round to 2 decimal places only at the very end.",
    "Keep at least 3 significant digits in intermediate results.",
    "Use no more than 200 words.",
    "Check the answer in 2 different ways.",
    "Add the digits column by column from right to left and carry the 1.",
    "When a column's sum is 10 or more, write the last digit and carry the 1 to the next column.",
    "For example, 7 + 5 = 12: write 2 and carry 1.",
    "For sums such as 38 + 27, add the ones first (15), keep the 5, carry the 1, then add the tens.",
    "Start from the last digit. Keep track of the carry. State the total at the end.",
    "Show your work. Go from right to left. Carry the ones. Finish with the sum.",
    "Break numbers into hundreds, tens and ones: 345 is 300 + 40 + 5.",
    "Remember that 1 hour is 60 minutes and 1 minute is 60 seconds.",
    "A week has 7 days, a year 12 months and 365 days.",
    "1 km = 1000 m; 1 m = 100 cm.",
    "Percent means out of 100: 25% of a number is a quarter of it.",
    "Probabilities lie between 0 and 1.",
    "The angles of a triangle add up to 180 degrees, those of a quadrilateral to 360.",
    "Use the formula a^2 + b^2 = c^2 for right triangles.",
    "The roots of ax^2 + bx + c = 0 are (-b ± \\sqrt{b^2 - 4ac}) / (2a).",
    "To find the chance of an event, divide the number of good outcomes by the number of all outcomes.",
    "A divisor of a number leaves remainder 0. Test each choice by division.",
    "For multiple-choice questions, test every option (A), (B), (C) and (D), and answer with its letter.",
    "Answer with one of the letters A, B, C or D inside \\boxed{}.",
    "Eliminate the wrong choices first, then compare the remaining ones.",
    "Answer yes or no only after you have checked every case.",
    "Say true or false, then give the reason.",
    "You are an expert mathematician. Solve the problem carefully, one line per step.",
    "You are a careful tutor. Explain each step to a student of grade 5.",
    "Write an equation for the unknown x, solve it, and put x back into the equation.",
    "Name the unknown. Write down how it depends on what is given. Solve.",
    "Translate each sentence into an equation before you calculate.",
    "Read the problem twice. The 2nd time, underline every number.",
    "First add what comes in, then multiply by the factor that is given.",
    "When something is 'times as many', multiply; when it is 'more', add.",
    "Find the total at each point in time before you go on to the next sentence.",
    "Write one calculation per line, with its units.",
    "Never skip a calculation, however small it is.",
    "Do not guess. If you are stuck, go back to the last step that was certain.",
    "Think about the order of magnitude before you calculate exactly.",
    "Estimate first; if the exact result is more than 10 times off, look for the error.",
    "Compare your result with the estimate.",
    "Verify by the inverse operation: check a sum by subtraction and a product by division.",
    "Check the last digit of your result separately.",
    "Check divisibility by 2, 3, 5, 7 and 11 in turn.",
    "Consider the cases n = 0, n = 1 and n = 2 first.",
    "Try small cases (n = 1, 2, 3, 4) and look for a pattern, then prove it by induction.",
    "Use modular arithmetic where only the remainder matters.",
    "Factor the number into primes before you look for divisors.",
    "Draw a table with one row per quantity and one column per time.",
    "Draw a diagram and label all lengths and angles.",
    "Work backwards from what is asked to what is given.",
    "Split the problem into at most 5 parts and solve each on its own.",
    "Begin with 'Plan:' and list 3 to 5 steps; then write 'Solution:' and carry them out.",
    "Write your reasoning between <think> and </think>, then the answer.",
    "Write the answer in the form 'Total: N', where N is the sum.",
    "End with a line that starts with 'Answer:' and holds the number alone.",
    "Output only digits in the final line, without commas or units.",
    "Do not use a thousands separator: write 12000, not 12,000.",
    "Write numbers in digits, not in words.",
    "If there is more than one answer, list them in increasing order, separated by commas.",
    "Use exact values; write \\pi and \\sqrt{2} instead of decimals.",
    "Simplify radicals: \\sqrt{12} is 2\\sqrt{3}.",
    "Convert all units to the same one before adding.",
    "Convert fractions to a common denominator: 1/2 + 1/3 = 3/6 + 2/6 = 5/6.",
    "Keep fractions exact; 1/3 is not 0.33.",
    "Be careful with negative signs: minus times minus is plus.",
    "Watch for off-by-one errors: from 3 to 7 there are 5 whole numbers.",
    "Count every case exactly once; subtract what was counted twice.",
    "Order matters for permutations, not for combinations.",
    "State which theorem you use, and check that its conditions hold.",
    "Do the calculation twice. If the 2 results differ, find out why.",
    "Think of at least 2 approaches, choose the simpler one, and check with the other.",
    "Take a deep breath and work on this problem step by step.",
    "Explain your reasoning as if to a class, then summarise the result in 1 sentence.",
    "In the first line restate the question in your own words. In the last line give the answer.",
    "Use the distributive law: 6 × 14 = 6 × 10 + 6 × 4 = 60 + 24 = 84.",
    "To multiply by 9, multiply by 10 and subtract the number.",
    "Group the terms so that they make round numbers such as 10, 100 or 1000.",
    "Read numbers digit by digit: thousands, hundreds, tens, ones.",
    "Align the two numbers at the right, pad the shorter one with zeros, and add column by column.",
    "Repeat for each column: add both digits and the carry; write the last digit; keep the rest as carry.",
    "After the last column, write the remaining carry in front of the result.",
]


def measure(seed: int = 0) -> dict[str, Any]:
    """Share refused, and share that is refused or at least kept from the samples it leaks, by kind."""
    rng = random.Random(seed)
    samples = hard_set(rng)
    guard = LeakGuard(samples)
    counts: dict[str, list[int]] = {}
    for kind, template, leaked in planted(samples, rng):
        refused = guard.refuse(template) is not None
        kept = refused or all(leaks_answer(template, s) for s in leaked)
        row = counts.setdefault(kind, [0, 0, 0])
        row[0] += 1
        row[1] += refused
        row[2] += kept
    kinds = {
        kind: {"planted": n, "refused": round(refused / n, 4), "refused_or_kept_away": round(kept / n, 4)}
        for kind, (n, refused, kept) in counts.items()
    }
    wrong = [t for t in HONEST if guard.refuse(t) is not None]
    blocked = sum(leaks_answer(t, s) for t in HONEST for s in samples) / (len(HONEST) * len(samples))
    verbatim = (
        "answer",
        "copied question",
        "copied question and format",
        "copied solution",
        "table of answers",
    )
    return {
        "hard_samples": len(samples),
        "kinds": kinds,
        "honest": {
            "templates": len(HONEST),
            "refused": round(len(wrong) / len(HONEST), 4),
            "which": wrong,
            "pairs_kept_apart": round(blocked, 4),
        },
        "bars": {"verbatim_caught": 0.99, "honest_refused": 0.02},
        "passed": all(kinds[k]["refused_or_kept_away"] >= 0.99 for k in verbatim) and len(wrong) <= 0.02 * len(HONEST),
    }


if __name__ == "__main__":
    result = measure()
    print(json.dumps(result, indent=2))
    sys.exit(not result["passed"])
