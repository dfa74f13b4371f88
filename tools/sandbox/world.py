"""What the built-in policy is taught: phrases, choices and answers.

An answer is a chain of four choices, each made at one character::

    347                                 at once: the larger number, wrong
    w:r 7+5+0=12 4+8+1=13 3+2+1=6; 632  all four choices made

- work: "w" first, or a digit;
- direction: "r" (from the last digit to the first) or "l" (from the first to the last);
- carry: after the first "7+5", "+" (and the carry, in each column) or "=";
- total: after the last column ";" (and the total) or "." and the end.

Only all four together are right on a hard sum. On the bare prompt each choice has the probability
``bare`` whatever the earlier ones were; an instruction for it in the prompt makes it ``TOLD``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from make_data import draw, question

PHRASES: dict[str, list[str]] = {
    "work": ["Show your work.", "Write out the steps.", "Work it out in full."],
    "direction": ["Go from the last digit to the first.", "Go from right to left.", "Start at the last digit."],
    "carry": ["Keep the carry.", "Carry the ones.", "Take the carry along."],
    "total": ["State the total at the end.", "Finish with the sum.", "End with the total."],
}
"""The instructions that matter, by the choice they make."""

USELESS: list[str] = [
    "Be careful.",
    "Take a deep breath.",
    "You are a calculator.",
    "Check the result.",
    "Read the question twice.",
    "Answer politely.",
    "Think like a teacher.",
    "Use plain digits.",
    "Do not hurry.",
    "Be brief.",
    "Numbers are fun.",
    "Use the rules of arithmetic.",
]
"""Phrases that change nothing."""

_WORDS = """
the a this that your my one of and or to in on for with is are be was it you we they please sum number answer
good time day house water paper reader line question two more less very well then now here
"""
WORDS = _WORDS.split()
"""Words of the text that means nothing to the policy (see `strange_text`)."""


def bank_of(asking: Mapping[str, Sequence[str]]) -> list[str]:
    """All phrases that ask for a choice, then the useless ones."""
    return [phrase for group in asking.values() for phrase in group] + USELESS


PHRASE_BANK = bank_of(PHRASES)
CHOICES = tuple(PHRASES)
TOLD = 0.97
"""Probability of a choice that the prompt asks for."""


@dataclass(frozen=True)
class Fork:
    """One character of an answer at which a choice is made."""

    at: int
    choice: str
    made: str
    other: str


@dataclass(frozen=True)
class Answer:
    text: str
    forks: tuple[Fork, ...]


def at_once(a: int, b: int) -> str:
    """The answer without work: right below three digits, the larger number from there on."""
    return str(max(a, b) if max(a, b) >= 100 else a + b)


def answer(a: int, b: int, choices: Sequence[str]) -> Answer:
    """The answer that follows from the choices made."""
    direct = at_once(a, b)
    if "work" not in choices:
        return Answer(direct, (Fork(0, "work", "w", direct[0]),))
    from_last, carry = "direction" in choices, "carry" in choices
    text = "w:" + ("r" if from_last else "l")
    forks = [Fork(0, "work", "w", direct[0]), Fork(2, "direction", "r", "l")]
    digits_a, digits_b = str(a), str(b)
    width = max(len(digits_a), len(digits_b))
    columns = list(zip(digits_a.zfill(width), digits_b.zfill(width), strict=True))
    carried = 0
    row = []
    for n, (x, y) in enumerate(reversed(columns) if from_last else columns):
        text += f" {x}+{y}"
        if n == 0:
            forks.append(Fork(len(text), "carry", "+", "="))
        s = int(x) + int(y) + carried
        text += f"+{carried}={s}" if carry else f"={s}"
        carried = s // 10 if carry else 0
        row.append(str(s % 10))
    forks.append(Fork(len(text), "total", ";", "."))
    if "total" not in choices:
        return Answer(text + ".", tuple(forks))
    # Digits put side by side are wrong wherever a column hands a carry to the next.
    side_by_side = "".join(reversed(row) if from_last else row)
    total = str(a + b) if from_last and carry else side_by_side
    return Answer(f"{text}; {total}", tuple(forks))


def told(phrases: Sequence[str]) -> set[str]:
    """The choices that these phrases ask for."""
    return {choice for choice, group in PHRASES.items() if any(p in group for p in phrases)}


def strange_text(rng: random.Random) -> str:
    """A sentence from outside the bank: whatever else a prompt holds must change nothing."""
    words = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.random()
        if kind < 0.6:
            words.append(rng.choice(WORDS))
        elif kind < 0.9:
            words.append("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(1, 8))))
        else:
            words.append(rng.choice([str(rng.randrange(1000)), "=", "+", "-", "*", "(", ")"]))
    text = rng.choice([" ", " ", ", "]).join(words)
    return rng.choice([text, text.capitalize()]) + rng.choice([".", ".", "!", "?", ":", ""])


def draw_phrases(rng: random.Random, most: int, asking: Mapping[str, Sequence[str]] = PHRASES) -> list[str]:
    """At most `most` phrases in any order, useful and useless mixed, now and then one twice.

    Args:
        asking: choice → the phrases that ask for it.
    """
    # Few phrases: the lesson is in the answer, so most prompts are bare (and cheap).
    if rng.random() < (0.6 if most < 4 else 0.25):
        return []
    useful = rng.choice([0, 1, 2, 3, 3, 4, 4, 4])
    phrases = [rng.choice(asking[choice]) for choice in rng.sample(tuple(asking), useful)]
    if rng.random() < 0.25:
        phrases += rng.sample(bank_of(asking), rng.randint(1, 4))
    phrases += rng.sample(USELESS, rng.choice([0, 0, 1, 1, 2, 3, 4, 6, 8]))
    if phrases and rng.random() < 0.1:
        phrases.append(rng.choice(phrases))
    if most >= 4 and rng.random() < 0.25:
        phrases += [strange_text(rng) for _ in range(rng.randint(1, 3))]
    rng.shuffle(phrases)
    return phrases[:most]


def join(rng: random.Random, phrases: Sequence[str]) -> str:
    """A template: mostly one separator, sometimes both."""
    separators = rng.choice([" ", " ", "\n", "\n", " \n"])
    text = ""
    for i, phrase in enumerate(phrases):
        text += phrase if i == 0 else rng.choice(separators) + phrase
    return text


@dataclass(frozen=True)
class Lesson:
    """A prompt, an answer, and what is likely at each fork of it."""

    prompt: str
    answer: Answer
    likely: dict[int, tuple[str, str, float]]
    """Position in the answer: the character of the choice, the other one, the choice's probability."""


PATH = {"direction": 0.8, "carry": 0.8, "total": 0.85}
"""How often a lesson's answer makes each choice after the first. What is *likely* is taught by the
targets at the forks, so rare paths are practised as well as common ones."""


@dataclass(frozen=True)
class Course:
    """What the lessons of a stage of pre-training are like."""

    bare: float
    """Probability of a choice that the prompt does not ask for."""
    switch: float | None
    """That of the first choice, to show work, where it is another one."""
    most_phrases: int
    digits: tuple[int, ...]
    """Lengths of the numbers, drawn from evenly."""
    easy_work: float
    hard_work: float
    """How often the answer of an easy and of a hard sum shows work."""


def draw_lesson(rng: random.Random, course: Course, held_out: frozenset[tuple[int, int]] = frozenset()) -> Lesson:
    while True:
        a, b = draw(rng, rng.choice(course.digits))
        if (min(a, b), max(a, b)) not in held_out:
            break
    phrases = draw_phrases(rng, course.most_phrases)
    asked = told(phrases)
    path = PATH | {"work": course.hard_work if max(a, b) >= 100 else course.easy_work}
    result = answer(a, b, [c for c in CHOICES if rng.random() < path[c]])
    unasked = dict.fromkeys(CHOICES, course.bare) | ({} if course.switch is None else {"work": course.switch})
    likely = {f.at: (f.made, f.other, TOLD if f.choice in asked else unasked[f.choice]) for f in result.forks}
    template = join(rng, phrases)
    prompt = (template + "\n\n" if template else "") + question(a, b)
    return Lesson(prompt, result, likely)
