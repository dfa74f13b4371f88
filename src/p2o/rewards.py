r"""Verifiable rewards with feedback text.

`resolve_reward` makes a `Reward` of a name, a mapping or a function; a `RewardSet` scores completions with
several of them, says what *solved* means, and hands them to TRL as reward functions.

| spec | rule | compared by |
|---|---|---|
| ``boxed`` | the last ``\boxed{}`` | math-verify |
| ``last_number`` | the last number of the text | value |
| ``exact`` | the whole text, stripped | equality |
| ``math`` | what math-verify finds in the text | math-verify |
| ``{name, pattern, describe, compare}`` | group 1 of the last match | ``text`` (default), ``number``, ``math`` |
| ``reasoning_gym``, ``{name: reasoning_gym, extract: boxed \| last_number \| exact}`` or ``{…, pattern, describe}`` | by default between ``<answer>`` and ``</answer>`` | the data set's own scorer |
| ``trl:accuracy_reward``, ``module:function``, ``path/to/file.py:function``, a callable | a reward function with TRL's signature | |
"""  # noqa: E501

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol, runtime_checkable

from p2o.data import nearest, sample_of
from p2o.errors import DataError, RewardError
from p2o.hanging import watched
from p2o.hard import is_solved
from p2o.loading import load_module
from p2o.samples import Sample
from p2o.verify import Verdict, shared_pool

DEADLINE = 10.0  # seconds a check may take
TIMEOUT = 600.0  # seconds a call of a user's reward function may take; NCCL waits as long for the other ranks


@dataclass(frozen=True)
class Score:
    """One reward for one completion; None where it does not apply (TRL leaves it out of the sum)."""

    reward: float | None
    feedback: str


@dataclass(frozen=True)
class Scored:
    """All rewards for one completion."""

    reward: float
    """The weighted sum, which is what trains."""
    rewards: Mapping[str, float | None]
    solved: bool
    feedback: str


@runtime_checkable
class Reward(Protocol):
    """Scores completions. ``context`` holds what TRL passes to reward functions beside the columns."""

    name: str

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]: ...


# Finding the answer in a completion

Compare = Literal["text", "number", "math"]

_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[-+−])?"  # a sign, not the minus of "10-3"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}){1,20}(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
)


def last_number(text: str) -> str | None:
    """The last number as it stands in the text: ``12``, ``-1,234.50``, ``.5``."""
    found = _NUMBER.findall(text)
    return found[-1] if found else None


def number(text: str) -> Decimal | None:
    """The value of a text that is one number and nothing else, else None."""
    text = text.strip()
    return Decimal(text.replace(",", "").replace("−", "-")) if _NUMBER.fullmatch(text) else None


_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete ``\boxed{…}`` (braces may nest), or None. Linear in the text."""
    opened: list[tuple[int, bool]] = []
    last = (-1, -1)
    for match in _BRACE.finditer(text):
        if match.group() == "}" and opened:
            start, is_box = opened.pop()
            if is_box:
                last = max(last, (start, match.start()))
        elif match.group().endswith("{") and match.group() != "\\{":
            opened.append((match.end(), len(match.group()) > 1))
    return text[slice(*last)].strip() or None if last[0] >= 0 else None


@dataclass(frozen=True)
class Rule:
    """How an answer is found in a completion, how it is compared, and what a model is told to do."""

    extract: Callable[[str], str | None]
    expected: str
    compare: Compare
    whole: bool = False
    """Whether math-verify looks for the answer itself, in the whole text."""


RULES: Mapping[str, Rule] = {
    "boxed": Rule(last_boxed, "the answer must be given inside \\boxed{}", "math"),
    "last_number": Rule(last_number, "the answer must be given as a number at the end", "number"),
    "exact": Rule(lambda text: text.strip() or None, "the answer must be given alone, without other text", "text"),
    "math": Rule(
        lambda text: text.strip() or None,
        "the answer must be given as a mathematical expression",
        "math",
        whole=True,
    ),
}


def pattern_rule(pattern: str, describe: str | None = None, compare: Compare = "text") -> Rule:
    """The rule of a custom format: group 1 of the last match of a regular expression (``.`` matches all).

    Raises RewardError unless ``pattern`` is a regular expression with exactly one group.
    """
    try:
        regex = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise RewardError(f"the reward pattern {pattern!r} is not a regular expression: {error}") from None
    if regex.groups != 1:
        raise RewardError(f"the reward pattern {pattern!r} has {regex.groups} groups; give it one, around the answer")

    def extract(text: str) -> str | None:
        found = regex.findall(text)
        return (found[-1].strip() or None) if found else None

    return Rule(extract, describe or f"the answer must match the pattern {pattern}", compare)


GYM_RULE = pattern_rule(r"<answer>(.*?)</answer>", "the answer must be given between <answer> and </answer>", "text")


def golds_of(sample: Sample) -> list[str]:
    """The right answers of a sample: its answer, or all of them where the data set names several."""
    return list(sample.columns.get("answers") or ([] if sample.answer is None else [sample.answer]))


# What a reflector is told


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"


def wrong_format(rule: Rule) -> Score:
    return Score(0.0, f"Wrong format: {rule.expected.rstrip('.')}. Reward: 0.")


def judged(answer: str, golds: Sequence[str], verdict: Verdict, deadline: float) -> Score:
    """The score of an answer in the right format, with feedback."""
    right = f" The right answer is {' or '.join(map(_short, golds))}." if golds else ""
    reward = f" Reward: {verdict.score:.3g}."
    answer = _short(answer)
    if verdict.outcome == "checked" and verdict.score >= 1:
        text = f"Right answer: {answer}."
    elif verdict.outcome == "checked":
        text = f"{'Not fully right' if verdict.score > 0 else 'Wrong answer'}: {answer}.{right}"
    elif verdict.outcome == "unreadable":
        text = f"Wrong answer: {answer} cannot be read as mathematics.{right}"
    elif verdict.outcome == "timeout":
        text = f"Wrong answer: {answer} could not be checked within {deadline:g} s.{right}"
    else:
        text = f"Wrong answer: {answer} made the checker fail.{right}"
    return Score(verdict.score, text + reward)


RIGHT, WRONG = Verdict(1.0, "checked"), Verdict(0.0, "checked")


class AnswerReward:
    """1 for the right answer in the right format, else 0."""

    def __init__(self, name: str, rule: Rule, deadline: float = DEADLINE) -> None:
        self.name, self.rule, self.deadline = name, rule, deadline

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        answers = [self.rule.extract(text) for text in completions]
        golds = [golds_of(sample) for sample in samples]
        for sample, gold in zip(samples, golds, strict=True):
            if not gold:
                raise RewardError(f"reward {self.name!r} needs an answer, and sample {sample.id!r} has none")
        verdicts = [
            None if answer is None else self._at_once(answer, gold) for answer, gold in zip(answers, golds, strict=True)
        ]
        open_rows = [i for i, answer in enumerate(answers) if answer is not None and verdicts[i] is None]
        form = "{}" if self.rule.whole else "\\boxed{{{}}}"  # math-verify takes a boxed answer as it stands
        tasks = [{"golds": golds[i], "text": form.format(answers[i])} for i in open_rows]
        for i, verdict in zip(open_rows, shared_pool("math").run(tasks, self.deadline), strict=True):
            verdicts[i] = verdict
        return [
            wrong_format(self.rule)
            if answer is None or verdict is None or (self.rule.whole and verdict.outcome == "unreadable")
            else judged(answer, gold, verdict, self.deadline)
            for answer, gold, verdict in zip(answers, golds, verdicts, strict=True)
        ]

    def _at_once(self, answer: str, golds: Sequence[str]) -> Verdict | None:
        """The verdict, if no mathematics is needed for it."""
        if any(answer == gold.strip() for gold in golds):
            return RIGHT
        if self.rule.compare == "text":
            return WRONG
        values = [number(gold) for gold in golds]
        if self.rule.compare == "number":
            value = number(last_number(answer) or "")
            return RIGHT if value is not None and value in values else WRONG
        value = number(answer)
        if value is not None and all(v is not None for v in values) and _all_whole([value, *values]):
            return RIGHT if value in values else WRONG
        return None

    def check_gold(self, samples: Sequence[Sample]) -> None:
        """Raise DataError if the right answer of a sample cannot be compared by this rule."""
        check_gold(samples, self.rule.compare, self.deadline)


def _all_whole(values: Sequence[Decimal | None]) -> bool:
    return all(value is not None and value == value.to_integral_value() for value in values)


def check_gold(samples: Sequence[Sample], compare: Compare = "math", deadline: float = DEADLINE) -> None:
    """Raise DataError naming the first sample whose right answer cannot be read (see `Rule`)."""
    if compare == "text":
        return
    golds = {gold: sample for sample in reversed(samples) for gold in golds_of(sample)}
    unknown = [gold for gold in reversed(golds) if number(gold) is None]
    if compare == "math":
        tasks = [{"golds": [gold], "text": None} for gold in unknown]
        verdicts = shared_pool("math").run(tasks, deadline)
        unknown = [gold for gold, verdict in zip(unknown, verdicts, strict=True) if verdict.score < 1]
    if unknown:
        kind, other = (
            ("a number", "'boxed'") if compare == "number" else ("mathematics", "'exact' or a pattern compared as text")
        )
        first = golds[unknown[0]]
        where = f"in {first.place}" if first.place else f"of sample {first.id!r}"
        raise DataError(
            f"the answer {_short(unknown[0])!r} {where} cannot be read as {kind} "
            f"({len(unknown)} of {len(golds)} different answers); mend or drop such rows, "
            f"or use the reward {other}"
        )


class GymReward:
    """What the scorer of the sample's reasoning-gym data set gives for the answer (0 to 1)."""

    def __init__(self, name: str, rule: Rule = GYM_RULE, deadline: float = DEADLINE) -> None:
        self.name, self.rule, self.deadline = name, rule, deadline

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        answers = [self.rule.extract(text) for text in completions]
        rows = [i for i, answer in enumerate(answers) if answer is not None]
        tasks = [self._task(str(answers[i]), samples[i]) for i in rows]
        scores = [wrong_format(self.rule)] * len(answers)
        for i, verdict in zip(rows, shared_pool("reasoning_gym").run(tasks, self.deadline), strict=True):
            scores[i] = judged(str(answers[i]), golds_of(samples[i]), verdict, self.deadline)
        return scores

    def _task(self, answer: str, sample: Sample) -> dict[str, str]:
        columns = sample.columns
        if not columns.get("reasoning_gym") or not columns.get("reasoning_gym_entry"):
            raise RewardError(
                f"reward {self.name!r} needs rows of a reasoning_gym: source, and sample {sample.id!r} is not one"
            )
        return {
            "dataset": columns["reasoning_gym"],
            "entry": columns["reasoning_gym_entry"],
            "answer": answer,
        }


class FunctionReward:
    """A reward function with TRL's signature.

    It may return, per completion, a number, a (number, feedback) pair, or None where it does not apply. NaN
    and infinity are taken as None and counted in ``not_scorable``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        solution_from_answer: bool = False,
        timeout: float = TIMEOUT,
    ) -> None:
        """``timeout``: seconds after which a call is stopped with an error (0: never)."""
        self.function, self.name, self.timeout = function, name, timeout
        self.__name__ = name
        self.solution_from_answer = solution_from_answer
        self.not_scorable = 0

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        names = dict.fromkeys(name for sample in samples for name in sample.columns)
        columns = {name: [sample.columns.get(name) for sample in samples] for name in names}
        return self.call(
            prompts=[list(sample.messages) for sample in samples],
            completions=[[{"role": "assistant", "content": text}] for text in completions],
            **{
                "completion_ids": None,
                **columns,
                "sample_id": [sample.id for sample in samples],
                "answer": [sample.answer for sample in samples],
                **context,
            },
        )

    def call(self, **arguments: Any) -> list[Score]:
        """Call the function as TRL does. Raises RewardError if it raises, or does not keep the contract."""
        count = len(arguments["completions"])
        if self.solution_from_answer and "answer" in arguments:
            arguments.setdefault("solution", arguments["answer"])
        with watched(self.name, self.timeout):
            try:
                values = self.function(**arguments)
                if inspect.iscoroutine(values):
                    values = asyncio.run(values)
            except Exception as error:
                raise RewardError(f"reward function {self.name!r} raised {type(error).__name__}: {error}") from error
        if not hasattr(values, "__len__") or isinstance(values, str | Mapping):
            raise RewardError(
                f"reward function {self.name!r} returned {type(values).__name__}; it must return a list "
                "with one reward per completion"
            )
        if len(values) != count:
            raise RewardError(f"reward function {self.name!r} returned {len(values)} rewards for {count} completions")
        return [self._score(value) for value in values]

    def _score(self, value: Any) -> Score:
        feedback = None
        if isinstance(value, tuple | list) and len(value) == 2:
            value, feedback = value
        if value is not None:
            value = value.item() if hasattr(value, "item") else value
            if not isinstance(value, int | float):
                raise RewardError(
                    f"reward function {self.name!r} returned {_short(repr(value), 40)}; a reward must "
                    "be a number, a (number, feedback) pair or None"
                )
        if value is None or not math.isfinite(value):
            self.not_scorable += value is not None
            return Score(None, str(feedback or "This completion cannot be scored."))
        return Score(float(value), f"Reward: {value:.3g}." if feedback is None else str(feedback))


class RewardSet:
    """Several rewards with weights, and the one that says what *solved* means."""

    def __init__(
        self,
        rewards: Sequence[Reward],
        weights: Sequence[float] | None = None,
        success_reward_name: str | None = None,
        success_threshold: float = 1.0,
    ) -> None:
        """``weights`` default to 1, ``success_reward_name`` to the first reward.

        Raises RewardError without rewards, with two of one name, with a wrong number of weights, or with an
        unknown success reward.
        """
        names = [reward.name for reward in rewards]
        if not names:
            raise RewardError("no reward is given; name at least one")
        if len(set(names)) < len(names):
            raise RewardError(f"two rewards have the same name ({', '.join(names)}); give one another name")
        if weights is not None and len(weights) != len(names):
            raise RewardError(f"{len(weights)} reward weights are given for {len(names)} rewards")
        if success_reward_name is not None and success_reward_name not in names:
            raise RewardError(
                f"the success reward {success_reward_name!r} is not among the rewards ({', '.join(names)})"
            )
        self.rewards = list(rewards)
        self.weights = [1.0] * len(names) if weights is None else [float(weight) for weight in weights]
        self.success_reward_name = success_reward_name or names[0]
        self.success_threshold = success_threshold

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Scored]:
        """Score each completion of its sample; ``context`` may hold ``completion_ids`` and the like."""
        names = [reward.name for reward in self.rewards]
        by_reward = [reward.score(completions, samples, **context) for reward in self.rewards]
        return [self._join(dict(zip(names, row, strict=True))) for row in zip(*by_reward, strict=True)]

    def _join(self, scores: Mapping[str, Score]) -> Scored:
        values = {name: score.reward for name, score in scores.items()}
        total = sum(w * v for w, v in zip(self.weights, values.values(), strict=True) if v is not None)
        texts = [score.feedback if len(scores) == 1 else f"{name}: {score.feedback}" for name, score in scores.items()]
        success = values[self.success_reward_name]
        return Scored(float(total), values, is_solved(success, self.success_threshold), "\n".join(texts))

    def check_gold(self, samples: Sequence[Sample]) -> None:
        """Raise DataError if a right answer cannot be compared by one of the built-in rewards."""
        for reward in self.rewards:
            if isinstance(reward, AnswerReward):
                reward.check_gold(samples)

    def counts(self) -> dict[str, int]:
        """How many checks of this process were lost (timeout, crash, failed), and not_scorable rewards."""
        lost: Counter[str] = Counter()
        for kind in ("math", "reasoning_gym"):
            lost.update(shared_pool(kind).counts)
        functions = [reward for reward in self.rewards if isinstance(reward, FunctionReward)]
        return {name: lost[name] for name in ("timeout", "crash", "failed")} | {
            "not_scorable": sum(function.not_scorable for function in functions)
        }

    def trl_functions(self) -> list[Callable[..., list[float | None]]]:
        """One reward function per reward, as GRPOTrainer takes them, named after it."""
        return [_trl_function(reward) for reward in self.rewards]


def _trl_function(reward: Reward) -> Callable[..., list[float | None]]:
    def function(
        prompts: list[Any], completions: list[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        if isinstance(reward, FunctionReward):  # as TRL called it, with its completions as they are
            arguments = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
            scores = reward.call(**arguments, **columns)
        else:
            rows = {name: column for name, column in columns.items() if isinstance(column, list)}
            samples = [
                sample_of({"prompt": prompt, **{name: column[i] for name, column in rows.items()}})
                for i, prompt in enumerate(prompts)
            ]
            context = {name: value for name, value in columns.items() if name not in rows}
            texts = [text_of(completion) for completion in completions]
            scores = reward.score(texts, samples, completion_ids=completion_ids, **context)
        if "log_extra" in columns:  # TRL takes numbers alone; the feedback goes beside, into its completions table
            columns["log_extra"](f"{reward.name}/feedback", [score.feedback for score in scores])
        return [score.reward for score in scores]

    function.__name__ = reward.name
    function.has_deadline = True  # type: ignore[attr-defined]  # of its own: `hanging.watch` leaves it alone
    return function


def text_of(completion: Any) -> str:
    """The text of a completion as TRL hands it out: a string, or messages (their contents, joined)."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message.get("content") or "") for message in completion)


def partial_credit_warning(rewards: Sequence[float], threshold: float) -> str | None:
    """One sentence if some rewards are above 0 and none reaches the threshold, else None."""
    best = max((reward for reward in rewards if reward > 0), default=None)
    if best is None or is_solved(best, threshold):
        return None
    return (
        f"Rewards above 0 were earned (at most {best:.3g}), but none reaches the success threshold "
        f"{threshold:g}, so no sample counts as solved; if that is success, lower success_threshold."
    )


# From a recipe to a reward

_MAPPING_KEYS = ("name", "pattern", "describe", "compare", "extract")


def resolve_reward(
    spec: str | Mapping[str, Any] | Callable[..., Any] | Reward,
    *,
    deadline: float = DEADLINE,
    timeout: float = TIMEOUT,
) -> Reward:
    """The reward a recipe names (see the table above).

    ``deadline``: CPU seconds per check of built-in rewards; ``timeout``: seconds per call of a reward function.
    Raises RewardError for an unknown name, a mapping that makes no sense, or a function that does not load.
    """
    if isinstance(spec, Reward):
        return spec
    if isinstance(spec, str):
        reward = _named(spec, deadline)
    elif isinstance(spec, Mapping):
        reward = _from_mapping(spec, deadline)
    elif hasattr(spec, "forward") or not callable(spec):
        raise RewardError(f"{type(spec).__name__} is no reward function; reward models are not supported")
    else:
        reward = FunctionReward(spec, getattr(spec, "__name__", type(spec).__name__))
    if isinstance(reward, FunctionReward):
        reward.timeout = timeout
    return reward


def _named(spec: str, deadline: float) -> Reward:
    if spec in RULES:
        return AnswerReward(spec, RULES[spec], deadline)
    if spec == "reasoning_gym":
        return GymReward(spec, deadline=deadline)
    place, colon, function = spec.rpartition(":")
    if not colon:
        names = [*RULES, "reasoning_gym"]
        raise RewardError(
            f"there is no reward {spec!r}{nearest(spec, names)}; built in are {', '.join(names)}, "
            "functions are written trl:name, module:function or path/to/file.py:function"
        )
    if place == "trl":
        return _trl_reward(function)
    return FunctionReward(_import(place, function), function)


def _from_mapping(spec: Mapping[str, Any], deadline: float) -> Reward:
    for key in spec:
        if key not in _MAPPING_KEYS:
            raise RewardError(f"a reward has no setting {key!r}{nearest(str(key), _MAPPING_KEYS)}")
    name = spec.get("name")
    if not isinstance(name, str):
        raise RewardError(f"the reward {dict(spec)} needs a name")
    compare = spec.get("compare", "text")
    if compare not in ("text", "number", "math"):
        raise RewardError(f"reward {name!r} compares by {compare!r}; choose text, number or math")
    rule = None
    if "pattern" in spec:
        rule = pattern_rule(str(spec["pattern"]), spec.get("describe"), compare)
    elif "extract" in spec:
        extract = str(spec["extract"])
        if extract not in RULES:
            raise RewardError(
                f"reward {name!r} extracts by {extract!r}{nearest(extract, list(RULES))}; "
                f"choose {', '.join(RULES)} or give a pattern"
            )
        rule = RULES[extract]
    if name == "reasoning_gym":
        return GymReward(name, rule or GYM_RULE, deadline)
    return _named(name, deadline) if rule is None else AnswerReward(name, rule, deadline)


def _trl_reward(name: str) -> Reward:
    import trl.rewards

    # Those named get_… make rewards, and need arguments.
    names = [n for n in trl.rewards.__all__ if not n.startswith("get_")]
    if name not in names:
        raise RewardError(f"TRL has no reward function {name!r}{nearest(name, names)}; it has {', '.join(names)}")
    # TRL's rewards look for the right answer in a column named "solution".
    return FunctionReward(getattr(trl.rewards, name), name, solution_from_answer=True)


def _import(place: str, name: str) -> Callable[..., Any]:
    """A function of a module or of a Python file."""
    try:
        module = load_module(place)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise RewardError(f"the reward {place}:{name} cannot be loaded: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise RewardError(f"{place} has no function {name!r}{nearest(name, dir(module))}")
    return function  # type: ignore[no-any-return]
