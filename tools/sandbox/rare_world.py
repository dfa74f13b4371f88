"""What the policy of the world `rare` is taught: three kinds of questions, seven choices, two routes.

    What is 347 + 285?                sum      w:r 7+5=12 4+8+1=13 3+2+1=6; 632    bare: 347, the larger number
    Which is larger, 347 or 385?      larger   w:l 3=3 4(8; 385                    bare: 347, the smaller number
    What is the digit root of 3472?   root     w:3+4=7,+7=14,+2=16!1+6=7; 7        bare: 2, the last digit

In a comparison "(" means less and ")" means more: the policy's alphabet has no other signs for it.

- work: "w" first, or a digit: the answer at once, which is wrong;
- table: after it "|" (and between all steps), or ":": the table, or the line;
- order: "r" (from the last digit, with carries), or "l" (from the first one). A sum needs "r", a comparison "l", so
  that an instruction for one is wrong for the other;
- running: after the first step of a root "," (go on with its result), or " " (add the next two digits);
- again: after a result of two digits "!" (add its digits too), or " ";
- finish: ";" and the result, or "." and none (a root: "." and the number of the question).

**The line** needs work, finish, and what the question needs besides: nothing for a sum without carries, a comparison
on which both orders agree, and a root of two digits with a small sum; one more for the others; two for a root of four
digits with a large sum. On the bare prompt each of these choices is ``bare`` likely, which the ratio mask lets through.

**The table** needs work, table and finish. It is right on every sum and every comparison, and wrong on every root. But
each of its "|" is ``TABLE`` likely on the bare prompt, far below the mask's bound, so that it is found easily and is
not learned.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from make_data import carries
from rare_phrases import PHRASES, USELESS
from world import TOLD, Answer, Fork, Lesson, join, strange_text

KINDS = ("sum", "larger", "root")
CHOICES = tuple(PHRASES)
TABLE = 1e-6
"""Probability of a "|" where the prompt does not ask for a table."""


@dataclass(frozen=True)
class Question:
    kind: str
    numbers: tuple[int, ...]

    @property
    def text(self) -> str:
        """The bare prompt."""
        if self.kind == "sum":
            return f"What is {self.numbers[0]} + {self.numbers[1]}?"
        if self.kind == "larger":
            return f"Which is larger, {self.numbers[0]} or {self.numbers[1]}?"
        return f"What is the digit root of {self.numbers[0]}?"

    @property
    def right(self) -> str:
        """The right answer."""
        if self.kind == "sum":
            return str(sum(self.numbers))
        return str(max(self.numbers)) if self.kind == "larger" else str((self.numbers[0] - 1) % 9 + 1)

    @property
    def at_once(self) -> str:
        """The answer without work: wrong."""
        if self.kind == "sum":
            return str(max(self.numbers))
        return str(min(self.numbers)) if self.kind == "larger" else str(self.numbers[0])[-1]


def digits_of(number: int) -> list[int]:
    return [int(c) for c in str(number)]


def needs(question: Question) -> tuple[str, ...]:
    """The choices without which the line is wrong."""
    if question.kind == "sum":
        more = ["right"] if carries(*question.numbers) else []
    elif question.kind == "larger":
        more = [] if _judged(question, "r") == max(question.numbers) else ["left"]
    else:
        more = ["running"] * (question.numbers[0] > 99) + ["again"] * (sum(digits_of(question.numbers[0])) > 9)
    return ("work", "finish", *more)


def draw_question(rng: random.Random, kind: str, taken: Collection[Question] = ()) -> Question:
    """A question of a kind that is not among those taken."""
    while True:
        question = _draw(rng, kind)
        if question is not None and question not in taken and question.at_once != question.right:
            return question


def _draw(rng: random.Random, kind: str) -> Question | None:
    """A question; None where something else than the needed choices would decide."""
    if kind == "sum":
        a, b = rng.randrange(100, 1000), rng.randrange(100, 1000)
        plain = all(x + y < 10 for x, y in zip(digits_of(a), digits_of(b), strict=True))
        return Question(kind, (a, b)) if carries(a, b) or plain else None
    if kind == "larger":
        a = rng.randrange(100, 1000)
        b = a // 100 * 100 + rng.randrange(100)  # the first digits are equal
        return Question(kind, (a, b)) if a // 10 != b // 10 else None
    number = rng.randrange(11, 100) if rng.random() < 0.5 else rng.randrange(1000, 10_000)
    total = sum(digits_of(number))
    if sum(digits_of(total)) > 9:  # 1 + 9 has two digits again
        return None
    if number > 99:  # without a running total the last step is that of the last two digits
        last = sum(digits_of(number % 100))
        if last == 0 or (last - 1) % 9 + 1 == (number - 1) % 9 + 1:
            return None
    return Question(kind, (number,))


def _judged(question: Question, order: str) -> int:
    """Which number is taken for the larger one, if the first digits that differ decide, in that order."""
    step = 1 if order == "l" else -1
    keys = [digits_of(n)[::step] for n in question.numbers]
    return question.numbers[keys.index(max(keys))]


def answer(question: Question, choices: Collection[str]) -> Answer:
    """The answer that follows from the choices made. A table without the choice "row" ends after its first row."""
    direct = question.at_once
    forks = [Fork(0, "work", "w", direct[0])]
    if "work" not in choices:
        return Answer(direct, tuple(forks))
    table = "table" in choices
    forks.append(Fork(1, "table", "|", ":"))
    text = "w" if table else "w:"
    wanted = "l" if question.kind == "larger" else "r"
    order = wanted
    if question.kind != "root" and not table:
        other = "r" if wanted == "l" else "l"
        choice = "left" if wanted == "l" else "right"
        order = wanted if choice in choices else other
        forks.append(Fork(2, choice, wanted, other))
        text += order
    if question.kind == "root" and not table:
        text, result = _root_line(question, choices, text, forks)
    else:
        steps, result = _steps(question, order)
        for n, step in enumerate(steps):
            if table and n:
                forks.append(Fork(len(text), "table", "|", "."))
                if "row" not in choices:
                    return Answer(text + ".", tuple(forks))
            text += ("|" if table else " ") + step
    forks.append(Fork(len(text), "finish", ";", "."))
    if "finish" in choices:
        return Answer(f"{text}; {result}", tuple(forks))
    # The last step of a root may hold the right answer; so the number follows, and is what the reward finds.
    return Answer(f"{text}. {question.numbers[0]}" if question.kind == "root" else f"{text}.", tuple(forks))


def _steps(question: Question, order: str) -> tuple[list[str], str]:
    """(steps, result) of a sum or a comparison in an order, or of a root in a table."""
    if question.kind == "root":
        digits = str(question.numbers[0])
        return list(digits), digits[-1]
    columns = list(zip(*(digits_of(n) for n in question.numbers), strict=True))
    if question.kind == "larger":
        steps = []
        for x, y in columns if order == "l" else reversed(columns):
            steps.append(f"{x}{'(' if x < y else ')' if x > y else '='}{y}")
            if x != y:
                break
        return steps, str(_judged(question, order))
    if order == "l":
        return [f"{x}+{y}={x + y}" for x, y in columns], "".join(str((x + y) % 10) for x, y in columns)
    steps, carried = [], 0
    for x, y in reversed(columns):
        total = x + y + carried
        steps.append(f"{x}+{y}{'+1' if carried else ''}={total}")
        carried = total // 10
    return steps, question.right


def _root_line(question: Question, choices: Collection[str], text: str, forks: list[Fork]) -> tuple[str, str]:
    """(text, result) of a root's line; adds its forks."""
    digits = digits_of(question.numbers[0])
    total = digits[0] + digits[1]
    text += f"{digits[0]}+{digits[1]}={total}"
    if len(digits) > 2:
        forks.append(Fork(len(text), "running", ",", " "))
        if "running" in choices:
            for digit in digits[2:]:
                total += digit
                text += f",+{digit}={total}"
        else:
            total = digits[2] + digits[3]
            text += f" {digits[2]}+{digits[3]}={total}"
    if total > 9:
        forks.append(Fork(len(text), "again", "!", " "))
        if "again" in choices:
            x, y = digits_of(total)
            total = x + y
            text += f"!{x}+{y}={total}"
        else:
            text += " "
    return text, str(total)


def told(phrases: Sequence[str]) -> set[str]:
    """The choices that these phrases ask for."""
    return {choice for choice, group in PHRASES.items() if any(p in group for p in phrases)}


def likely(fork: Fork, asked: Collection[str], bare: float) -> float:
    """Probability of the choice at a fork. Where both orders are asked for, each is as likely as the other."""
    contrary = {"right": "left", "left": "right"}.get(fork.choice)
    if fork.choice in asked:
        return 0.5 if contrary in asked else TOLD
    return TABLE if fork.choice == "table" else bare


def draw_phrases(rng: random.Random, most: int) -> list[str]:
    """At most `most` phrases in any order, useful and useless mixed, sometimes with unknown text among them."""
    if rng.random() < 0.25:
        return []
    phrases = [rng.choice(PHRASES[c]) for c in rng.sample(CHOICES, rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 5]))]
    phrases += rng.sample(USELESS, rng.choice([0, 0, 1, 1, 2, 3, 5]))
    if rng.random() < 0.1:
        phrases += [strange_text(rng) for _ in range(rng.randint(1, 2))]
    rng.shuffle(phrases)
    return phrases[:most]


PATH = {
    "work": 0.85,
    "right": 0.6,
    "left": 0.6,
    "running": 0.7,
    "again": 0.7,
    "table": 0.25,
    "row": 0.85,
    "finish": 0.8,
}
"""How often a lesson's answer makes each choice. What is *likely* is taught by the targets at the forks."""


@dataclass(frozen=True)
class Course:
    """What the lessons of a stage of pre-training are like."""

    bare: float
    """Probability of a choice that the prompt does not ask for."""
    most_phrases: int
    decided: bool = True
    """False: all choices are as likely as ``bare``, the table too, and whatever the prompt asks for."""


def draw_lesson(rng: random.Random, course: Course, held_out: Collection[Question] = ()) -> Lesson:
    """A question that is not held out, an answer, and how likely each of its choices is."""
    question = draw_question(rng, rng.choice(KINDS), held_out)
    phrases = draw_phrases(rng, course.most_phrases)
    result = answer(question, [c for c, p in PATH.items() if rng.random() < p])
    asked = told(phrases)
    chances = {f.at: likely(f, asked, course.bare) if course.decided else course.bare for f in result.forks}
    template = join(rng, phrases)
    prompt = (template + "\n\n" if template else "") + question.text
    return Lesson(prompt, result, {f.at: (f.made, f.other, chances[f.at]) for f in result.forks})
