"""TRL's own GRPO tests with P2OTrainer, where a checkout of TRL is named; and the stand-ins that they run on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stand_in_hub import ORGANISATION, REVISION, add_model
from stand_in_tokenizer import END, PAD, TranslatingTorch, build_tokenizer, ours

CHECKOUT = os.environ.get("P2O_TRL_CHECKOUT")
CALL = '<tool_call>\n{"name": "multiply_tool", "arguments": {"a": 3, "b": 4}}\n</tool_call><|im_end|>'
CALL_IDS = [151657, 198, 4913, 606, 788, 330, 64648, 22785, 497, 330, 16370, 788, 5212, 64, 788, 220, 18, 11, 330, 65,
            788, 220, 19, 11248, 151658, 151645]  # fmt: skip


@pytest.mark.skipif(CHECKOUT is None, reason="P2O_TRL_CHECKOUT names no checkout of TRL")
def test_all_that_pass_with_trl_pass_or_are_refused_as_documented(tmp_path):
    script = Path(__file__).parent / "trl_suite.py"
    done = subprocess.run([sys.executable, str(script), "--work", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_qwen_s_ids_mean_the_same_in_the_stand_in():
    tokenizer = build_tokenizer("{{ messages }}")
    assert tokenizer.decode(ours(CALL_IDS)) == CALL
    assert ours([[151645, 151643], [40, 944]]) == [[END, PAD], [40, ours([151645, 944])[1]]]
    assert ours([[40, 944]]) == [[40, 944]]  # no special token: no ids of Qwen's
    assert tokenizer.decode(tokenizer(CALL)["input_ids"]) == CALL
    assert TranslatingTorch().tensor([[151645]], dtype=torch.long).tolist() == [[END]]
    assert TranslatingTorch().Tensor is torch.Tensor


def test_a_stand_in_loads_and_generates(tmp_path):
    add_model(tmp_path, "tiny", "Qwen2ForCausalLM", "qwen2_5", {})
    folder = tmp_path / f"models--{ORGANISATION}--tiny" / "snapshots" / REVISION
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.generation_config.eos_token_id == [END, PAD]
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**ids, max_new_tokens=3).shape[1] <= ids["input_ids"].shape[1] + 3
