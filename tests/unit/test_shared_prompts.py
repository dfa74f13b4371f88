"""Rollouts that share their prompt are drawn from the model's own distribution (`p2o.generation.sampler`)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from p2o.generation.efficient import efficient, why_not
from p2o.generation.lean import is_known
from p2o.generation.prefill import Prompts, prefill, stretches
from p2o.generation.sampler import Sampling, at_chance, draw

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "initializer_range": 0.3,
}  # fmt: skip
END = 2


def tiny(kind: str = "llama", **changes: Any) -> Any:
    """A model of random weights."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **changes})).eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny()


def prompts() -> list[list[int]]:
    """Groups of 4, 1 and 3 rows, mixed, of three lengths; one of them longer than the others together."""
    torch.manual_seed(1)
    a, b, c = (torch.randint(3, 50, (length,)).tolist() for length in (7, 5, 40))
    return [a, c, a, b, c, a, c, a]


def padded(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])}


def settings(**changes: Any) -> GenerationConfig:
    given = {
        "max_new_tokens": 60,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "pad_token_id": 0,
        "eos_token_id": END,
    }
    return GenerationConfig(**{**given, **changes})


KINDS = ("llama", "qwen2", "qwen3", "gemma", "mistral", "phi3", "olmo2", "granite", "smollm3", "gpt_neox", "starcoder2")


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_transformers(kind: str) -> None:
    changes = {"sliding_window": None} if kind in ("mistral", "phi3") else {}
    changes |= {"attention_multiplier": 0.2} if kind == "granite" else {}
    policy, config = tiny(kind, **changes), settings(do_sample=False)
    assert why_not(policy, config) is None
    batch = padded(prompts())
    theirs = policy.generate(**batch, generation_config=config)
    with efficient(policy):
        ours = policy.generate(**batch, generation_config=config)
    assert torch.equal(ours, theirs)
    assert policy.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("dtype", "autocast"), [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)]
)
def test_log_probs_are_those_of_a_forward_pass(dtype: torch.dtype, autocast: bool) -> None:
    policy = tiny().to(dtype)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), efficient(policy) as drawn:
        policy.generate(**padded(prompts()), generation_config=settings(top_k=20, temperature=0.7))
    assert len({len(row) for row in cut(drawn[0].ids)}) > 2  # some ended early, and left
    exact = dtype == torch.float32 and not autocast
    for prompt, ids, logps in zip(prompts(), cut(drawn[0].ids), drawn[0].logps, strict=True):
        whole = torch.tensor([prompt + ids])
        expected = (policy(whole).logits[0, :-1].float() / 0.7).log_softmax(-1).gather(1, whole[0, 1:, None])[:, 0]
        difference = (logps[: len(ids)] - expected[-len(ids) :]).abs()
        assert difference.max() < (1e-4 if exact else 0.25)
        assert difference.mean() < (1e-4 if exact else 0.05)


def cut(ids: torch.Tensor) -> list[list[int]]:
    """Completions up to and with their ends."""
    return [row[: row.index(END) + 1] if END in row else row for row in ids.tolist()]


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.7}, {"min_p": 0.1}, {"typical_p": 0.6}], ids=str
)
def test_frequencies_are_those_of_the_model(model: Any, changes: dict[str, Any]) -> None:
    """First and second tokens of 20,000 rollouts against transformers' own probabilities (chi-square, z < 4)."""
    count, prompt = 20_000, [5, 6, 7]
    torch.manual_seed(3)
    config = settings(max_new_tokens=2, min_new_tokens=2, **changes)
    pairs = draw(model, [prompt] * count, Sampling.of(config), 0, "cpu").ids
    given = [prompt, [*prompt, int(pairs[:, 0].mode().values)]]
    for place, row in enumerate(given):
        step = settings(max_new_tokens=1, min_new_tokens=1, **changes)
        told = {"return_dict_in_generate": True, "output_scores": True}
        scores = model.generate(**padded([row]), generation_config=step, **told).scores[0][0]
        drawn = pairs[:, 0] if place == 0 else pairs[pairs[:, 0] == row[-1], 1]
        expected = scores.softmax(-1) * len(drawn)
        found = torch.bincount(drawn, minlength=50)
        assert not found[expected == 0].any()  # what truncation or min_new_tokens forbids
        likely = expected >= 5
        distance = ((found - expected) ** 2 / expected)[likely].sum()
        freedom = int(likely.sum()) - 1
        assert (distance - freedom) / (2 * freedom) ** 0.5 < 4


def test_a_completion_does_not_depend_on_the_other_rows(model: Any) -> None:
    """Each row has random numbers of its own, so a batch and its two halves give the same completions."""
    rows, sampling = prompts(), Sampling.of(settings(eos_token_id=[END, 3, 4]))
    torch.manual_seed(4)
    together = until_end(draw(model, rows, sampling, -1, "cpu").ids)
    torch.manual_seed(4)
    apart = [row for half in (rows[:4], rows[4:]) for row in until_end(draw(model, half, sampling, -1, "cpu").ids)]
    assert together == apart
    assert min(map(len, together)) < 16 < max(map(len, together))  # some left


def until_end(ids: torch.Tensor) -> list[list[int]]:
    """Completions without the padding (−1) after their ends."""
    return [[token for token in row if token >= 0] for row in ids.tolist()]


def test_no_token_of_probability_0_is_drawn() -> None:
    probabilities = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]] * 4)
    largest = 1 - 2**-24
    assert at_chance(probabilities, torch.tensor([[0.0], [0.29], [0.31], [largest]])).tolist() == [1, 1, 3, 3]


def test_without_an_end_token_and_with_broken_weights_all_tokens_are_drawn() -> None:
    """A policy of NaN draws something: the step that trains on it is skipped (`p2o.trl.finite`)."""
    policy = tiny()
    endless = Sampling.of(settings(max_new_tokens=5, eos_token_id=None))
    assert draw(policy, [[5, 6]] * 2, endless, 0, "cpu").ids.shape == (2, 5)
    with torch.no_grad():
        policy.lm_head.weight.fill_(float("nan"))
    assert draw(policy, [[5, 6]] * 2, endless, 0, "cpu").ids.shape == (2, 5)


def test_prompts_of_unlike_lengths_are_computed_apart() -> None:
    assert stretches([100, 100, 105, 110]) == [(0, 4)]
    assert stretches([10, 11, 200, 210]) == [(0, 2), (2, 4)]
    assert stretches([7]) == [(0, 1)]


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 8}, "other states"), ("gemma2", {}, "other states"),
        ("gemma2", {"layer_types": ["full_attention"] * 2}, "attn_logit_softcapping"),
        ("bloom", {}, "attention of its own"),
    ],
)  # fmt: skip
def test_models_that_it_does_not_serve(kind: str, changes: dict[str, Any], reason: str) -> None:
    assert reason in str(why_not(tiny(kind, **changes), settings()))


def test_a_model_is_computed_without_its_layers_only_as_it_was_made() -> None:
    """Who listens to a layer, or wraps the model (mixed precision), gets transformers' own pass."""
    assert all(is_known(tiny(kind)) for kind in ("llama", "qwen2", "qwen3"))
    assert not is_known(tiny("gemma"))
    assert not is_known(tiny(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}))
    listened, wrapped, forward = tiny(), tiny(), tiny().forward
    listened.model.layers[0].register_forward_hook(lambda *_: None)
    wrapped.forward = lambda **inputs: forward(**inputs)
    assert not is_known(listened)
    assert not is_known(wrapped)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_whoever_listens_to_a_module_or_wraps_it_hears_every_token(kind: str) -> None:
    policy = tiny(kind)
    endless = Sampling.of(settings(max_new_tokens=6, eos_token_id=None))
    for name, module in policy.named_modules():
        if isinstance(module, torch.nn.ModuleList):
            continue
        heard: list[str] = []
        hook = module.register_forward_hook(lambda *_, heard=heard: heard.append("hook"))
        draw(policy, [[5, 6]], endless, 0, "cpu")
        hook.remove()
        assert len(heard) >= 6, f"a hook on {name or 'the model'}"
        heard.clear()
        own = module.forward
        module.forward = lambda *args, heard=heard, own=own, **kwargs: (heard.append("forward"), own(*args, **kwargs))[
            1
        ]
        draw(policy, [[5, 6]], endless, 0, "cpu")
        del module.forward
        assert len(heard) >= 6, f"a wrapper of {name or 'the model'}"


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_what_many_prompts_begin_with_is_kept_once(kind: str) -> None:
    """Greedy completions are transformers' own, by both passes, where rests and groups are of unlike sizes."""
    policy, config = tiny(kind), settings(do_sample=False)
    torch.manual_seed(5)
    heads = [torch.randint(3, 50, (length,)).tolist() for length in (300, 350)]
    rests = [torch.randint(3, 50, (2 + n,)).tolist() for n in range(5)]
    rows = [[*heads[n % 3 == 0], *rest] for n, rest in enumerate(rests)] + [[3, 4, 5]]
    with torch.no_grad():
        cache, _ = prefill(policy, Prompts.of(rows), "cpu")
    assert cache.layers[0].keys.size(2) < 10 < 300 < cache.layers[0].shared_keys.size(2)
    theirs = policy.generate(**padded(rows), generation_config=config)
    with efficient(policy):
        assert torch.equal(policy.generate(**padded(rows), generation_config=config), theirs)
