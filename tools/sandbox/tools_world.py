"""What the policy with a calculator is taught: phrases, choices and conversations.

A conversation has up to three turns of the model, and a chain of four choices, each made at one token::

    What is 47 * 85 + 392?
    <a>392                                          at once: the last number, wrong

    <a><c>calc sum=47*85                            the calculator is called, one operation at a time
    <t>3995                                         (the calculator's answer)
    <a><c>calc sum=3995+392                         it goes on
    <t>4387
    <a>4387                                         and states the result

- call: "<c>" first, or a digit: the last number of the question;
- step: after "calc sum=47*85" the end of the call, or "+392", which the calculator refuses;
- go on: after the first result "<c>" again, or a digit: the product as the answer;
- answer: after the second result a digit, or "d": "done", without the result.

The policy cannot multiply. Only all four together are right. On the bare prompt each choice has the probability
``bare``; an instruction for it in the prompt makes it ``TOLD``.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from world import TOLD, bank_of, draw_phrases, join

from p2o.generation.calculator import ONE_AT_A_TIME, calc

PHRASES: dict[str, list[str]] = {
    "call": ["Use the calculator.", "Call the tool.", "Do not guess, calculate."],
    "step": ["One operation at a time.", "Split the sum into steps.", "Give the tool two numbers only."],
    "go on": ["Go on with the result.", "Use the result in the next call.", "Call again until all is done."],
    "answer": ["State the last result.", "Finish with the number.", "End with the result."],
}
"""The instructions that matter, by the choice they make."""

PHRASE_BANK = bank_of(PHRASES)
CHOICES = tuple(PHRASES)
TOOL_LIST = ["<f>", *"calc "]
REFUSED = str({"error": ONE_AT_A_TIME})
"""What the model reads when the calculator refuses: TRL writes a tool's error so."""

Sum = tuple[int, int, int]


def draw_sum(rng: random.Random, held_out: Collection[Sum] = frozenset()) -> Sum:
    """a * b + c with a, b of two digits and c of three."""
    while True:
        a, b, c = rng.randrange(12, 100), rng.randrange(12, 100), rng.randrange(100, 1000)
        if (a, b, c) not in held_out:
            return a, b, c


def question(a: int, b: int, c: int) -> str:
    return f"What is {a} * {b} + {c}?"


@dataclass(frozen=True)
class Part:
    """Tokens that one side writes, and the forks in them: position → the choice, its token, the other one."""

    tokens: list[str]
    of_model: bool
    forks: dict[int, tuple[str, str, str]]


def _model(text: Sequence[str], **forks: tuple[int, str, str]) -> Part:
    return Part([*text, "<eos>"], True, {at: (choice.replace("_", " "), a, b) for choice, (at, a, b) in forks.items()})


def _tool(text: str) -> Part:
    return Part(["<t>", *text, "<a>"], False, {})


def conversation(a: int, b: int, c: int, choices: Collection[str]) -> list[Part]:
    """The turns that follow from the choices made, behind the prompt and its "<a>"."""
    guess = str(c)
    call = {"call": (0, "<c>", guess[0])}
    if "call" not in choices:
        return [_model(guess, **call)]
    first = ["<c>", *f"calc sum={a}*{b}"]
    step = {"step": (len(first), "<eos>", "+")}
    if "step" not in choices:
        return [_model([*first, *f"+{c}"], **call, **step), _tool(REFUSED), _model(guess)]
    product = calc(f"{a}*{b}")
    turns = [_model(first, **call, **step), _tool(product)]
    go_on = {"go_on": (0, "<c>", product[0])}
    if "go on" not in choices:
        return [*turns, _model(product, **go_on)]
    total = calc(f"{product}+{c}")
    turns += [_model(["<c>", *f"calc sum={product}+{c}"], **go_on), _tool(total)]
    return [*turns, _model(total if "answer" in choices else "done", answer=(0, total[0], "d"))]


def told(phrases: Sequence[str]) -> set[str]:
    """The choices that these phrases ask for."""
    return {choice for choice, group in PHRASES.items() if any(p in group for p in phrases)}


@dataclass(frozen=True)
class ToolLesson:
    """A prompt up to its "<a>", the turns behind it, and how likely each choice is."""

    prompt: list[str]
    turns: list[Part]
    likely: dict[str, float]


MADE = 0.85
"""How often a lesson's conversation makes each choice; what is likely is taught by the targets at the forks."""


def draw_tool_lesson(
    rng: random.Random, bare: float, most_phrases: int, held_out: Collection[Sum] = frozenset()
) -> ToolLesson:
    """A lesson.

    Args:
        bare: probability of a choice that the prompt does not ask for.
        most_phrases: the most instructions in a prompt.
        held_out: sums that no lesson uses.
    """
    a, b, c = draw_sum(rng, held_out)
    phrases = draw_phrases(rng, most_phrases, PHRASES)
    asked = told(phrases)
    template = join(rng, phrases)
    text = (template + "\n\n" if template else "") + question(a, b, c)
    turns = conversation(a, b, c, [choice for choice in CHOICES if rng.random() < MADE])
    likely = {choice: TOLD if choice in asked else bare for choice in CHOICES}
    return ToolLesson([*TOOL_LIST, "<u>", *text, "<a>"], turns, likely)
