"""With tools and environments too, training's evaluation, `p2o eval`, `p2o evolve` and `p2o screen` agree to the
sample."""

import json
import math
from pathlib import Path

import pytest

from one_policy import share_in_all_commands
from p2o.data import load_samples
from p2o.errors import ConfigError
from p2o.runs.building import rewards_of
from p2o.runs.fixed_policy import fixed_policy
from p2o.runs.recipe import load_recipe

TOLD = "Use the calculator. One operation at a time. Go on with the result. State the last result."

DESK = '''
from p2o.generation.calculator import calc as calculate


class Desk:
    """A desk with a calculator on it."""

    def reset(self, answer, asked, **row):
        self.answer, self.results = answer, []
        return asked

    def calc(self, sum: str) -> str:
        """Calculates one operation.

        Args:
            sum: Two whole numbers with a sign between them.
        """
        self.results.append(calculate(sum))
        return self.results[-1]

    def get_reward(self):
        """Whether the right number was shown on the desk."""
        return float(self.answer in self.results)
'''


@pytest.fixture(params=["tools", "environment"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command line's words for a recipe whose 12 first questions hold the instructions, and the next 6 do not."""
    (tmp_path / "desk.py").write_text(DESK)
    says = request.param == "environment"  # the environment asks the question
    rows = []
    for n, sample in enumerate(load_samples("builtin:sandbox-tools/test")[:18]):
        before, asked = TOLD if n < 12 else "Be brief.", f"\n\n{sample.question}"
        prompt = before if says else before + asked
        rows.append({"id": sample.id, "prompt": prompt, "answer": sample.answer, "asked": asked})
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    desk = ["--tools", "[]", "--environment", f"{tmp_path / 'desk.py'}:Desk", "--rewards", "[]"]
    return [
        "quickstart-tools", "--train", str(data), "--eval", str(data), "--test", str(data),
        "--output_dir", str(tmp_path / "out"), "--hard_min_count", "2", "--dev_size", "9", "--evolve_budget", "40",
        "--evolve_max_iterations", "1", "--evolve_parents", "2", "--per_device_train_batch_size", "18", "--tau", "6",
        "--evolve_batch_size", "8", *(desk if says else []),
    ]  # fmt: skip


def test_all_commands_agree_to_the_sample(options: list[str], tmp_path: Path) -> None:
    share, failed = share_in_all_commands("builtin:sandbox-tools", options, tmp_path)
    assert failed == pytest.approx(1 - share)
    assert 0.4 < share < 0.7  # where the instructions stand, and only there


def test_without_its_tools_the_policy_solves_nothing(tmp_path: Path) -> None:
    """The comparison above can fail: it is the calculator that makes the right answers."""
    words = ["--tools", "[]"]
    recipe = load_recipe("quickstart-tools", words)
    samples = load_samples("builtin:sandbox-tools/test")[:12]
    played = fixed_policy(recipe, "builtin:sandbox-tools", rewards_of(recipe))
    assert not any(r.solved for r in played.roll_out(0.0)([(TOLD, s) for s in samples]))
    recipe = load_recipe("quickstart-tools")
    played = fixed_policy(recipe, "builtin:sandbox-tools", rewards_of(recipe))
    assert sum(r.solved for r in played.roll_out(0.0)([(TOLD, s) for s in samples])) >= 10


def test_the_probabilities_of_the_policys_own_tokens() -> None:
    """What the screen's reach is made of: the calculator's tokens are not among them, and bare the four choices are
    unlikely."""
    recipe = load_recipe("quickstart-tools")
    played = fixed_policy(recipe, "builtin:sandbox-tools", rewards_of(recipe))
    pairs = [(TOLD, s) for s in load_samples("builtin:sandbox-tools/test")[:6]]
    completions = [completion for completion, _ in played.scored(pairs, 0.0)]
    under = played.token_logps(pairs, completions, 1.0)
    bare = played.token_logps([("", s) for _, s in pairs], completions, 1.0)
    assert [len(row) for row in under] == [c.completion_tokens for c in completions]
    assert all(len(row) < len(c.ids) for row, c in zip(under, completions, strict=True))
    assert min(min(row) for row in under) > math.log(0.5)  # drawn greedily from these prompts
    for row in bare:
        rare = [math.exp(logp) for logp in row if logp < math.log(0.5)]
        assert len(rare) == 4
        assert all(0.005 < p < 0.15 for p in rare)


def test_a_served_policy_with_tools_is_refused_in_a_sentence() -> None:
    recipe = load_recipe("quickstart-tools", ["--policy_base_url", "http://127.0.0.1:9/v1"])
    with pytest.raises(ConfigError, match="a served policy answers in one turn, and the recipe quickstart-tools names"):
        fixed_policy(recipe, "some-model", rewards_of(recipe))
