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
| ``{name: file.py:function, signature: verl}`` | a reward function with verl's signature | |
"""  # noqa: E501

from .answer import DEADLINE, AnswerReward, GymReward, check_gold, readable_answers
from .function import TIMEOUT, FunctionReward
from .resolve import resolve_reward
from .reward_set import RewardSet, text_of
from .rules import GYM_RULE, RULES, Compare, Rule, last_boxed, last_number, number, pattern_rule
from .score import Reward, Score, Scored

__all__ = [
    "DEADLINE",
    "GYM_RULE",
    "RULES",
    "TIMEOUT",
    "AnswerReward",
    "Compare",
    "FunctionReward",
    "GymReward",
    "Reward",
    "RewardSet",
    "Rule",
    "Score",
    "Scored",
    "check_gold",
    "last_boxed",
    "last_number",
    "number",
    "pattern_rule",
    "readable_answers",
    "resolve_reward",
    "text_of",
]
