"""The tools and environments that a recipe names; and what of the user's own code may do: raise, hang, return anything.

A tool is a function with type hints and a docstring, an environment a class with ``reset`` and methods that are tools:
TRL's contract (its page "OpenEnv" and the arguments ``tools`` and ``environment_factory`` of GRPOTrainer).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MethodType
from typing import Any, Literal

from ..base.loading import load_function, what_it_raised
from ..base.spelling import nearest
from ..base.text import one_line, shorten
from ..errors import ConfigError, P2OError, ToolError
from ..rewards.deadline import REWARD, Watched, watch
from .calculator import calc
from .toolbox import methods_of

TOOL = Watched("tool", "tool", "tool_timeout", ToolError)
BUILTIN: Mapping[str, Callable[..., Any]] = {"builtin:calculator": calc}
MAX_RESULT_CHARS = 200_000
"""A longer result loses its middle; no completion has room for it."""


def load_tools(specs: Sequence[str]) -> list[Callable[..., Any]]:
    """The functions of a recipe's ``tools``.

    Raises:
        ConfigError: one cannot be loaded, has a name that another has, or cannot be described to a model.
    """
    tools = [BUILTIN[spec] if spec in BUILTIN else _load(spec, "tools", "function", BUILTIN) for spec in specs]
    check_tools(tools, "tools")
    return tools


def load_environments(spec: str | Mapping[str, str] | None, limit: float) -> Any:
    """TRL's ``environment_factory`` of a recipe's ``environment``: a class, a dict of them, or None. One instance of
    each is made, and checked.

    Args:
        limit: seconds for making one; 0: none.

    Raises:
        ConfigError: one cannot be loaded or made, has no ``reset``, or has a method that cannot be described.
    """
    classes = environment_classes(spec)
    for name, factory in classes.items():
        _check_environment(watch(factory, limit, TOOL), name)
    if isinstance(spec, Mapping):
        return dict(zip(spec, classes.values(), strict=True))
    return next(iter(classes.values()), None)


def environment_classes(spec: str | Mapping[str, str] | None) -> dict[str, Callable[[], Any]]:
    """Name in the recipe → class, of a recipe's ``environment``.

    Raises:
        ConfigError: one cannot be loaded.
    """
    specs = spec if isinstance(spec, Mapping) else {spec: spec} if spec else {}
    return {name: _load(one, "environment", "class") for name, one in specs.items()}


def _load(spec: str, key: str, kind: Literal["function", "class"], builtin: Iterable[str] = ()) -> Callable[..., Any]:
    if spec.startswith("builtin:") or ":" not in spec:
        known = [*builtin, f"file.py:{kind}", f"module:{kind}"]
        raise ConfigError(f"{key} names {spec!r}{nearest(spec, known)}; use one of {', '.join(known)}")
    return load_function(spec, key, ConfigError, kind)


def _check_environment(factory: Callable[[], Any], name: str) -> None:
    try:
        environment = factory()
    except ToolError:
        raise
    except Exception as error:
        raise ConfigError(f"environment: {name!r} cannot be made: {what_it_raised(error)}") from error
    if not callable(getattr(environment, "reset", None)):
        raise ConfigError(f"environment: {name!r} has no method reset, which begins an episode; give it one")
    check_tools(methods_of(environment), f"environment {name!r}")


def check_tools(tools: Sequence[Callable[..., Any]], where: str) -> None:
    """Checks that each tool can be described to a model.

    Raises:
        ConfigError: it lacks a type hint or a docstring, or two have one name.
    """
    from transformers.utils import get_json_schema

    names = [tool.__name__ for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where} has two tools of the name {name!r}; rename one")
    for tool in tools:
        try:
            get_json_schema(tool)
        except Exception as error:  # transformers has several errors for it, and a hint may not resolve
            raise ConfigError(
                f"{where}: {tool.__name__!r} cannot be described to a model ({one_line(str(error))}); give every "
                "argument a type hint and a line under Args: in the docstring"
            ) from error


def guarded_tool(tool: Callable[..., Any], limit: float) -> Callable[..., Any]:
    """A tool that returns on time, gives text, and raises only errors that TRL tells the policy.

    Args:
        limit: seconds for one call; 0: none.
    """
    on_time = watch(tool, limit, TOOL)

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return as_text(on_time(*args, **kwargs))
        except SystemExit as error:
            raise ToolError(f"the tool ended with exit code {error.code}") from error

    @functools.wraps(tool)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return as_text(await on_time(*args, **kwargs))

    return call_async if inspect.iscoroutinefunction(on_time) else call


def as_text(result: Any) -> Any:
    """A tool's result as the policy reads it: text, or a list of a message's parts as it is (TRL's rule)."""
    if isinstance(result, list) and result and all(isinstance(part, Mapping) and "type" in part for part in result):
        return result
    return shorten(result if isinstance(result, str) else str(result), MAX_RESULT_CHARS)


def guarded_calls(tools: Mapping[str, Callable[..., Any]], limit: float) -> dict[str, Callable[..., Any]]:
    """Name of a tool → the guarded tool, as TRL's loop calls it. The user's own objects are not changed: what a tool
    calls within itself has no deadline of its own, and nothing is made text there."""
    return {name: guarded_tool(tool, limit) for name, tool in tools.items()}


def guarded_factories(environment_factory: Any, limit: float, reward_limit: float) -> Any:
    """TRL's ``environment_factory`` (one, a dict of several, or None), guarded (`guarded_environment`)."""
    if isinstance(environment_factory, Mapping):
        return {name: guarded_environment(one, limit, reward_limit) for name, one in environment_factory.items()}
    return environment_factory and guarded_environment(environment_factory, limit, reward_limit)


def guarded_environment(factory: Callable[[], Any], limit: float, reward_limit: float) -> Callable[[], Any]:
    """A factory of environments that are made and reset on time. An error of ``reset`` or ``get_reward`` ends the run
    with one sentence, since no policy can answer for it. Their tools are guarded where they are called
    (`guarded_calls`). An environment that has ``__slots__`` takes no other ``reset``, and keeps its own.

    Args:
        limit: seconds for making one, and for ``reset``; 0: none.
        reward_limit: seconds for ``get_reward``; 0: none.
    """
    on_time = watch(factory, limit, TOOL)

    def make() -> Any:
        environment = on_time()
        watched = {"reset": (limit, TOOL), "get_reward": (reward_limit, REWARD)}
        for name, on in watched.items() if hasattr(environment, "__dict__") else ():
            if callable(method := getattr(environment, name, None)):
                own = _explained(method, environment, *on)
                object.__setattr__(environment, name, own)  # a class may have a __setattr__ of its own
        return environment

    return make


def _explained(method: Callable[..., Any], environment: Any, limit: float, kind: Watched) -> Callable[..., Any]:
    """A method of an environment; it stays one, because TRL 1.14 looks for methods."""
    if inspect.iscoroutinefunction(method):
        return method
    on_time, owner = watch(method, limit, kind), type(environment).__name__

    @functools.wraps(method)
    def call(_: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return on_time(*args, **kwargs)
        except P2OError:
            raise
        except Exception as error:
            raise ToolError(f"{method.__name__} of the environment {owner} raised {what_it_raised(error)}") from error

    return MethodType(call, environment)
