"""LoRA: one copy of the base weights while *self* reflects; training changes the adapter alone, and saves it."""

import gc

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM

from helpers import hard_rows, settings
from p2o import P2OConfig, P2OTrainer
from p2o.generation import efficient
from p2o.generation.models import resolve_model
from p2o.trl.rollouts import Reflect


def alternating(completions, **kwargs):
    """Spread in every group."""
    return [float(n % 2) for n in range(len(completions))]


def make(out, lora, **changes):
    return P2OTrainer(
        resolve_model("builtin:sandbox"),
        alternating,
        P2OConfig(**settings(out, **changes)),
        train_dataset=hard_rows(8),
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
        reflector="self",
    )


def parameter_bytes():
    """Of all distinct parameter storages alive in this process."""
    alive = [o.untyped_storage() for o in gc.get_objects() if isinstance(o, torch.nn.Parameter)]
    return sum({s.data_ptr(): s.nbytes() for s in alive}.values())


@pytest.mark.parametrize(("lora", "copies"), [(True, 0), (False, 1)])
def test_self_reflection_with_lora_loads_no_second_copy(tmp_path, monkeypatch, lora, copies):
    trainer = make(tmp_path, lora)
    base = sum(p.nbytes for n, p in trainer.model.named_parameters() if "lora_" not in n)
    gc.collect()
    before, during = parameter_bytes(), []
    draw = efficient.draw

    def watched(*args, **kwargs):
        during.append(parameter_bytes() - before)
        return draw(*args, **kwargs)

    monkeypatch.setattr(efficient, "draw", watched)
    trainer.args.reflect_max_tokens = 8
    replies = trainer.carry_out(
        Reflect([[{"role": "user", "content": "Say 12."}], [{"role": "user", "content": "34"}]])
    )
    assert len(replies) == 2
    assert set(during) == {copies * base}
    gc.collect()
    assert parameter_bytes() == before


def test_training_changes_the_adapter_alone_and_saves_it(tmp_path):
    trainer = make(tmp_path, lora=True, max_steps=2, save_strategy="steps", save_steps=2)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    changed = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all("lora_" in name for name in changed)
    folder = tmp_path / "checkpoint-2"
    assert not (folder / "model.safetensors").exists()
    base = AutoModelForCausalLM.from_pretrained(resolve_model("builtin:sandbox"))
    loaded = PeftModel.from_pretrained(base, str(folder)).eval()
    ids = torch.tensor([[2, 51, 62, 3]])
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, trainer.model.eval()(ids).logits, atol=1e-5)
        with loaded.disable_adapter():
            plain = AutoModelForCausalLM.from_pretrained(resolve_model("builtin:sandbox"))
            assert torch.equal(loaded(ids).logits, plain(ids).logits)
