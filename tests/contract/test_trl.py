"""What p2o relies on in TRL beyond its public interface. A failing test here names what a new TRL changed."""

import inspect
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from helpers import hard_rows, letters, settings
from p2o.errors import P2OError
from p2o.generation.models import resolve_model
from p2o.trl.compat import METHODS, OLDEST, check_trl, contract_problems

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return GRPOTrainer(
        resolve_model("builtin:sandbox"),
        letters,
        GRPOConfig(**settings(tmp_path_factory.mktemp("trl"), steps_per_generation=2)),
        train_dataset=hard_rows(8),
    )


@pytest.fixture(scope="module")
def batch(trainer):
    """What TRL prepares for the loss, from 8 samples × 4 rollouts."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer._generate_and_score_completions([row for row in hard_rows(8) for _ in range(4)])


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_wrapped_methods_have_these_parameters():
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert parameters(GRPOTrainer._generate_single_turn) == [
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
        "has_tool_images",
    ]
    assert parameters(GRPOTrainer._calculate_rewards) == [
        "self",
        "inputs",
        "prompts",
        "completions",
        "completion_ids_list",
    ]
    assert parameters(GRPOTrainer._compute_loss) == ["self", "model", "inputs"]
    assert parameters(GRPOTrainer._get_train_sampler) == ["self", "dataset"]
    assert parameters(GRPOTrainer._save_checkpoint) == ["self", "model", "trial"]
    assert parameters(GRPOTrainer._get_grad_norm) == ["self", "model", "grad_norm"]
    assert parameters(GRPOTrainer.log) == ["self", "logs", "start_time"]
    assert parameters(GRPOTrainer.training_step)[:3] == ["self", "model", "inputs"]


def test_called_methods_have_these_parameters():
    assert parameters(GRPOTrainer._tokenize_prompts) == ["self", "prompts"]


def test_attributes_that_are_read_or_set(trainer):
    for name in (
        "_buffered_inputs",
        "_entropy_bonus_enabled",
        "_logs",
        "_metrics",
        "_pending_extra_logs",
        "_pending_metrics",
        "_step",
        "_tokenizer",
        "aux_loss_enabled",
        "beta",
        "chat_template",
        "generation_config",
        "generation_kwargs",
        "is_fsdp_enabled",
        "loss_type",
        "max_completion_length",
        "num_generations",
        "num_iterations",
        "reward_func_names",
        "reward_weights",
        "top_entropy_quantile",
        "use_vllm",
        "vllm_importance_sampling_clip_max",
        "vllm_importance_sampling_clip_min",
        "vllm_importance_sampling_correction",
        "vllm_importance_sampling_mode",
    ):
        assert hasattr(trainer, name), name
    sampler = trainer._get_train_sampler()
    for name in ("shuffle", "generator", "seed", "num_samples"):
        assert hasattr(sampler, name), name


def test_the_batch_has_these_keys_and_shapes(batch):
    B, T = batch["completion_ids"].shape
    assert B == 32
    assert set(batch) == {
        "prompt_ids",
        "prompt_mask",
        "completion_ids",
        "completion_mask",
        "advantages",
        "num_items_in_batch",
        "old_per_token_logps",  # steps_per_generation is not gradient_accumulation_steps
    }
    assert batch["prompt_ids"].shape == batch["prompt_mask"].shape
    assert batch["completion_mask"].shape == batch["old_per_token_logps"].shape == (B, T)
    assert batch["advantages"].shape == (B,)
    assert batch["prompt_mask"][:, -1].all()  # prompts are padded on the left
    assert batch["completion_mask"][:, 0].all()  # completions on the right


def test_generation_returns_lists_and_no_log_probs_without_vllm(trainer):
    prompts = [row["prompt"] for row in hard_rows(2)]
    tokenized = trainer._tokenize_prompts(prompts)
    assert len(tokenized) == 3
    assert all(isinstance(token, int) for ids in tokenized[0] for token in ids)
    completion_ids, logprobs = trainer._generate_single_turn(tokenized[0], None, {}, 1)
    assert len(completion_ids) == 2
    assert isinstance(completion_ids[0], list)
    assert logprobs is None


def test_log_probs_come_first_one_for_each_completion_token(trainer, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    T = batch["completion_ids"].size(1)
    with torch.no_grad():
        found = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, T, batch_size=8)
    assert found[0].shape == batch["completion_ids"].shape
    assert torch.allclose(found[0], batch["old_per_token_logps"], atol=1e-4)


def test_rewards_of_all_rows_and_functions_are_returned(trainer):
    rows = list(hard_rows(2))
    completions = [[{"role": "assistant", "content": text}] for text in ("222", "111")]
    rewards_NF = trainer._calculate_rewards(rows, [r["prompt"] for r in rows], completions, [[1], [2]])
    assert rewards_NF.tolist() == [[1.0], [0.0]]


def test_advantages_may_be_given_for_each_token(trainer, batch):
    trainer.model.train()
    plain = trainer._compute_loss(trainer.model, batch)
    wide = batch["advantages"][:, None].expand(batch["completion_ids"].shape)
    assert torch.allclose(trainer._compute_loss(trainer.model, {**batch, "advantages": wide}), plain)
    nothing = trainer._compute_loss(trainer.model, {**batch, "advantages": torch.zeros_like(wide)})
    assert nothing.item() == 0


def test_the_engine_has_these_parameters():
    assert grpo_trainer.VLLMGeneration is VLLMGeneration
    assert "max_num_seqs" in parameters(VLLMGeneration.__init__)
    assert {"temperature", "max_completion_length"} <= set(parameters(VLLMGeneration.__init__))
    assert parameters(VLLMGeneration.generate)[:4] == ["self", "prompts", "images", "num_generations"]
    assert parameters(VLLMGeneration.sync_weights) == ["self"]
    assert "_last_loaded_step" in inspect.getsource(GRPOTrainer._generate_single_turn)


def without(name: str, parameter: str) -> type:
    """A GRPOTrainer whose method has lost a parameter, as in an older TRL."""
    signature = inspect.signature(getattr(GRPOTrainer, name))
    kept = [p for p in signature.parameters.values() if p.name != parameter]

    def method(*args, **kwargs):
        raise NotImplementedError

    method.__signature__ = signature.replace(parameters=kept)
    return type("GRPOTrainer", (GRPOTrainer,), {name: method})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_installed_trl_keeps_the_contract_and_a_lost_parameter_is_named(name):
    assert contract_problems(GRPOTrainer) == []
    signature = inspect.signature(getattr(GRPOTrainer, name))
    passes_on = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())  # TRL 1.14 decorates one
    for parameter in () if passes_on else METHODS[name][1:]:
        assert contract_problems(without(name, parameter)) == [f"GRPOTrainer.{name} has no parameter {parameter}"]


@pytest.mark.parametrize("installed", ["1.14.2", "1.15.2", "1.16.0", "1.16.1.post1"])
def test_tested_versions_are_taken_in_silence(installed, recwarn):
    check_trl(installed, GRPOTrainer)
    assert not recwarn.list


@pytest.mark.parametrize("installed", ["1.13.0", "1.14.1", "1.17.0", "2.0.0.dev0"])
def test_another_version_that_keeps_the_contract_is_taken_with_a_warning(installed):
    with pytest.warns(UserWarning, match=rf"tested with TRL 1\.14\.2 to 1\.16, and TRL {installed} is installed"):
        check_trl(installed, GRPOTrainer)


def test_one_that_does_not_is_refused_and_the_difference_named():
    with pytest.raises(P2OError, match=r"TRL 1\.13\.0 \(GRPOTrainer\._generate_single_turn has no parameter num_gener"):
        check_trl("1.13.0", without("_generate_single_turn", "num_generations"))


def test_the_package_asks_for_the_oldest_tested_version():
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"trl>={'.'.join(map(str, OLDEST))}" in required


@pytest.mark.parametrize("statement", ["import p2o.trl.trainer", "from p2o import P2OTrainer"])
def test_with_a_trl_that_cannot_be_wrapped_the_import_fails_with_one_sentence(tmp_path, statement):
    (tmp_path / "trl").mkdir()
    (tmp_path / "trl" / "__init__.py").write_text("class GRPOTrainer:\n    pass\n\n\nclass GRPOConfig:\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-c", statement],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "VersionError: p2o cannot wrap TRL" in last
    assert "GRPOTrainer has no method _generate_single_turn" in last
