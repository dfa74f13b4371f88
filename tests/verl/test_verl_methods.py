"""Every method that both engines take, through each engine's own wiring: the samples of an epoch in their order, the
prompt of every rollout slot, and the credit, epoch by epoch. Without Ray; gradients are compared in
`test_verl_parity`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from hydra import compose, initialize_config_dir
from tiny_run import HERE, overrides, write_sums
from transformers import AutoTokenizer

from helpers import last_number, settings
from p2o import P2OConfig
from p2o import P2OTrainer as OnTRL
from p2o.core.cost import CostMeter
from p2o.core.credit import Credit
from p2o.core.evolve import ReflectionJob, Reply
from p2o.core.methods.known import METHODS
from p2o.core.samples import Rollout, Sample
from p2o.data import to_dataset
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model
from p2o.generation.prompt_step import counted_tools, run_prompt_step
from p2o.reflectors.control_tokens import ControlGuard
from p2o.verl.agent_loop import SAMPLE_ID, TEMPLATES
from p2o.verl.texts import SharedTexts, text_of
from p2o.verl.trainer import P2OTrainer

SAMPLES, GROUP, EPOCHS = 8, 4, 4
SETTINGS: dict[str, Any] = {
    "hard_min_count": 2, "evolve_budget": "60", "evolve_max_iterations": 2, "dev_size": 2, "evolve_minibatch": 2,
    "distillation": "mask",
}  # fmt: skip
REFUSED = {"dapo", "zvp", "luffy", "hdpo", "sdft", "opsd"}
METHODS_OF_BOTH: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in METHODS if name not in REFUSED},
    "review": {"method": "grpo", "sampling": "adaptive"},
    "p2o, adaptive": {"method": "p2o", "sampling": "adaptive"},
    "a user's": {"method": f"{HERE}/user_methods.py:Hints"},
}


@pytest.fixture
def verls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes P²O's trainer on verl as far as its data, on the first samples that are hard."""
    write_sums(tmp_path / "train.parquet", "train", SAMPLES, 0)
    monkeypatch.setattr(ray, "put", lambda texts: texts)

    def make(changes: dict[str, Any]) -> Any:
        words = [f"+p2o.{name}={value}" for name, value in {**SETTINGS, **changes, "seed": 3}.items()]
        words += ["+p2o.reflector=phrases", "data.shuffle=False", f"data.train_batch_size={SAMPLES}"]
        words += [f"actor_rollout_ref.rollout.n={GROUP}", f"trainer.default_local_dir={tmp_path}/verl"]
        with initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
            config = compose("ppo_trainer", [*overrides(tmp_path), "trainer.v1.trainer_mode=p2o", *words])
        trainer = P2OTrainer(config)
        trainer.tokenizer, trainer.processor = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox")), None
        trainer.texts, trainer.global_steps = SharedTexts([]), 1
        trainer._init_dataloader()
        return trainer

    return make


def trls(folder: Path, samples: Iterable[Sample], changes: dict[str, Any]) -> Any:
    """P²O's trainer on TRL, on the same samples."""
    given = settings(
        folder, per_device_train_batch_size=SAMPLES * GROUP, num_generations=GROUP, shuffle_dataset=False, seed=3,
        **SETTINGS, **changes,
    )  # fmt: skip
    data = to_dataset(list(samples))
    model = resolve_model("builtin:sandbox")
    return OnTRL(model, last_number, P2OConfig(**given), train_dataset=data, reflector=lambda jobs: [])


def drawn_on_trl(trainer: Any, epoch: int) -> list[str]:
    """The samples of an epoch, one entry for each group, in their order."""
    sampler = trainer._get_train_sampler(trainer.train_dataset)
    sampler.set_epoch(epoch)
    rows = list(sampler)[:: trainer.num_generations]
    return [trainer.rows.dataset["sample_id"][row] for row in rows]


def play(loop: Any, drawn: Sequence[str], tokenizer: Any) -> None:
    """An epoch and the prompt step after it; who solves what follows from the sample's question and the prompt."""
    for sample_id in drawn:
        slots = [loop.template(sample_id, slot) for slot in range(GROUP)]
        question = loop.samples[sample_id].question
        rewards = [float(solves(question, text, f"{loop.next_epoch} {slot}")) for slot, text in enumerate(slots)]
        loop.record(sample_id, rewards, [bool(text) for text in slots])

    def roll_out(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        return [Rollout("", float(s := solves(sample.question, text, "")), s) for text, sample in pairs]

    def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return [Reply(f"```\nHint {random.Random(job.prompt).randrange(100)}\n```") for job in jobs]

    cost = CostMeter()
    tools = counted_tools(roll_out, reflect, cost, control=ControlGuard(tokenizer), on_policy=False)
    run_prompt_step(loop, tools, cost, on_policy=False)


def solves(question: str, text: str, when: str) -> bool:
    """Half of the samples are too hard without help."""
    chance = random.Random(f"{question} {text} {when}").random()
    return chance < (0.7 if text else 0.5) and (bool(text) or sum(map(ord, question)) % 2 == 0)


@pytest.mark.parametrize("name", METHODS_OF_BOTH)
def test_order_prompts_and_credit_are_those_of_trl(tmp_path: Path, verls: Any, name: str) -> None:
    changes = METHODS_OF_BOTH[name]
    on_verl = verls(changes)
    on_trl = trls(tmp_path / "trl", on_verl.loop.samples.values(), changes)
    seen: list[Any] = []
    for epoch in range(EPOCHS):
        batch = on_verl._next_train_batch()
        drawn = [str(sample_id) for sample_id in batch[SAMPLE_ID]]
        assert drawn == drawn_on_trl(on_trl, epoch)
        prompts = [[text_of(number) for number in list(numbers)] for numbers in batch[TEMPLATES]]
        assert prompts == [[on_trl.loop.template(i, slot) for slot in range(GROUP)] for i in drawn]
        assert_same_credit(on_verl.loop.credit(), on_trl.loop.credit())
        seen.append((drawn, prompts))
        play(on_verl.loop, drawn, on_verl.tokenizer)
        play(on_trl.loop, drawn, on_verl.tokenizer)
    assert on_verl.loop.state_dict() == on_trl.loop.state_dict()
    if name != "grpo":
        assert any(entry != seen[0] for entry in seen), "the method did something"


def assert_same_credit(ours: Credit, theirs: Credit) -> None:
    for field in fields(Credit):
        if field.name != "weights":
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name
    assert (ours.weights is None) == (theirs.weights is None)
    if ours.weights is not None and theirs.weights is not None:
        logps_BT = -torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0)) * 8
        templated_B, solved_B = torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool()
        given = (logps_BT[0], logps_BT[1], templated_B, solved_B)
        assert torch.equal(ours.weights(*given), theirs.weights(*given))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_others_are_refused_before_the_data_is_read(verls: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f"p2o.method={name} acts within a training step"):
        verls({"method": name})
