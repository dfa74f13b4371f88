"""Training's own evaluation, `p2o eval`, `p2o evolve` and `p2o screen` agree to the sample, on odd checkpoints too."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from one_policy import share_in_all_commands
from p2o.data import load_samples
from p2o.generation.models import resolve_model
from p2o.runs.fixed_policy import fixed_policy
from p2o.runs.recipe import load_recipe

THINKING = "{%- if enable_thinking is not defined or enable_thinking -%}{%- set before = '12 + 12 = ' -%}{%- else -%}" \
    "{%- set before = '' -%}{%- endif -%}"  # fmt: skip


def with_generation(folder: Path, **changes: Any) -> list[str]:
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return []


def repetition_penalty(folder: Path) -> list[str]:
    return with_generation(folder, repetition_penalty=3.0, no_repeat_ngram_size=1)


def another_eos(folder: Path) -> list[str]:
    digit = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("1")
    return with_generation(folder, eos_token_id=[digit])


def no_eos(folder: Path) -> list[str]:
    return with_generation(folder, eos_token_id=None)


def thinking_off(folder: Path) -> list[str]:
    path = folder / "chat_template.jinja"
    path.write_text(THINKING + path.read_text().replace("'<u>' +", "'<u>' + before +"))
    return ["--chat_template_kwargs", "{enable_thinking: false}"]


def chat_template_elsewhere(folder: Path) -> list[str]:
    shutil.move(folder / "chat_template.jinja", folder.parent / "chat.jinja")
    return ["--chat_template_path", str(folder.parent / "chat.jinja")]


ODD = (repetition_penalty, another_eos, no_eos, thinking_off, chat_template_elsewhere)


@pytest.fixture(params=ODD, ids=lambda f: f.__name__)
def options(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command line's words for a recipe on an odd checkpoint, with 16 easy and 8 hard sums as all of its data."""
    folder = tmp_path / "policy"
    shutil.copytree(resolve_model("builtin:sandbox"), folder)
    more = request.param(folder)
    samples = load_samples("builtin:sandbox/test")
    chosen = [s for s in samples if s.columns["level"] == "easy"][:16]
    chosen += [s for s in samples if s.columns["level"] == "hard"][:8]
    rows = [{"id": s.id, "prompt": list(s.messages), "answer": s.answer, "level": s.columns["level"]} for s in chosen]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "quickstart", "--model_name_or_path", str(folder),
        "--train", str(data), "--eval", str(data), "--test", str(data),
        "--output_dir", str(tmp_path / "out"), "--hard_min_count", "2", "--dev_size", "12", "--evolve_budget", "60",
        "--evolve_max_iterations", "1", "--evolve_parents", "2", "--per_device_train_batch_size", "24", "--tau", "6",
        *more,
    ]  # fmt: skip


def test_all_commands_agree_to_the_sample(options: list[str], tmp_path: Path) -> None:
    share, failed = share_in_all_commands(options[1 + 1], options, tmp_path)
    assert failed == 1 - share


def test_the_odd_checkpoints_are_odd() -> None:
    """Without their settings the figures would differ: the comparison above can fail."""
    recipe = load_recipe("quickstart")
    policy = fixed_policy(recipe, "builtin:sandbox", None)  # type: ignore[arg-type]
    easy = [s for s in load_samples("builtin:sandbox/test") if s.columns["level"] == "easy"][:16]
    texts = [c.text for c in policy.policy.complete([s.messages for s in easy], 0.0)]
    assert sum(t.strip() == s.answer for t, s in zip(texts, easy, strict=True)) >= 14
