"""What a user's method raises is one sentence with file and line; what its rollouts raise is not the method's."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2o.base.text import shorten
from p2o.core.evolve import Reply
from p2o.core.loop import JointLoop
from p2o.core.methods import PromptTools
from p2o.core.samples import Sample
from p2o.core.settings import LoopSettings
from p2o.errors import ConfigError, RewardError

SAMPLES = {str(n): Sample(str(n), [{"role": "user", "content": f"{n}?"}], str(n)) for n in range(3)}
SOURCE = """
from p2o.core.methods import Method

class Mine(Method):
    def {signature}:
        {body}
"""
SIGNATURES = {
    "__init__": "__init__(self, *args)",
    "order": "order(self, ids, epoch)",
    "prompts": "prompts(self, sample_id)",
    "credit": "credit(self, epoch)",
    "rolls_out": "rolls_out(self, tallies)",
    "between_epochs": "between_epochs(self, end)",
    "state_dict": "state_dict(self)",
    "load_state_dict": "load_state_dict(self, state)",
    "pool": "pool(self)",
}


TOOLS = PromptTools(lambda pairs: shorten(None, 3), lambda jobs: [Reply("x") for _ in jobs])  # type: ignore[arg-type]
"""Their rollouts break in a function of the package."""


def use_every_hook(folder: Path, hook: str, body: str) -> None:
    """A loop with a method of one hook, from its first order to its state."""
    place = folder / "mine.py"
    place.write_text(SOURCE.format(signature=SIGNATURES[hook], body=body))
    loop = JointLoop(LoopSettings(method=f"{place}:Mine"), SAMPLES, folder, group_size=2, seed=0)
    loop.order(list(SAMPLES), 0)
    loop.credit()
    for sample_id in SAMPLES:
        loop.record(sample_id, [0.0, 1.0], [False, False])
    loop.rolls_out_next()
    loop.prompt_step(TOOLS)
    loop.load_state_dict(loop.state_dict())


@pytest.mark.parametrize("hook", SIGNATURES)
def test_what_a_hook_raises_is_one_sentence_with_its_line(tmp_path: Path, hook: str) -> None:
    with pytest.raises(ConfigError) as caught:
        use_every_hook(tmp_path, hook, "return {}['no such key']")
    said = str(caught.value)
    assert f"{tmp_path / 'mine.py'}:Mine: '{hook}' raised KeyError: 'no such key'" in said
    assert f"(in {tmp_path / 'mine.py'}, line 6)" in said
    assert "\n" not in said


def test_a_library_called_by_a_hook_is_told_with_the_hooks_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"JSONDecodeError.*mine.py, line 6"):
        use_every_hook(tmp_path, "order", "return __import__('json').loads('{')")


def test_what_rollouts_raise_is_not_the_methods(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        use_every_hook(tmp_path, "between_epochs", "end.tools.roll_out([])")


def test_a_sentence_stays_as_it_is(tmp_path: Path) -> None:
    body = "raise __import__('p2o.errors').errors.RewardError('one sentence')"
    with pytest.raises(RewardError, match=r"^one sentence$"):
        use_every_hook(tmp_path, "order", body)


def test_a_hook_that_exits_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'order' raised SystemExit: 3 "):
        use_every_hook(tmp_path, "order", "raise SystemExit(3)")
