"""How a policy samples: TRL's rules, and what cannot be is one sentence."""

import logging
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from p2o.errors import ConfigError
from p2o.generation.efficient import why_not
from p2o.generation.models import resolve_model
from p2o.generation.settings import (
    GenerationSettings,
    generation_config,
    prompt_ids,
    read_chat_template,
    stop_tokens,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(resolve_model("builtin:sandbox"))


@pytest.fixture
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))


def test_a_chat_template_that_refuses_a_role_is_one_sentence(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}"
    )
    chat = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(
        ConfigError, match=r"refuses a conversation of system, user \(TemplateError: no system\); change"
    ):
        prompt_ids(tokenizer, [chat], GenerationSettings(8))


@pytest.mark.parametrize(("named", "ids"), [(None, [1]), (1, [1]), (5, [1, 5]), ([5, 1], [5, 1]), ([5, 6], [1, 5, 6])])
def test_every_stop_token_counts_the_models_and_the_tokenizers(
    model: Any, tokenizer: Any, named: Any, ids: Any
) -> None:
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = named
    try:
        assert stop_tokens(model, tokenizer) == ids
    finally:
        model.generation_config.eos_token_id = before


def test_greedy_leaves_out_what_shapes_sampling(tokenizer: Any) -> None:
    settings = GenerationSettings(8, top_p=0.5, top_k=3, min_p=0.1)
    cold, warm = (generation_config(settings, tokenizer, [1], heat, 8) for heat in (0.0, 0.7))
    assert (cold.do_sample, cold.top_p, cold.top_k, cold.min_p) == (
        False,
        1.0,
        50,
        None,
    )  # 50 is unused: any other value is warned of
    assert (warm.do_sample, warm.temperature, warm.top_p, warm.top_k, warm.min_p) == (True, 0.7, 0.5, 3, 0.1)


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({}, True), ({"min_new_tokens": 2}, True), ({"num_beams": 2}, False), ({"use_cache": False}, False),
        ({"no_repeat_ngram_size": 2}, False), ({"cache_implementation": "static"}, False),
        ({"stop_strings": ["x"]}, False), ({"bad_words_ids": [[3]]}, False),
    ],
)  # fmt: skip
def test_efficient_generation_steps_aside_for_what_it_does_not_honour(
    model: Any, tokenizer: Any, options: dict[str, Any], plain: bool
) -> None:
    config = generation_config(GenerationSettings(8, generation_kwargs=options), tokenizer, [1], 1.0, 8)
    assert (why_not(model, config) is None) is plain


def test_a_penalty_counts_from_the_settings_and_from_the_model(model: Any, tokenizer: Any) -> None:
    assert why_not(model, generation_config(GenerationSettings(8, repetition_penalty=2.0), tokenizer, [1], 1.0, 8))
    model.generation_config.no_repeat_ngram_size = 3
    try:
        assert why_not(model, generation_config(GenerationSettings(8), tokenizer, [1], 1.0, 8))
    finally:
        model.generation_config.no_repeat_ngram_size = None


def test_a_chat_template_of_ones_own(tmp_path: Any) -> None:
    (tmp_path / "own.jinja").write_text("{{ 1 }}")
    assert read_chat_template(str(tmp_path / "own.jinja")) == "{{ 1 }}"
    assert "<u>" in read_chat_template(resolve_model("builtin:sandbox"))
    with pytest.raises(ConfigError, match="chat_template_path: cannot read"):
        read_chat_template(str(tmp_path / "none.jinja"))


@pytest.mark.parametrize("prompt", ["a text", [{"role": "user", "content": "a text"}]])
def test_a_prompt_beyond_the_models_length_is_tokenized_without_a_warning(
    prompt: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    tokenizer.model_max_length = 2
    assert len(prompt_ids(tokenizer, [prompt], GenerationSettings(8))[0]) > 2
    assert caplog.text == ""
    tokenizer("a text of some length")
    assert "longer than the specified maximum" in caplog.text  # that warning would have been seen
