"""Whether the installed TRL is one that `P2OTrainer` can wrap.

`P2OTrainer` wraps methods that TRL does not promise to keep. Their signatures are checked when p2o's trainer is
imported. A TRL that has them is accepted; one that lacks them is refused, and the message names the difference. An
untested version that has them is accepted with a warning.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

from packaging.version import Version

from ..errors import VersionError

OLDEST, NEWEST = (1, 14, 2), (1, 16)
"""The oldest version, and the newest minor version, of TRL that are tested."""

METHODS: Mapping[str, Sequence[str]] = {
    "__init__": ("self", "model", "reward_funcs", "args", "train_dataset", "eval_dataset", "processing_class"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_generate_single_turn": ("self", "prompt_ids", "images", "multimodal_fields", "num_generations"),
    "_tokenize_prompts": ("self", "prompts"),
    "_generate": ("self", "prompts"),
    "_tool_call_loop": (
        "self", "prompts", "prompt_ids", "completion_ids", "completions", "logprobs", "images", "multimodal_fields",
    ),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_compute_loss": ("self", "model", "inputs"),
    "_get_per_token_logps_and_entropies": (
        "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size",
    ),
    "_get_train_sampler": ("self", "dataset"),
    "_set_signature_columns_if_needed": ("self",),
    "training_step": ("self", "model", "inputs", "num_items_in_batch"),
    "log": ("self", "logs", "start_time"),
}  # fmt: skip
"""Methods of GRPOTrainer that are wrapped or called, and the parameters with which they must begin."""


def contract_problems(trainer: Any) -> list[str]:
    """What is missing or different in a GRPOTrainer class, one sentence each; empty if nothing is."""
    problems = []
    for name, wanted in METHODS.items():
        method = getattr(trainer, name, None)
        if method is None:
            problems.append(f"GRPOTrainer has no method {name}")
            continue
        parameters = inspect.signature(method).parameters
        if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
            continue  # it passes its arguments on
        found = list(parameters)
        missing = [parameter for parameter in wanted if parameter not in found]
        if missing:
            problems.append(f"GRPOTrainer.{name} has no parameter {', '.join(missing)}")
        elif found[: len(wanted)] != list(wanted):
            problems.append(f"GRPOTrainer.{name} takes {', '.join(found)} instead of {', '.join(wanted)} first")
    return problems


def check_trl(installed: str, trainer: Any) -> None:
    """Checks an installed TRL.

    Args:
        installed: its version.
        trainer: its GRPOTrainer class.

    Raises:
        VersionError: a method that p2o wraps is missing or different.
    """
    oldest = ".".join(map(str, OLDEST))
    tested = f"TRL {oldest} to {NEWEST[0]}.{NEWEST[1]}"
    problems = contract_problems(trainer)
    if problems:
        raise VersionError(
            f"p2o cannot wrap TRL {installed} ({'; '.join(problems)}); it works with {tested}: run "
            f"pip install 'trl>={oldest},<{NEWEST[0]}.{NEWEST[1] + 1}'"
        )
    release = Version(installed).release
    if release < OLDEST or release[:2] > NEWEST:
        warnings.warn(
            f"p2o is tested with {tested}, and TRL {installed} is installed; it has all methods that p2o uses",
            stacklevel=2,
        )


check_trl(version("trl"), import_module("trl").GRPOTrainer)
