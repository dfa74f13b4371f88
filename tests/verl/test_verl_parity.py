"""One batch through both engines: same tokens, advantages, old log-probs and credit, same gradient.

For every way in which P²O trains templated rollouts that both engines take, and for every other method that both take
(`test_verl_methods` compares their order and prompts): from the credit to the gradient, by each engine's own code.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from tiny_run import HERE, environment

from helpers import ALL_FOUR, make_trainer
from p2o.core.credit import Credit, Distillation, credit_of
from p2o.core.methods import load_method
from p2o.core.samples import Sample
from p2o.core.settings import LoopSettings
from p2o.core.templates import apply_to_prompt
from p2o.generation.models import resolve_model
from p2o.trl import distillation as on_trl
from p2o.trl.batch import Batch
from p2o.verl import distillation as on_verl
from p2o.verl.batch import BatchRollout
from p2o.verl.texts import hold

COMPLETIONS = ["w:r 7+5+0=12 4+8+1=13; 132", "299", "w:l 2+3=5; 5", "623"]
"""What the sandbox policy says with and without templates; none of it need be likely."""

TEMPLATED, SOLVED = [True, True, True, False], [True, False, True, False]
ADVANTAGES = [1.3, -0.8, 0.4, -0.9]
WAYS = [way for way in get_args(Distillation) if way != "kl"]
METHODS = ["grpo", "knapsack", "prefix", "sage", "scaf", "scaf_sft", "scaf_shape"]
"""The others of the package; those that verl refuses are left out."""
SAME = {"grpo": "no_mask", "knapsack": "no_mask", "prefix": "none", "sage": "none", "scaf_sft": "drop failed"}
"""Methods whose credit is also a way of P²O's: weight 1, and trained on the prompt that was seen."""
CASES = [*WAYS, *METHODS, "drop failed", "no tools", "no mask on verl"]
"""The last three are no parity: the drop, the tools' mask and the weights matter for this batch."""


def credit_for(case: str) -> Credit:
    """The credit of a case, with bounds that some tokens of the batch are outside of."""
    if case in METHODS:
        sample = Sample("a", [], "7", {"solution": "First. Then. 7"})
        return load_method(case)(LoopSettings(method=case), {"a": sample}, 4, 0).credit(1)
    way = case if case in WAYS else {"drop failed": "no_mask"}.get(case, "mask")
    settings = SimpleNamespace(
        distillation=way, ratio_low=0.5, ratio_high=1.5, soft_max=1.2, shape_gamma=0.1,
        wide_epochs=2, drop_failed_template_rollout=case == "drop failed",
    )  # fmt: skip
    return credit_of(settings, epoch=1)


@dataclass
class Given:
    """The batch: R rows, as token ids and (T,) tensors without padding."""

    trainer: Any
    bare: list[list[int]]
    templated: list[list[int]]
    completions: list[list[int]]
    own: list[torch.Tensor]
    """1 on the model's tokens, 0 on those that a tool wrote."""
    old: dict[str, list[torch.Tensor]]
    """Old log-probs by the prompt: of a policy a little away from this one, so that PPO's clip has something to do."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    trainer = make_trainer(tmp_path_factory.mktemp("trl"), loss_type="dapo", epsilon=0.2, skip_dead_rows=False)
    tokenizer = trainer.processing_class
    rows = list(trainer.rows.by_id.values())
    bare, templated = (
        trainer._tokenize_prompts([apply_to_prompt(z, r["prompt"]) for r in rows])[0] for z in ("", ALL_FOUR)
    )
    completions = [[*tokenizer(c, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for c in COMPLETIONS]
    own = [torch.ones(len(c), dtype=torch.long) for c in completions]
    own[0][5:9] = own[1][:2] = own[3][:2] = 0
    batch = Given(trainer, bare, templated, completions, own, {})
    generator = torch.Generator().manual_seed(0)
    noise = [0.3 * torch.randn(len(c), generator=generator) for c in completions]
    for name, prompts in (("bare", bare), ("templated", templated)):
        logps = log_probs(batch, range(4), prompts)
        batch.old[name] = [row + away for row, away in zip(logps, noise, strict=True)]
    return batch


def log_probs(given: Given, rows: Any, prompts: list[Any]) -> list[torch.Tensor]:
    """(T,) log-probs of the rows' completions after these prompts."""
    trainer, found = given.trainer, []
    for row, prompt in zip(rows, prompts, strict=True):
        ids = torch.tensor([[*prompt, *given.completions[row]]])
        with torch.no_grad():
            found.append(
                trainer._get_per_token_logps_and_entropies(
                    trainer.model, ids, torch.ones_like(ids), len(given.completions[row])
                )[0][0]
            )
    return found


def padded(rows: list[Any], left: bool = False, value: float = 0) -> torch.Tensor:
    tensors = [torch.as_tensor(row) for row in rows]
    side = "left" if left else "right"
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)


def gradient_on_trl(given: Given, case: str) -> dict[str, torch.Tensor]:
    """By `p2o.trl.distillation.distill` and TRL's loss."""
    trainer, credit = given.trainer, credit_for(case)
    pad_id = trainer.processing_class.pad_token_id
    own = [torch.ones_like(row) for row in given.own] if case == "no tools" else given.own
    output = {
        "prompt_ids": padded(given.bare, left=True, value=pad_id),
        "prompt_mask": padded([[1] * len(ids) for ids in given.bare], left=True),
        "completion_ids": padded(given.completions, value=pad_id),
        "completion_mask": padded([[1] * len(ids) for ids in given.completions]),
        "advantages": torch.tensor(ADVANTAGES),
        "old_per_token_logps": padded(given.old["bare"]),
        "tool_mask": padded(own),
        "num_items_in_batch": sum(row.sum() for row in own),
    }

    def logps_of(_: Any, rows: list[int], prompts: list[torch.Tensor]) -> torch.Tensor:
        lengths = {len(ids): name for name in ("templated", "bare") for ids in getattr(given, name)}
        names = [lengths[len(prompt)] for prompt in prompts]
        found = padded([given.old[name][row] for name, row in zip(names, rows, strict=True)])
        width = output["completion_ids"].size(1)
        return torch.nn.functional.pad(found, (0, width - found.size(1)))

    batch = Batch(
        rows=[{}] * 4,
        templates=[ALL_FOUR if t else "" for t in TEMPLATED],
        templated_ids=[ids if t else [] for ids, t in zip(given.templated, TEMPLATED, strict=True)],
        solved=SOLVED,
    )
    on_trl.distill(output, batch, credit, logps_of, None, pad_id)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, output).backward()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters()}


def batch_for_verl(given: Given, case: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `p2o.verl.distillation.distill` makes of the batch, for `verl_gradient`."""
    hold([ALL_FOUR], 1)
    credit = credit_for(case)
    stored = [
        "templated" if t and credit.trained_on == "templated" else "bare" for t in TEMPLATED
    ]  # verl's rows are stored under the prompt on which they are trained
    rollouts = [
        BatchRollout(
            key=str(n), uid=str(n), sample_id=str(n), prompt_tokens=len(given.bare[n]),
            responses_T=torch.tensor(given.completions[n]), mask_T=given.own[n], old_logps_T=given.old[stored[n]][n],
            rollout_logps_T=None, reward=float(SOLVED[n]), success=float(SOLVED[n]), solved=SOLVED[n],
            extra={"p2o_template": 1, "p2o_prompt_ids": given.templated[n]} if TEMPLATED[n] else {},
            is_padding=False, weights_T=torch.ones(len(given.completions[n])),
        )
        for n in range(4)
    ]  # fmt: skip
    written: dict[str, Any] = {}
    monkeypatch.setattr(on_verl, "write_column", lambda batch, name, values: written.update({name: list(values)}))
    weights = on_verl.distill(
        None, rollouts, credit, lambda some: [given.old["templated"][int(r.key)] for r in some], False
    ).weights
    return {
        "prompt_ids": [torch.tensor(getattr(given, stored[n])[n]) for n in range(4)],
        "response_ids": [torch.tensor(ids) for ids in given.completions],
        "old_logps": written.get("old_log_probs", [r.old_logps_T for r in rollouts]),
        "weights": [torch.ones_like(w) for w in weights] if case == "no mask on verl" else weights,
        "advantages": [torch.full((len(c),), a) for a, c in zip(ADVANTAGES, given.completions, strict=True)],
        "masks": given.own,
    }


@pytest.fixture(scope="module")
def on_both(
    given: Given, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    """Case → TRL's and verl's gradient; verl's of all cases by one process."""
    folder = tmp_path_factory.mktemp("verl")
    with pytest.MonkeyPatch.context() as monkeypatch:
        batches = {case: batch_for_verl(given, case, monkeypatch) for case in CASES}
    torch.save({"model": resolve_model("builtin:sandbox"), "batches": batches}, folder / "batches.pt")
    run = subprocess.run(
        [sys.executable, HERE / "verl_gradient.py", folder / "batches.pt", folder / "gradients.pt"],
        env=environment(folder) | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611", "RANK": "0", "WORLD_SIZE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    theirs = torch.load(folder / "gradients.pt")
    return {case: (gradient_on_trl(given, case), theirs[case]) for case in CASES}


@pytest.mark.parametrize("case", [*WAYS, *METHODS, "drop failed"])
def test_trl_and_verl_give_the_same_gradient(on_both: Any, case: str) -> None:
    ours, theirs = on_both[case]
    assert theirs.keys() == ours.keys()
    assert distance(theirs, ours) < 2e-5, "float32; ratios of two prompts (importance) are far from 1"


def test_the_ways_differ_on_this_batch(on_both: Any) -> None:
    gradients = {case: on_both[case][0] for case in [*WAYS, "scaf", "drop failed", "no tools"]}
    for first, one in gradients.items():
        for second, other in gradients.items():
            assert first == second or distance(one, other) > 0.01, (first, second)
    assert distance(on_both["no mask on verl"][1], on_both["mask"][0]) > 0.01
    for same, as_this in SAME.items():
        assert distance(on_both[same][0], on_both[as_this][0]) == 0, (same, as_this)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference, relative to ``b``'s."""
    difference = torch.stack([(a[name] - b[name]).norm() for name in b]).norm()
    return float(difference / torch.stack([g.norm() for g in b.values()]).norm())
