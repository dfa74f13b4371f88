"""Whether a recipe can run on this machine: asked before a model is loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.spelling import nearest
from ..base.text import one_line
from ..errors import ConfigError
from ..generation.models import resolve_model
from ..generation.settings import read_chat_template
from .gpu import gpu_is_here
from .paths import is_path

if TYPE_CHECKING:
    from ..trl.config import P2OConfig
    from .recipe import Recipe

PACKAGES = {
    "azure_ml": "azureml-sdk", "comet_ml": "comet-ml", "flyte": "flytekit", "liger_kernel": "liger-kernel",
    "vllm": "'p2o-rl[vllm]'",
}  # fmt: skip
"""What pip installs for a tracker or a module of another name."""


def check_machine(recipe: Recipe) -> None:
    """Checks that a recipe can run here.

    Raises:
        ConfigError: it needs a GPU, another number of processes, a package or a model folder that is not here; or its
            optimizer and its schedule do not take their settings.
    """
    training = recipe.training
    if not training.use_cpu and not gpu_is_here():
        raise ConfigError(
            f"the recipe {recipe.name} is for a GPU, and there is none on this machine; add --use_cpu true --bf16 "
            "false (and --use_vllm false) to train on the CPU, or --dry-run to see its plan"
        )
    wanted, running = recipe.task.processes, training.world_size
    if wanted is not None and wanted != running:
        raise ConfigError(
            f"the recipe {recipe.name} is made for {wanted} process{'' if wanted == 1 else 'es'}, and {running} "
            f"{'is' if running == 1 else 'are'} running; start as many, or set --processes {running} and "
            "steps_per_generation and gradient_accumulation_steps so that a batch stays what it was"
        )
    for sentence in missing_packages(recipe):
        raise ConfigError(sentence)
    if recipe.model.model_name_or_path:
        check_model_folder(recipe.model.model_name_or_path)
    if training.chat_template_path:
        read_chat_template(training.chat_template_path)
    check_optimizer(training)
    check_loading(training)


def is_installed(module: str) -> bool:
    """Whether a module can be imported, without doing so."""
    return importlib.util.find_spec(module) is not None


def missing_packages(recipe: Recipe) -> list[str]:
    """A sentence for each package that the recipe needs and this machine lacks.

    Raises:
        ConfigError: report_to names a tracker that there is not.
    """
    training, model = recipe.training, recipe.model
    needed = {
        "vllm": "use_vllm" if training.use_vllm else "",
        "bitsandbytes": "load_in_4bit" if model.load_in_4bit else "load_in_8bit" if model.load_in_8bit else "",
        "liger_kernel": "use_liger_kernel" if training.use_liger_kernel else "",
        "deepspeed": "deepspeed" if training.deepspeed else "",
    }
    sentences = [
        f"{key} needs {module}, which is not installed here: pip install {PACKAGES.get(module, module)}"
        for module, key in needed.items()
        if key and not is_installed(module)
    ]
    return sentences + [
        f"report_to names {tracker}, which is not installed here: pip install {PACKAGES.get(tracker, tracker)}, or set "
        "report_to to none"
        for tracker in missing_trackers(training)
    ]


def missing_trackers(training: P2OConfig) -> list[str]:
    """The trackers of ``report_to`` that are not installed.

    Raises:
        ConfigError: there is no such tracker.
    """
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    asked: list[str] = [tracker or "null" for tracker in training.report_to or []]
    for tracker in asked:
        if tracker not in INTEGRATION_TO_CALLBACK:
            known = sorted(INTEGRATION_TO_CALLBACK)
            near = nearest(tracker, known)
            raise ConfigError(
                f"report_to names {tracker!r}, which is no tracker{near}; use none, or some of {', '.join(known)}"
            )
    here = {*get_available_reporting_integrations(), *(["flyte"] if is_installed("flytekit") else [])}
    return [tracker for tracker in asked if tracker not in here]


def check_model_folder(name: str) -> None:
    """Checks a model's name that is written as a path, which the hub need not be asked about.

    Raises:
        ConfigError: there is no such folder, or it holds no model.
    """
    folder = Path(resolve_model(name)).expanduser()
    if folder.is_dir() and not any((folder / file).is_file() for file in ("config.json", "adapter_config.json")):
        raise ConfigError(
            f"cannot load the model {name!r}: the folder holds no config.json; give a folder with a checkpoint"
        )
    if is_path(name) and not folder.is_dir():
        raise ConfigError(f"cannot load the model {name!r}: there is no such folder; give a folder with a checkpoint")


def check_optimizer(training: P2OConfig) -> None:
    """Makes the optimizer and the schedule for one number, as HF's trainer will make them for the model.

    Raises:
        ConfigError: they lack a package, or do not take their settings.
    """
    import torch
    from transformers import Trainer, get_scheduler

    model = torch.nn.Linear(1, 1)
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(training, model)
        if options.keys() & {"params", "model", "optimizer_dict"}:  # made for the layers of a model
            return
        optimizer = kind(model.parameters(), **options)
    except Exception as error:  # of many libraries, about the settings alone
        raise ConfigError(f"optim {_name(training.optim)} cannot be used: {one_line(str(error))}") from error
    try:
        steps = training.max_steps if training.max_steps > 0 else 1_000_000
        get_scheduler(
            training.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=training.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=training.lr_scheduler_kwargs,
        )
    except Exception as error:
        name = _name(training.lr_scheduler_type)
        raise ConfigError(f"lr_scheduler_type {name} cannot be used: {one_line(str(error))}") from error


def check_loading(training: P2OConfig) -> None:
    """Makes a data loader, and asks the compiler for a function, as HF's trainer will do for the data and the model.

    Raises:
        ConfigError: the settings do not fit together.
    """
    import torch

    workers = training.dataloader_num_workers
    try:
        torch.utils.data.DataLoader(
            [0],  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=training.dataloader_persistent_workers,
            prefetch_factor=training.dataloader_prefetch_factor,
            multiprocessing_context=training.dataloader_multiprocessing_context,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the keys dataloader_… do not fit together: {one_line(str(error))}") from error
    if training.torch_compile:
        options = {"backend": training.torch_compile_backend, "mode": training.torch_compile_mode}
        try:
            torch.compile(lambda x: x, **{k: v for k, v in options.items() if v is not None})  # type: ignore[call-overload]
        except Exception as error:  # of a backend that may be anybody's
            raise ConfigError(f"torch_compile cannot be used: {one_line(str(error))}") from error


def _name(member: object) -> object:
    return getattr(member, "value", member)
