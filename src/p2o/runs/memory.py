"""How much GPU memory a recipe wants, estimated from its model's shape. No weights are loaded.

A rule of thumb, printed before a GPU is rented: the parts that decide (weights, optimizer, logits, the engine's share),
not the allocator's last gigabyte.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.methods import evolves_templates
from ..errors import ConfigError
from ..generation.models import PREFIX, resolve_model
from ..generation.size import parameters_of

if TYPE_CHECKING:
    from .recipe import Recipe

GB = 1e9
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
ADAM_BYTES = 8
"""Two float32 moments of one trained parameter."""


@dataclass(frozen=True)
class Shape:
    """What the estimate needs to know of a model."""

    parameters: float
    vocabulary: int | None = None
    hidden: int | None = None
    layers: int | None = None
    exact: bool = False
    """Counted from the model's configuration (else read off its name)."""


def model_shape(name: str) -> Shape | None:
    """The shape of a model: from its ``config.json`` when that is on this machine, else from a name such as
    Qwen3-4B; None when neither says it."""
    try:
        folder = Path(resolve_model(name)) if name.startswith(PREFIX) else Path(name).expanduser()
    except ConfigError:
        return None
    if (folder / "config.json").is_file():
        return _from_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    found = re.findall(r"(\d+(?:\.\d+)?)\s*([BM])(?![a-z])", name.rpartition("/")[2], re.IGNORECASE)
    if not found:
        return None
    number, unit = found[-1]
    return Shape(float(number) * (1e9 if unit.upper() == "B" else 1e6))


def _from_config(config: dict[str, Any]) -> Shape | None:
    parameters = parameters_of(config)
    if parameters is None:
        return None
    return Shape(parameters, config["vocab_size"], config["hidden_size"], config["num_hidden_layers"], exact=True)


def lora_parameters(shape: Shape, rank: int) -> float:
    """Parameters of adapters on all linear layers: about 2 r / h of each of them (square ones), 3 % at most."""
    return min(shape.parameters * 2 * rank / (shape.hidden or 2048), 0.03 * shape.parameters)


def memory(recipe: Recipe, processes: int) -> list[tuple[str, float]]:
    """(part, GB on each of ``processes`` GPUs), for weights and optimizer sharded over them; empty when the model's
    size is not known."""
    training, model = recipe.training, recipe.model
    shape = model_shape(str(model.model_name_or_path))
    if shape is None:
        return []
    weight = BYTES.get(str(model.dtype), 4)
    trained = lora_parameters(shape, model.lora_r) if model.use_peft else shape.parameters
    trained_weight = 4 if model.use_peft else weight
    parts = [("weights", shape.parameters * weight / processes / GB)]
    if model.use_peft:
        parts.append(("adapter", trained * trained_weight / processes / GB))
    # Adam keeps its moments in the weights' type.
    moments = ADAM_BYTES * trained_weight / 4
    parts.append(("gradients and Adam", trained * (trained_weight + moments) / processes / GB))
    if recipe.task.reflector == "self" and not model.use_peft and evolves_templates(training.method):
        parts.append(("starting policy, while it reflects", shape.parameters * weight / GB))
    rows, tokens = training.per_device_train_batch_size, training.max_completion_length or 0
    # Logits in the forward's type and their gradient and log-softmax in float32; 150,000 is a usual vocabulary.
    parts.append(("logits of a micro-batch", rows * tokens * (shape.vocabulary or 150_000) * 8 / GB))
    if shape.layers and shape.hidden:
        kept = shape.layers if training.gradient_checkpointing else 16 * shape.layers
        parts.append(("activations of a micro-batch", rows * tokens * shape.hidden * kept * 2 / GB))
    return parts
