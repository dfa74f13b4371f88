"""Honest templates for the leak guard's benchmark: none of them knows any sample."""

from __future__ import annotations

import random
from fractions import Fraction

from p2o.reflectors import GENERAL_BANK

ADVICE = [
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

FACTS = [
    "1 km has 1000 m, 1 m has 100 cm, 1 cm has 10 mm; 1 mile is about 1.6 km and 5280 feet.",
    "An hour has 60 minutes or 3600 seconds; a day has 24 hours or 1440 minutes; a week has 168 hours.",
    "A dozen is 12, a score is 20, a gross is 144, and a baker's dozen is 13.",
    "1 kg = 1000 g; 1 pound is about 454 g or 16 ounces; 1 ton = 1000 kg.",
    "A dollar is 100 cents: 4 quarters, 10 dimes, 20 nickels or 100 pennies.",
    "A full turn is 360°, a half turn 180°, a right angle 90^\\circ; \\pi radians are 180 degrees.",
    "1 inch = 2.54 cm, 1 foot = 12 inches, 1 yard = 3 feet, 1 foot = 30.48 cm.",
    "Water freezes at 0 °C (32 °F) and boils at 100 °C (212 °F); F = 9/5 C + 32.",
    "Common fractions: 1/2 = 0.5 = 50%, 1/4 = 0.25 = 25%, 3/4 = 0.75 = 75%, 1/5 = 0.2 = 20%, 1/8 = 0.125 = 12.5%.",
    "Thirds and sixths do not end: 1/3 = 0.333..., 2/3 = 0.667, 1/6 = 0.1667, 5/6 = 0.8333.",
    "Squares to know: 11^2 = 121, 12^2 = 144, 13^2 = 169, 14^2 = 196, 15^2 = 225, 16^2 = 256, 25^2 = 625.",
    "The squares are 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144.",
    "Cubes: 1, 8, 27, 64, 125, 216, 343, 512, 729, 1000.",
    "The primes below 50 are 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43 and 47.",
    "Powers of two: 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096.",
    "Factorials: 1! = 1, 2! = 2, 3! = 6, 4! = 24, 5! = 120, 6! = 720, 7! = 5040.",
    "Fibonacci numbers: 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144.",
    "sin 30° = 1/2, cos 30° = \\frac{\\sqrt{3}}{2}, tan 45° = 1, sin 45° = \\frac{\\sqrt{2}}{2}, tan 60° = \\sqrt{3}.",
    "Pythagorean triples: (3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25).",
    "The sum 1 + 2 + ... + n is \\frac{n(n+1)}{2}; so 1 + ... + 100 = 5050.",
    "The quadratic formula is x = \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a}; the vertex lies at x = -\\frac{b}{2a}.",
    "A circle has area \\pi r^2 and circumference 2\\pi r; a sphere has volume \\frac{4}{3}\\pi r^3. Use \\pi = 3.14.",
    "(a+b)^2 = a^2 + 2ab + b^2, (a-b)(a+b) = a^2 - b^2, and a^3 - b^3 = (a-b)(a^2+ab+b^2).",
    "An angle of an n-gon is (n-2)*180/n: 60, 90, 108, 120 degrees for n = 3, 4, 5, 6.",
    "Months have 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30 and 31 days; a leap year has 366 days.",
    "Two dice give 36 outcomes; the chance of a sum of 7 is 6/36 = 1/6, of a double 1/6, of a 12 1/36.",
    "Roman numerals: I = 1, V = 5, X = 10, L = 50, C = 100, D = 500, M = 1000.",
    "Percent off: 10% off 80 is 72; 25% off 80 is 60; 50% off 80 is 40.",
    "\\log_{10} 2 = 0.301, \\log_{10} 3 = 0.477, e = 2.718, \\sqrt{2} = 1.414, \\sqrt{3} = 1.732.",
    "Speed is distance by time: 90 km in 1.5 hours is 60 km/h; 60 miles an hour is a mile a minute.",
]
"""What anybody knows: units, formulas, well-known numbers."""

FORMATS = [
    "Give only the final answer, for example: 42, -7, 3/4, 2.5 or 1,000.",
    "Valid final answers look like \\boxed{42}, \\boxed{\\frac{3}{4}}, \\boxed{2\\sqrt{3}} or \\boxed{(1, 2)}.",
    "Write fractions as \\frac{a}{b}, not as a/b or decimals: \\frac12, not 0.5.",
    "End with 'Answer: 17' where 17 stands for your number.",
    "Write decimals with two places (3.50, not 3.5), money as $12.50, percents as 45%.",
    'Return JSON such as {"answer": 42, "confidence": 0.9} and nothing else.',
    "For intervals write [0, \\infty) or (-1, 1]; for sets {1, 2, 3}; for points (2, -3).",
    "Answer with the letter only: A, B, C, D or E. For instance: \\boxed{C}.",
    "Reply with yes or no. Example: 'Is 91 prime? 91 = 7 × 13, so no.'",
    "Reply true or false. Example: 'Every square is a rectangle: true.'",
    "If you choose option (B), write 'The answer is (B)'.",
    "Do not write units: '15', not '15 apples'; do not write '15.0' either.",
    "Use thousands separators as in 12,500 or leave them out, but never write 12.500.",
    "Round to the nearest whole number: 7.4 becomes 7, 7.5 becomes 8, 12.49 becomes 12.",
    "Round to the nearest hundred: 1,449 becomes 1,400, 1,450 becomes 1,500.",
    "Show at most 5 steps, each in at most 20 words, then the result after ####.",
    "Keep square roots: \\sqrt{8} = 2\\sqrt{2}, \\sqrt{18} = 3\\sqrt{2}, \\sqrt{75} = 5\\sqrt{3}.",
    "Mixed numbers such as 2 1/3 are to be written as improper fractions: 7/3.",
    "Score yourself: clarity 3 points, correctness 5 points, format 2 points; do not stop below 9.",
    "Write large numbers in digits: 2 million is 2000000, 3.5 thousand is 3500.",
]
"""How an answer is to be written, with examples."""


def _amount(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _worked(rng: random.Random) -> str:
    """A worked example with random numbers."""
    d = rng.choice((1, 2, 2, 3, 3, 4, 5))
    a, b, c = _amount(rng, d), _amount(rng, d), rng.randint(2, 12)
    p, q = rng.choice((5, 10, 15, 20, 25, 30, 40, 60, 75)), rng.randint(2, 60) * 20
    x, y = Fraction(rng.randint(1, 9), rng.randint(2, 12)), Fraction(rng.randint(1, 9), rng.randint(2, 12))
    data = [rng.randint(1, 40) for _ in range(5)]
    r, s = rng.randint(2, 9), rng.randint(2, 9)
    return rng.choice(
        (
            f"Calculate {a} + {b}.\n{a} + {b} = {a + b}\n\\boxed{{{a + b}}}",
            f"Example: {max(a, b)} - {min(a, b)} = {abs(a - b)}. Check: {abs(a - b)} + {min(a, b)} = {max(a, b)}.",
            f"Example: what is {a} times {c}? Split it: {a} × {c} = {a * c}. Final answer: {a * c}",
            f"Question: {p}% of {q}? Work: {q} × {p / 100:g} = {p * q / 100:g}. Answer: {p * q / 100:g}",
            f"Example: {x} + {y} = {x + y}, because both get the denominator {(x + y).denominator}.",
            f"Example: \\frac{{{x.numerator}}}{{{x.denominator}}} \\cdot \\frac{{{y.numerator}}}{{{y.denominator}}} = "
            f"\\frac{{{(x * y).numerator}}}{{{(x * y).denominator}}}. So \\boxed{{{x * y}}}.",
            f"To solve {c}x + {r} = {c * s + r}, subtract {r}: {c}x = {c * s}, then divide by {c}: x = {s}.",
            f"x^2 - {r + s}x + {r * s} = (x - {r})(x - {s}), so x = {r} or x = {s}.",
            f"Example: Tom has {a} marbles, gives {r} away and buys {b}: {a} - {r} + {b} = {a - r + b}.",
            f"The mean of {data[0]}, {data[1]}, {data[2]}, {data[3]} and {data[4]} is {sum(data)}/5 = "
            f"{sum(data) / 5:g}; "
            f"sorted they are {', '.join(map(str, sorted(data)))}, so the median is {sorted(data)[2]}.",
            f"A shirt costs ${a}.50 and a hat ${c}.25; together that is ${a + c}.75.",
            f"A train goes {c * 20} km in {c} hours, so 20 km in one; in {r} hours it goes {r * 20} km.",
            f"A rectangle of {r} by {s} has area {r * s}, perimeter {2 * (r + s)}, and diagonal "
            f"\\sqrt{{{r * r + s * s}}}.",
            f"{a} = {a // c} × {c} + {a % c}: the quotient is {a // c} and the remainder {a % c}.",
            f"The sequence {r}, {r + s}, {r + 2 * s}, {r + 3 * s} grows by {s}; its 10th term is {r + 9 * s}.",
            f"Column by column: {a} + {b}: "
            + "; ".join(f"{i}, {j}: {i + j}" for i, j in ((r, s), (s, r), (r, r)))
            + ".",
            f"Good: 'We have {a} and {b}, so {a * b}.' Bad: '{a * b}' without any work.",
            f"Factor first: {r * s * c} = {r} · {s} · {c}. Then count.",
        )
    )


def _bank(rng: random.Random, count: int) -> str:
    """General phrases in a row, as a reflector without a model writes them, some with numbered lines."""
    some = rng.sample(ADVICE, count)
    return "\n".join(f"{i}. {t}" for i, t in enumerate(some, 1)) if rng.random() < 0.3 else " ".join(some)


def honest_templates(seed: int = 0) -> list[str]:
    """Over 300 templates: advice, facts, formats, worked examples, and long ones made of all of these."""
    rng = random.Random(seed)
    out = [*ADVICE, *FACTS, *FORMATS, *(_worked(rng) for _ in range(80))]
    for _ in range(30):
        out.append("\n\n".join([_bank(rng, 3), *(_worked(rng) for _ in range(rng.randint(1, 4)))]))
    for _ in range(30):
        parts = [_bank(rng, 8), *rng.sample(FACTS, 3), *rng.sample(FORMATS, 2), *(_worked(rng) for _ in range(3))]
        rng.shuffle(parts)
        out.append("\n".join(parts))
    return list(dict.fromkeys(out))
