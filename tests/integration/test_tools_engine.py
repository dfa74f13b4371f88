"""vLLM with tools, on an engine whose log-probs are known: a templated row's correction is taken on T(x, z) and the
turns so far, and a tool's tokens have none."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

import fake_vllm
import tool_world
from fake_vllm import MISMATCH
from helpers import rollout_batch, settings
from p2o import P2OConfig, P2OTrainer


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    from trl.generation import vllm_generation

    for name in ("is_vllm_available", "LLM", "SamplingParams", "VLLMClient"):
        monkeypatch.setattr(vllm_generation, name, None, raising=False)  # put back after the test
    tokenizer, folder = tool_world.build_tokenizer(), tmp_path / "model"
    tool_world.build_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fake_vllm.install(str(folder))
    options = {"use_vllm": True, "max_completion_length": 100, "vllm_importance_sampling_mode": "token_truncate"}
    bounds = {"vllm_importance_sampling_clip_min": 0.0, "vllm_importance_sampling_clip_max": 1e9}
    made = P2OTrainer(
        AutoModelForCausalLM.from_pretrained(folder),
        tool_world.vowels,
        P2OConfig(**{**settings(tmp_path / "run"), **options, **bounds}),
        train_dataset=tool_world.tool_rows(4),
        processing_class=tokenizer,
        reflector=lambda jobs: [],
        **tool_world.TOOLS,
    )
    if made.vllm_mode == "colocate":
        made.vllm_generation.llm.llm_engine.model_config = SimpleNamespace(max_model_len=512)
    return made


def turn_places(mask):
    """(T,) the place of each token within its turn, from 1; 0 for a tool's."""
    places, place = [], 0
    for own in mask.tolist():
        place = place + 1 if own else 0
        places.append(place)
    return torch.tensor(places)


def test_the_correction_of_every_turn(trainer):
    batch = rollout_batch(trainer, tool_world.TEMPLATE, bare_slots=1)
    checked = 0
    for n, mask in enumerate(batch["tool_mask"]):
        T = int(batch["completion_mask"][n].sum())
        if n % 4 != 3 and not batch["advantages"][n].any():
            continue  # without advantage the correction has nothing to weigh
        expected = (MISMATCH * turn_places(mask[:T])).exp()
        assert torch.allclose(batch["importance_sampling_ratio"][n, :T], expected, rtol=1e-3), n
        checked += n % 4 != 3 and int(mask[:T].sum()) < T
    assert checked >= 2


def test_the_engine_is_asked_for_the_template_in_every_turn(trainer):
    rollout_batch(trainer, tool_world.TEMPLATE, bare_slots=1)
    head = trainer._tokenizer(f"<u>{tool_world.TEMPLATE}")["input_ids"]
    calls = fake_vllm.engine().calls
    assert len(calls) > 1
    assert all(call.n == 1 for call in calls)
    asked = [prompt for call in calls[1:] for prompt in call.prompts]
    result = trainer._tokenizer.convert_tokens_to_ids("<t>")
    assert all(result in prompt for prompt in asked)
    assert any(prompt[: len(head)] == head for prompt in asked)
