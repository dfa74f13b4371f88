"""Sharing what prompts begin with changes neither completions nor their log-probs."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from p2o.generation import prefix_groups as alike
from p2o.generation.efficient import efficient, why_not
from p2o.generation.prefix_groups import computed, groups_of, pays, prefix_lengths


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are short here."""
    monkeypatch.setattr(alike, "SAVED", 1)


def test_groups_and_their_prefixes() -> None:
    template, other = list(range(100, 190)), list(range(200, 260))
    rows = [
        [1, *template, 5],
        [1, 7, 8],
        [1, *template, 6, 7],
        [1, *other, 9],
        [1, 9],
        [1, *template, 8],
        [1, *other, 3],
    ]
    groups = groups_of(rows)
    assert groups[0] == groups[2] == groups[5] > 0
    assert groups[3] == groups[6] not in (0, groups[0])
    assert groups[1] == groups[4] not in (groups[0], groups[3])
    assert prefix_lengths(rows, groups) == {groups[0]: 91, groups[3]: 61, groups[1]: 1}
    few = [[1, *template, 5], [1, *template, 6], *([1, 7, n] for n in range(3))]
    assert computed(few, groups_of(few)) <= min(computed(few, [0] * 5), computed(few, [1, 1, 0, 0, 0]))
    assert groups_of([[5]]) == [0]
    assert prefix_lengths([[5]], [0]) == {0: 0}  # the last token of a row is never shared
    assert prefix_lengths([[1, 2], [1, 2]], [0, 0]) == {0: 1}
    same = [[1] * 90 + [n] for n in range(10)]
    assert pays(same, groups_of(same))
    distinct = [[n, 1, 2, 3] for n in range(10)]
    assert not pays(distinct, groups_of(distinct))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded rows of three groups, of different lengths; two of the groups are worth sharing."""
    torch.manual_seed(1)
    heads = {"": [3], "t": list(range(4, 24)), "u": list(range(30, 41))}
    groups = ["t", "", "u", "t", "", "t", "u", "", "u", "u"]
    rows = [heads[g] + torch.randint(3, 50, (2 + n % 4,)).tolist() for n, g in enumerate(groups)]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    assert len(set(groups_of(rows))) == 3
    assert pays(rows, groups_of(rows))
    return ids, mask


@pytest.mark.parametrize("least", [0, 50])
def test_completions_are_the_same(model: LlamaForCausalLM, least: int) -> None:
    """Rows end at different places, some in the first stretch and some in the second."""
    ids, mask = prompts()
    assert why_not(model, GenerationConfig(max_new_tokens=70)) is None
    options = {"do_sample": False, "max_new_tokens": 70, "min_new_tokens": least}
    plain = model.generate(input_ids=ids, attention_mask=mask, **options)
    passes = []
    handle = model.register_forward_hook(lambda *a: passes.append(tuple(a[2]["input_ids"].shape)), with_kwargs=True)
    with efficient(model):
        shared = model.generate(input_ids=ids, attention_mask=mask, **options)
    handle.remove()
    assert torch.equal(plain, shared)
    assert "generate" not in vars(model)
    assert sum(rows * width for rows, width in passes if width > 1) < 0.7 * mask.sum()  # what is alike, once
    assert least or len({rows for rows, width in passes if width == 1}) > 1  # rows were taken out


def test_on_the_built_in_policy(policy_path: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy_path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(policy_path)
    texts = [f"Show your work. Keep the carry. What is {n} + 989?" for n in (1, 17, 123, 45)]
    batch = tokenizer([*texts, "What is 2 + 2?"], return_tensors="pt", padding=True)
    options = {"do_sample": False, "max_new_tokens": 56, "pad_token_id": tokenizer.pad_token_id}
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    plain = model.generate(**inputs, **options)
    with efficient(model):
        assert torch.equal(model.generate(**inputs, **options), plain)
