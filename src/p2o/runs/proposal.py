"""A first recipe for a user's data (``p2o init``): which columns it has, and settings for its number of samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..base.text import counted
from ..data import FALLBACK_PROMPT_COLUMNS, DataRow
from ..errors import DataError
from ..generation.models import PREFIX
from ..rewards import number
from .machine import is_installed
from .paths import as_seen_from
from .schema import MODELINE, schema_file

PROMPT_NAMES = ("prompt", *FALLBACK_PROMPT_COLUMNS, "query", "instruction", "input")
ANSWER_NAMES = ("answer", "final_answer", "ground_truth", "gold", "target", "label", "solution", "output", "response")
VERL_ANSWER = "reward_model"
"""verl's column with the answer, which is found by itself."""

GROUP = 6
"""K, rollouts of a sample (the paper's)."""
UPDATES = 100
"""Fewer updates than this teach the bare prompt little."""
EPOCHS, MOST_EPOCHS = 5, 20
MODEL = "Qwen/Qwen3-4B"
"""The paper's."""

SANDBOX = f"{PREFIX}sandbox"
"""The names of the built-in policies that write no language begin with it."""
FOLLOW_PHRASES = (SANDBOX, f"{SANDBOX}-switch")
"""Those that were made to follow these phrases."""
PHRASES = ("Show your work.", "Go from right to left.", "Carry the ones.", "State the total at the end.", "Be brief.")


@dataclass(frozen=True)
class Proposed:
    """A line of a recipe: a key, its value, and why."""

    key: str
    value: Any
    why: str


def find_columns(source: str, rows: Sequence[DataRow], given: Mapping[str, Any]) -> dict[str, str]:
    """The columns of the prompt and the answer, by name (``prompt_column``, ``answer_column``).

    Args:
        given: settings of the user, which may name them.

    Raises:
        DataError: the data has none of the usual names.
    """
    present = list(dict.fromkeys(name for row in rows for name in row))
    found = {}
    for key, names in (("prompt_column", PROMPT_NAMES), ("answer_column", ANSWER_NAMES)):
        column = given.get(key) or next((name for name in names if name in present), None)
        if column is None and not (key == "answer_column" and VERL_ANSWER in present):
            raise DataError(
                f"{source} has no column named like {'a prompt' if key == 'prompt_column' else 'an answer'} (it has "
                f"{', '.join(present)}); name it with --{key}"
            )
        if column is not None:
            found[key] = str(column)
    return found


def propose_reward(answers: Sequence[Any]) -> Proposed:
    """The built-in reward that fits the answers; a list holds several right ones."""
    texts = [str(text).strip() for answer in answers for text in (answer if isinstance(answer, list) else [answer])]
    if all(number(text) is not None for text in texts):
        return Proposed("rewards", ["last_number"], "all answers are numbers: the last number of a completion counts")
    if any(set(text) & set("\\$^=") for text in texts):
        return Proposed("rewards", ["math"], "the answers are formulas; boxed asks for them inside \\boxed{}")
    return Proposed("rewards", ["exact"], "the whole completion must be the answer; your own: file.py:function")


def propose_training(samples: int, group: int = GROUP, small: bool = False) -> list[Proposed]:
    """Settings that follow from the number of training samples.

    Args:
        samples: N, rows of the training data.
        group: K, rollouts of a sample.
        small: whether the model is so small that a whole batch fits into memory at a time.
    """
    # Six updates an epoch or more, and at most the paper's 64 samples in one: 96 samples -> 16, 1,000 -> 64.
    batch = min(64, 2 ** int(math.log2(max(1, samples / 6))))
    updates = max(1, samples // batch)
    epochs = min(MOST_EPOCHS, max(EPOCHS, math.ceil(UPDATES / updates)))
    # What the shipped recipes have: 16 of 160 samples, 40 of 1,000, 60 of 2,000, 100 of 5,000.
    hard = max(2, min(100, round(1.4 * math.sqrt(samples)), samples // 4))
    # 300 of 5,000 (the paper), 60 of 1,000; not under 32, where one sample is three points, nor over a third.
    dev = max(1, min(300, max(32, round(0.06 * samples)), samples // 3))
    # The paper: 37 % of an epoch's rollouts. In a small set, what a dozen templates cost: each is compared with its
    # parent on a minibatch of 3 (6 rollouts), and then scored on the dev part.
    budget = max(dev + 12 * (dev + 6), round(0.3 * samples * group))
    share = budget / (updates * batch * group)  # as the plan counts an epoch: of full batches
    rows, steps = (group * batch, 1) if small else (1, group * batch)
    return [
        Proposed("num_generations", group, "K, rollouts of one sample; more find rarer successes, and cost more"),
        Proposed("per_device_train_batch_size", rows, "rollouts in memory at a time; raise it while there is room"),
        Proposed("gradient_accumulation_steps", steps, f"x the line above / K = {counted(batch, 'sample')} an update"),
        Proposed("num_train_epochs", epochs, f"of {counted(updates, 'update')} each: a run needs about {UPDATES}"),
        Proposed("tau", min(2, group), "hard: at most tau - 1 of the K rollouts solved"),
        Proposed("evolve_when", "stuck", "no evolution while GRPO finds more and more successes by itself"),
        Proposed("hard_min_count", hard, "no evolution for fewer hard samples than this"),
        Proposed("dev_size", dev, "hard samples on which templates are scored"),
        Proposed("evolve_budget", budget, f"rollouts of one evolution, {share:.0%} of an epoch's"),
        Proposed("withdrawal", "graduated", "a sample keeps its templates until a bare rollout is solved"),
        Proposed("scale_steps", True, "a batch of little signal moves the weights little: less is forgotten"),
        Proposed("warm_start", True, "the next evolution begins with the templates of the last"),
        Proposed("fill_proposals", True, "many templates at a time from the first iteration"),
        Proposed("evolve_search", "race", "rollouts go where the comparison of templates is undecided"),
        Proposed("evolve_patience", 2, "an evolution ends when its pool gets no better in two iterations"),
    ]


def propose_machine(model: str) -> list[Proposed]:
    """Settings for a built-in model on a CPU, or for any other one on a GPU."""
    length = Proposed("max_completion_length", 64 if is_small(model) else 2048, "tokens; what is cut there fails")
    shared = Proposed("share_prompts", True, "without vLLM: the prompt of a group is computed once")
    if is_small(model):
        return [
            length,
            Proposed("learning_rate", 3.0e-4, "large, for a very small model"),
            Proposed("lr_scheduler_type", "constant", "the last epochs matter most: templates come late"),
            Proposed("logging_steps", 1, "an update takes a second"),
            Proposed("evolve_batch_size", 256, "completions that are drawn at a time"),
            shared,
            Proposed("use_cpu", True, "for a GPU remove this line and the next two"),
            Proposed("bf16", False, ""),
            Proposed("gradient_checkpointing", False, ""),
        ]
    return [
        length,
        Proposed("learning_rate", 2.0e-5, "LoRA: twice the usual, scale_steps shortens steps; without LoRA 2.0e-6"),
        Proposed("use_peft", True, "LoRA: an adapter is trained, which fits one GPU"),
        Proposed("lora_r", 32, ""),
        Proposed("lora_alpha", 64, ""),
        Proposed("lora_dropout", 0.0, "with dropout, rollouts without advantage must be trained too"),
        Proposed("lora_target_modules", "all-linear", ""),
        Proposed("dtype", "bfloat16", "of the frozen weights"),
        Proposed("use_vllm", is_installed("vllm"), "true: much faster rollouts; pip install 'p2o-rl[vllm]'"),
        shared,
        Proposed("processes", 1, "GPUs; for N of them, divide gradient_accumulation_steps by N"),
        Proposed("save_strategy", "epoch", "a checkpoint after each epoch"),
    ]


def is_small(model: str) -> bool:
    """Whether a model is a built-in one, which runs on a CPU."""
    return model.startswith(PREFIX)


def propose_reflector(model: str) -> list[Proposed]:
    """Who writes the templates: the model itself, if it can write."""
    if not model.startswith(SANDBOX):
        return [Proposed("reflector", "self", "the starting model; a stronger one at an endpoint: openai")]
    why = "this model is too small to write; the reflector combines phrases (reflector_phrases)"
    known = [Proposed("reflector_phrases", list(PHRASES), "")] if model in FOLLOW_PHRASES else []
    return [Proposed("reflector", "phrases", why), *known]


def recipe_text(
    source: str, rows: Sequence[DataRow], given: Mapping[str, Any], folder: Path, samples: int | None = None
) -> str:
    """A commented recipe for a data source.

    Args:
        rows: of the source, as they stand in it.
        given: settings of the user, with paths as seen from the working directory; they hold in place of the
            proposed ones.
        folder: where the recipe will stand, and its relative paths begin.
        samples: how many of the rows can be used; None: all.

    Raises:
        DataError: there are no rows; or see `find_columns`.
    """
    if not rows:
        raise DataError(f"{source} holds no rows; give a data set with at least one")
    samples = samples or len(rows)
    model = str(given.get("model_name_or_path", MODEL))
    group = given.get("num_generations")
    training = propose_training(samples, group if isinstance(group, int) and group > 1 else GROUP, is_small(model))
    sections = {
        "The task": [
            Proposed("model_name_or_path", model, "a name of the hub, a folder, or builtin:sandbox"),
            Proposed("train", source, counted(len(rows), "row")),
            Proposed("test", None, "a file with held-out rows: p2o eval and compare need one"),
            *_task(source, rows, given),
        ],
        "GRPO": [*training[:4], *propose_machine(model)],
        "P²O": training[4:],
        "Who writes the templates": propose_reflector(model),
    }
    proposed = {line.key for lines in sections.values() for line in lines}
    if others := [Proposed(k, v, "") for k, v in given.items() if k not in proposed]:
        sections["As asked for"] = others
    text = [
        f"{MODELINE}{schema_file()}",
        f"# Made by p2o init for {counted(samples, 'sample')}: a first guess, not tuned.",
        "# First ask whether P²O is worth it here: p2o screen THIS_FILE. All keys: p2o keys",
    ]
    for title, lines in sections.items():
        text += ["", f"# {title}", *(_line(line, given, folder) for line in lines)]
    return "\n".join(text) + "\n"


def _task(source: str, rows: Sequence[DataRow], given: Mapping[str, Any]) -> list[Proposed]:
    columns = find_columns(source, rows, given)
    answers = [row.get(columns["answer_column"]) for row in rows] if "answer_column" in columns else []
    return [*(Proposed(key, column, "") for key, column in columns.items()), propose_reward(answers)]


def _line(line: Proposed, given: Mapping[str, Any], folder: Path) -> str:
    value = as_seen_from(folder, line.key, given.get(line.key, line.value))
    text = (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n...\n").strip()
    )
    if "\n" in text:
        text = json.dumps(value, ensure_ascii=False)
    shown = f"{line.key}: {text}"
    return f"{shown:<34} # {line.why}" if line.why and line.key not in given else shown
