"""Methods that verl cannot train are refused. Without verl."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2o.core.credit import Credit, KlTerm
from p2o.core.given import Given
from p2o.core.methods import Method, load_method
from p2o.core.methods.known import METHODS
from p2o.errors import ConfigError
from p2o.verl.method_check import CREDIT, HOOKS, check_credits, check_given, check_hooks

MINE = """
from p2o.core.given import Given
from p2o.core.methods import Method

class Mine(Method):
    def weigh(self):
        return 3

    def order(self, ids, epoch):
        return ids
"""


def test_a_hook_that_verl_does_not_call_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    name = f"{tmp_path}/mine.py:Mine"
    check_hooks(load_method(name), name)  # what is no hook is the method's own affair
    monkeypatch.setattr(Method, "weigh", lambda self: None, raising=False)  # a hook that verl does not know
    with pytest.raises(ConfigError, match=r"acts within a training step, which verl makes itself \(weigh\); train"):
        check_hooks(load_method(name), name)
    check_hooks(load_method("p2o"), "p2o")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_of_the_package_runs_on_verl_or_is_refused(name: str) -> None:
    method = load_method(name)
    if method.needs_trl or method.redraws:
        with pytest.raises(ConfigError, match=f"p2o.method={name} acts within a training step"):
            check_hooks(method, name)
    else:
        check_hooks(method, name)


def test_a_credit_with_a_term_that_verl_has_no_figures_for_is_refused() -> None:
    check_credits([Credit(), Credit(old_logps="templated", drop_failed=True)], "mine")
    with pytest.raises(ConfigError, match="method mine gives a Credit with 'kl'"):
        check_credits([Credit(), Credit(kl=KlTerm(1.0, 20, 10.0))], "mine")


def test_a_method_that_gives_whole_completions_is_refused() -> None:
    with pytest.raises(ConfigError, match="method mine gives completions in place of rollouts"):
        check_given({"a": ["", ""], "b": ["", Given("7")]}, "mine")
    check_given({"a": ["", "Think."]}, "mine")


def test_what_runs_on_verl_are_names_of_hooks_and_credits() -> None:
    assert set(HOOKS) - {"given"} <= vars(Method).keys()
    assert set(CREDIT) <= vars(Credit()).keys()
