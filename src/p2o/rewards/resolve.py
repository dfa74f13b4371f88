"""From a recipe to a reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..base.loading import load_function
from ..base.spelling import nearest
from ..errors import RewardError
from .answer import DEADLINE, AnswerReward, GymReward
from .function import TIMEOUT, FunctionReward
from .rules import GYM_RULE, RULES, pattern_rule
from .score import Reward
from .verl_signature import with_trl_signature

_MAPPING_KEYS = ("name", "pattern", "describe", "compare", "extract", "signature")


def resolve_reward(
    spec: str | Mapping[str, Any] | Callable[..., Any] | Reward,
    *,
    deadline: float = DEADLINE,
    timeout: float = TIMEOUT,
) -> Reward:
    """The reward a recipe names (see the table in `p2o.rewards`).

    Args:
        spec: a name, ``place:function``, a mapping, a function with TRL's signature, or a `Reward`.
        deadline: CPU seconds for one check of a built-in reward.
        timeout: seconds for one call of a reward function; 0: no limit.

    Raises:
        RewardError: an unknown name, a mapping that makes no sense, or a function that does not load.
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
    return FunctionReward(load_function(spec, "rewards", RewardError), function)


def _from_mapping(spec: Mapping[str, Any], deadline: float) -> Reward:
    for key in spec:
        if key not in _MAPPING_KEYS:
            raise RewardError(f"a reward has no setting {key!r}{nearest(str(key), _MAPPING_KEYS)}")
    name = spec.get("name")
    if not isinstance(name, str):
        raise RewardError(f"the reward {dict(spec)} needs a name")
    if "signature" in spec:
        return _of_verl(name, spec)
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


def _of_verl(name: str, spec: Mapping[str, Any]) -> Reward:
    if spec["signature"] != "verl" or len(spec) > 2 or ":" not in name:
        raise RewardError(
            f"the reward {dict(spec)} cannot be read; a reward function of verl is written {{name: file.py:function, "
            "signature: verl}"
        )
    return FunctionReward(with_trl_signature(load_function(name, "rewards", RewardError)), name.rpartition(":")[2])


def _trl_reward(name: str) -> Reward:
    import trl.rewards

    # Those named get_… make rewards, and need arguments.
    names = [n for n in trl.rewards.__all__ if not n.startswith("get_")]
    if name not in names:
        raise RewardError(f"TRL has no reward function {name!r}{nearest(name, names)}; it has {', '.join(names)}")
    # TRL's rewards look for the right answer in a column named "solution".
    return FunctionReward(getattr(trl.rewards, name), name, solution_from_answer=True)
