"""The tools and the environments of an agent, as TRL takes them (`trl.GRPOTrainer`, ``tools`` and
``environment_factory``)."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..data.trl_dataset import NO_PROMPT
from ..errors import ConfigError
from .settings import Prompt

Tool = Callable[..., Any]
Factory = Callable[[], Any]

NOT_TOOLS = ("reset", "get_reward")
"""Public methods of an environment that are not tools."""


class Toolbox:
    """What the rollouts of an agent may call.

    It keeps its environments: one instance for each rollout of a batch, which is reset before it is used again.

    Args:
        tools: functions with type hints and a docstring.
        environment_factory: makes an environment; or a dict of several, from which the column ``environment`` of a row
            chooses. Public methods of an environment are tools; ``reset(**row)`` begins a rollout, and may return a
            text that is added to the prompt; ``get_reward()`` scores it.

    Raises:
        ConfigError: an environment has no ``reset``.
    """

    def __init__(
        self,
        tools: Sequence[Tool] | None = None,
        environment_factory: Factory | Mapping[str, Factory] | None = None,
    ) -> None:
        self.tools = list(tools or [])
        self.several = isinstance(environment_factory, Mapping)
        self.factories: Mapping[Any, Factory] | None = None
        self.pools: dict[Any, list[Any]] = {}
        if environment_factory is None:
            return
        self.factories = (
            environment_factory if isinstance(environment_factory, Mapping) else {None: environment_factory}
        )
        for name, factory in self.factories.items():
            self.pools[name] = [factory()]
            if not callable(getattr(self.pools[name][0], "reset", None)):
                raise ConfigError("an environment needs a method reset(**row), which begins a rollout; add one")

    @property
    def of_environments(self) -> dict[Any, list[Tool]]:
        """Name of an environment → all tools of a rollout in it; empty without environments."""
        return {name: self.of(pool[0]) for name, pool in self.pools.items()}

    def of(self, environment: Any) -> list[Tool]:
        """All tools of a rollout in this environment (None: outside of one)."""
        return self.tools + ([] if environment is None else methods_of(environment))

    @property
    def all_tools(self) -> list[Tool]:
        """The tools, and those of all environments."""
        return self.tools + [method for pool in self.pools.values() for method in methods_of(pool[0])]

    def names(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The name of each row's environment; None where there is only one, or none.

        Raises:
            ConfigError: a row names an environment that is not there.
        """
        names = [row.get("environment") if self.several else None for row in rows]
        for name in set(names) - set(self.pools or [None]):
            raise ConfigError(
                f"a row has the environment {name!r}, which is not among the environments {', '.join(self.pools)}"
            )
        return names

    def take(self, names: Sequence[Any]) -> list[Any]:
        """An instance of each named environment, all of them different ones; None without environments."""
        if self.factories is None:
            return [None] * len(names)
        used: Counter[Any] = Counter()
        taken = []
        for name in names:
            if used[name] == len(self.pools[name]):
                self.pools[name].append(self.factories[name]())
            taken.append(self.pools[name][used[name]])
            used[name] += 1
        return taken

    def reset(self, environment: Any, row: Mapping[str, Any]) -> tuple[Prompt, Any]:
        """Begins a rollout.

        Returns:
            The row's bare prompt with what the environment said, and that alone (None: nothing).
        """
        prompt: Prompt = row.get("prompt", NO_PROMPT)
        said = environment.reset(
            **{name: value for name, value in row.items() if not self.several or name != "environment"}
        )
        return (prompt if said is None else with_observation(prompt, said)), said


def methods_of(environment: Any) -> list[Tool]:
    """The methods of an environment that are tools."""
    names = [name for name, _ in inspect.getmembers(type(environment), predicate=inspect.isfunction)]
    return [getattr(environment, name) for name in names if name not in NOT_TOOLS and not name.startswith("_")]


def with_observation(prompt: Prompt, said: Any) -> Prompt:
    """The prompt with an environment's text, or list of parts, at the end of its last message (TRL's rule)."""
    assert not isinstance(prompt, str)
    content = prompt[-1]["content"]
    if isinstance(said, list) and isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if isinstance(said, str) and isinstance(content, list):
        said = [{"type": "text", "text": said}]
    return [*prompt[:-1], {**prompt[-1], "content": content + said}]
