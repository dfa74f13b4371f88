"""Every key of TRL's ModelConfig and GRPOConfig: it has an effect, or is refused in one sentence. None is ignored."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import pytest
import transformers
import trl
from trl import GRPOConfig, ModelConfig

import p2o
from p2o.errors import ConfigError
from p2o.runs import building, machine
from p2o.runs.checks import NO_EFFECT, RANGES
from p2o.runs.reading import setting_words
from p2o.runs.recipe import load_recipe

PEFT = {"use_peft": True}
MODEL_KEYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "model_name_or_path": ("builtin:sandbox", {}),  # the default is none: see below
    "model_revision": ("v2", {}),
    "dtype": ("bfloat16", {}),
    "attn_implementation": ("eager", {}),
    "use_peft": (True, {}),
    "lora_r": (3, PEFT),
    "lora_alpha": (3, PEFT),
    "lora_dropout": (0.5, PEFT),
    "lora_target_modules": (["q_proj", "v_proj"], PEFT),
    "lora_target_parameters": (["mlp.weight"], PEFT),
    "lora_modules_to_save": (["lm_head"], PEFT),
    "lora_task_type": ("SEQ_CLS", PEFT),
    "use_rslora": (True, PEFT),
    "use_dora": (True, PEFT),
    "load_in_8bit": (True, PEFT),
    "load_in_4bit": (True, PEFT),
    "bnb_4bit_quant_type": ("fp4", {**PEFT, "load_in_4bit": True}),
    "use_bnb_nested_quant": (True, {**PEFT, "load_in_4bit": True}),
    "bnb_4bit_quant_storage": ("bfloat16", {**PEFT, "load_in_4bit": True}),
}  # fmt: skip
"""Key → (a value, the other keys that it goes with)."""


def made(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> str:
    """What the trainer of a recipe is made with, as text."""
    found: dict[str, Any] = {}

    def trainer(**arguments: Any) -> Any:
        found.update(arguments)
        return SimpleNamespace()

    monkeypatch.setattr("p2o.trl.trainer.P2OTrainer", trainer)
    building.trainer_of(load_recipe("quickstart", setting_words(settings)))
    args = found["args"]
    peft = found["peft_config"].to_dict() if found["peft_config"] else None
    init = {k: v.to_dict() if hasattr(v, "to_dict") else v for k, v in args.model_init_kwargs.items()}
    return str((found["model"], init, sorted(peft.items()) if peft else None))


@pytest.fixture
def with_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks for its version alone before it loads a model."""
    version, is_installed = importlib.metadata.version, machine.is_installed
    monkeypatch.setattr(importlib.metadata, "version", lambda n: "0.46.1" if n == "bitsandbytes" else version(n))
    monkeypatch.setattr(machine, "is_installed", lambda n: n == "bitsandbytes" or is_installed(n))


def test_all_keys_of_the_model_are_here() -> None:
    assert MODEL_KEYS.keys() == {f.name for f in fields(ModelConfig)}


@pytest.mark.usefixtures("with_bitsandbytes")
@pytest.mark.parametrize("key", [k for k in MODEL_KEYS if k not in ("model_name_or_path", "lora_task_type")])
def test_a_key_of_the_model_reaches_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, others = MODEL_KEYS[key]
    assert made(monkeypatch, **others, **{key: value}) != made(monkeypatch, **others)


@pytest.mark.usefixtures("with_bitsandbytes")
def test_four_bits_are_four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    text = made(monkeypatch, use_peft=True, load_in_4bit=True, bnb_4bit_quant_type="fp4", dtype="bfloat16")
    assert "'load_in_4bit': True" in text
    assert "'bnb_4bit_quant_type': 'fp4'" in text
    assert "'bnb_4bit_compute_dtype': 'bfloat16'" in text
    from p2o.runs.fixed_policy import model_source  # eval, evolve and screen load the same

    recipe = load_recipe("quickstart", setting_words({"load_in_4bit": True}))
    assert model_source(recipe, "x").more["quantization_config"].load_in_4bit


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"load_in_4bit": True}, "set use_peft to true too"),
        ({"load_in_4bit": True, **PEFT}, "load_in_4bit needs bitsandbytes, which is not installed here: pip install"),
        ({"load_in_8bit": True, **PEFT}, "load_in_8bit needs bitsandbytes"),
        ({"lora_task_type": "SEQ_CLS", **PEFT}, "lora_task_type is 'SEQ_CLS'; a policy is CAUSAL_LM"),
        ({"model_name_or_path": "null"}, "names no model"),
        ({"model_name_or_path": "./none"}, "there is no such folder"),
        ({"model_name_or_path": "~/none"}, "there is no such folder"),
        ({"model_name_or_path": "/a/b/c"}, "there is no such folder"),
        ({"model_name_or_path": "."}, "the folder holds no config.json"),
        ({"report_to": "trackio"}, "report_to names trackio, which is not installed here: pip install trackio"),
        ({"report_to": ["comet_ml"]}, "pip install comet-ml"),
        ({"report_to": "mflow"}, "'mflow', which is no tracker (did you mean mlflow"),
        ({"optim": "lomo"}, "optim lomo cannot be used: You need to install `lomo_optim`"),
        ({"optim": "adamw_8bit"}, "optim adamw_8bit cannot be used: You need to install `bitsandbytes`"),
        ({"adam_beta1": 2}, "optim adamw_torch_fused cannot be used: Invalid beta parameter"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"no": 1}}, "lr_scheduler_type cosine cannot be used"),
        ({"use_liger_kernel": True}, "use_liger_kernel needs liger_kernel, which is not installed here"),
        ({"use_vllm": True}, "use_vllm needs vllm, which is not installed here: pip install 'p2o-rl[vllm]'"),
    ],
    ids=str,
)
def test_what_is_not_here_is_said_before_the_model_is_loaded(
    settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        made(monkeypatch, **settings)
    assert said in str(caught.value)


@pytest.mark.parametrize("key", NO_EFFECT)
def test_a_key_without_effect_is_refused(key: str) -> None:
    default = next(f.default for f in fields(GRPOConfig) if f.name == key)
    hint = next(f.type for f in fields(GRPOConfig) if f.name == key)
    text = "sequential" if key == "train_sampling_strategy" else "all" if default == "no" else "x"
    value = (
        ["x"]
        if "list" in str(hint)
        else not default
        if isinstance(default, bool)
        else text
        if "str" in str(hint)
        else 1
    )
    with pytest.raises(ConfigError, match=f"{key} has no effect here: .*; remove it"):
        load_recipe("quickstart", setting_words({key: value}))


def test_no_key_of_trl_is_read_by_nobody() -> None:
    """A key that no training code reads must be refused: a new one of TRL's too."""
    roots = [Path(module.__file__).parent for module in (trl, transformers, accelerate, p2o)]
    readers = [
        *roots[0].glob("trainer/grpo_trainer.py"), *roots[0].glob("trainer/base_trainer.py"),
        *roots[0].glob("trainer/callbacks.py"),
        *roots[0].glob("generation/*.py"), *roots[1].glob("trainer*.py"), *roots[1].glob("integrations/*.py"),
        *roots[3].rglob("*.py"),
    ]  # fmt: skip
    text = "\n".join(path.read_text(encoding="utf-8") for path in readers if path.name != "checks.py")
    configuration = (roots[1] / "training_args.py").read_text(encoding="utf-8")
    read_in_configuration = {"logging_steps", "eval_steps", "tf32", "log_level", "log_level_replica", "do_train",
                             "log_on_each_node", "ddp_backend", "ddp_timeout"}  # fmt: skip
    unread = []
    for name in (f.name for f in fields(GRPOConfig) if f.init and f.name not in NO_EFFECT):
        read = rf"(?:args|self|training|config|settings)\.{name}\b|getattr\([^)]*[\"']{name}"
        if not re.search(read, text) and name not in read_in_configuration:
            unread.append(name)
        if name in read_in_configuration:
            assert re.search(rf"self\.{name}\b", configuration), name
    assert unread == []


@pytest.mark.parametrize(("key", "least", "largest"), RANGES)
def test_numbers_out_of_range_are_refused(key: str, least: float, largest: float) -> None:
    for value in (least - 1, largest * 2 + 1):
        with pytest.raises(ConfigError, match=f"{key} is "):
            load_recipe("quickstart", setting_words({key: value}))
