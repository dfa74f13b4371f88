"""The reflector ``self`` is the frozen starting policy, with LoRA too."""

from pathlib import Path

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from helpers import hard_rows, last_number, settings
from p2o import P2OConfig, P2OTrainer
from p2o.generation.models import resolve_model


def test_with_lora_it_is_the_model_without_its_adapter(tmp_path: Path) -> None:
    trainer = P2OTrainer(
        resolve_model("builtin:sandbox"), last_number, P2OConfig(**settings(tmp_path)), train_dataset=hard_rows(4),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    trainer.model.eval()
    ids = torch.tensor([[2, 51, 62, 3]])
    base = AutoModelForCausalLM.from_pretrained(resolve_model("builtin:sandbox"))(ids).logits
    with torch.no_grad():
        with trainer._reflecting_policy() as policy:
            assert torch.allclose(policy.model(ids).logits, base, atol=1e-5)
        assert not torch.allclose(trainer.model(ids).logits, base, atol=1e-1)
