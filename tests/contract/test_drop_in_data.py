"""Data and generation settings of TRL's users: taken with TRL's meaning, or refused in one sentence."""

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import AutoTokenizer
from trl import GRPOTrainer

from drop_in import one_template, ours, plain_rows, theirs, train_rows
from helpers import ALL_FOUR, hard_rows, letters, log_probs, rollout_batch, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.templates import apply_to_prompt
from p2o.errors import P2OError
from p2o.generation.models import resolve_model


def test_rows_that_repeat_are_taken(tmp_path):
    row = hard_rows(1)[0]
    trainer = ours(tmp_path, dataset=Dataset.from_list([row, row, row, row]).remove_columns("sample_id"))
    trainer.train()
    assert len(trainer.loop.samples) == 4
    again = ours(tmp_path / "again", dataset=Dataset.from_list([row, row, row, row]))  # with the same sample_id
    again.train()
    assert len(again.loop.samples) == 4


@pytest.mark.parametrize("named", [False, True])
def test_reward_functions_get_the_columns_that_trl_gives(tmp_path, named):
    def columns(make, where):
        seen = set()

        def reward(completions, **kwargs):
            seen.update(kwargs)
            return letters(completions)

        rows = hard_rows(4) if named else hard_rows(4).remove_columns("sample_id")
        make(tmp_path / where, reward=reward, dataset=rows, max_steps=1).train()
        return seen

    assert columns(ours, "ours") == columns(theirs, "theirs")


def test_numbers_as_sample_ids_last_through_an_evolution(tmp_path):
    rows = hard_rows(8).remove_columns("sample_id").add_column("sample_id", list(range(8)))
    trainer = ours(
        tmp_path,
        reward=None,
        dataset=rows,
        num_train_epochs=2,
        hard_min_count=2,
        evolve_budget="60",
        reflector=one_template,
    )
    trainer.train()
    assert set(trainer.loop.samples) == {str(n) for n in range(8)}
    assert trainer.loop.assignment


def test_unused_columns_may_be_removed(tmp_path):
    trainer = ours(tmp_path / "ours", rows=4, remove_unused_columns=True, max_steps=2)
    trainer.train()
    trl = theirs(tmp_path / "theirs", rows=4, remove_unused_columns=True, max_steps=2)
    trl.train()
    assert [row["loss"] for row in train_rows(trainer)] == [row["loss"] for row in train_rows(trl)]


def test_a_template_stands_in_the_first_text_part_of_the_user_s_message():
    prompt = [{"role": "user", "content": [{"type": "text", "text": "What is 3 + 4?"}, {"type": "text", "text": "!"}]}]
    [message] = apply_to_prompt("Add slowly.", prompt)
    assert message["content"] == [
        {"type": "text", "text": "Add slowly.\n\nWhat is 3 + 4?"},
        {"type": "text", "text": "!"},
    ]
    assert prompt[0]["content"][0]["text"] == "What is 3 + 4?"  # the data stays as it is


def test_content_as_parts_is_rolled_out_as_the_same_text(tmp_path, monkeypatch):
    """The question that the reflector and the ledger's id see is the text, too; the template stands in front of it."""
    parts = [
        {**row, "prompt": [{"role": "user", "content": [{"type": "text", "text": row["prompt"][0]["content"]}]}]}
        for row in hard_rows(4)
    ]
    trainer = ours(tmp_path, dataset=Dataset.from_list(parts), max_steps=1, tokenizer=parts_tokenizer())
    trainer.train()
    questions = {sample.question for sample in trainer.loop.samples.values()}
    assert questions == {row["prompt"][0]["content"] for row in hard_rows(4)}
    asked = []
    generate = GRPOTrainer._generate_single_turn
    monkeypatch.setattr(
        GRPOTrainer,
        "_generate_single_turn",
        lambda self, ids, *more, **options: asked.extend(map(list, ids)) or generate(self, ids, *more, **options),
    )
    batch = rollout_batch(trainer, "Show your work.")

    def texts(rows):
        return {"".join(text.split()) for text in trainer._tokenizer.batch_decode(rows, skip_special_tokens=True)}

    assert texts(batch["prompt_ids"]) == {"".join(question.split()) for question in questions}
    assert texts(asked) == {"".join(f"Show your work.{question}".split()) for question in questions}


def parts_tokenizer():
    """The built-in policy's, with a chat template that takes both forms of content."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))
    tokenizer.chat_template = (
        "{% for m in messages %}<u>{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}<a>"
    )
    return tokenizer


def test_a_prompt_without_a_user_message_is_refused_before_anything_is_trained(tmp_path):
    rows = [{**row, "prompt": [{"role": "assistant", "content": "3 + 4 ="}]} for row in hard_rows(4)]
    with pytest.raises(P2OError, match="no user message"):
        ours(tmp_path, dataset=Dataset.from_list(rows))
    ours(tmp_path, dataset=Dataset.from_list(rows), method="grpo", max_steps=1).train()  # no template is put there


def test_plain_strings_without_a_chat_template(tmp_path):
    """A base model: prompts are text; the own policy as a reflector works without a chat, too."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))
    tokenizer.chat_template = None
    trainer = ours(
        tmp_path,
        reward=None,
        dataset=plain_rows(8),
        tokenizer=tokenizer,
        reflector="self",
        reflect_max_tokens=8,
        num_train_epochs=2,
        hard_min_count=2,
        evolve_budget="60",
        evolve_max_iterations=1,
    )
    trainer.train()
    assert "train_loss" in trainer.state.log_history[-1]


# --- refused, each with a sentence of its own --------------------------------------------------------------------


def test_iterable_data_is_refused(tmp_path):
    stream = IterableDataset.from_generator(lambda: iter(hard_rows(4)))
    with pytest.raises(P2OError, match="iterable"):
        ours(tmp_path, dataset=stream)


def test_training_without_data_is_refused_by_trl(tmp_path):
    with pytest.raises(ValueError, match="`train_dataset` is required"):
        P2OTrainer(resolve_model("builtin:sandbox"), letters, P2OConfig(**settings(tmp_path)))


def test_a_rollout_function_is_refused(tmp_path):
    with pytest.raises(P2OError, match="rollout_func"):
        ours(tmp_path, rollout_func=len)


@pytest.mark.parametrize("column", ["image", "images"])
@pytest.mark.parametrize("which", ["train", "eval"])
def test_images_are_refused_at_construction(tmp_path, column, which):
    with_images = hard_rows(4).add_column(column, [[]] * 4)
    data = {"dataset": with_images} if which == "train" else {"eval_dataset": with_images}
    with pytest.raises(P2OError, match=rf"image.*{column}"):
        ours(tmp_path, **data)


@pytest.mark.parametrize("method", ["p2o", "grpo"])
@pytest.mark.parametrize("which", ["train", "eval"])
def test_an_image_in_a_message_is_refused_at_construction(tmp_path, which, method):
    rows = [{"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is 3 + 4?"}]}]}]
    data = {"dataset": Dataset.from_list(rows)} if which == "train" else {"eval_dataset": Dataset.from_list(rows)}
    with pytest.raises(P2OError, match=r"a part that is no text, .*use trl\.GRPOTrainer"):
        ours(tmp_path, method=method, **data)


# --- generation settings -----------------------------------------------------------------------------------------

UNUSUAL = [{"num_beams": 2}, {"cache_implementation": "static"}, {"use_cache": False}]
"""What our own generation does not do: TRL's is used, with the same meaning."""


@pytest.mark.parametrize("options", UNUSUAL, ids=str)
def test_the_log_probs_under_the_template_are_the_model_s(tmp_path, options):
    def every_second(completions, **kwargs):  # beams of a group may all end alike
        return [float(n % 2) for n in range(len(completions))]

    trainer = ours(tmp_path, reward=every_second, rows=4, generation_kwargs=options, distillation="importance")
    batch = rollout_batch(trainer, ALL_FOUR)
    questions = [s.question for s in trainer.loop.samples.values() for _ in range(trainer.num_generations)]
    prompts = [trainer.processing_class(f"<u>{ALL_FOUR}\n\n{q}<a>")["input_ids"] for q in questions]
    for n, expected in enumerate(log_probs(trainer.model, prompts, batch)):
        assert torch.allclose(batch["old_per_token_logps"][n, : len(expected)], expected, atol=1e-3), n


@pytest.mark.parametrize("options", UNUSUAL, ids=str)
def test_an_evaluation_and_an_evolution_generate_with_these_settings_too(tmp_path, options):
    trainer = ours(
        tmp_path,
        reward=None,
        rows=4,
        num_train_epochs=2,
        generation_kwargs=options,
        eval_dataset=hard_rows(4, "test"),
        hard_min_count=2,
        evolve_budget="20",
        reflector=one_template,
    )
    trainer.train()
    assert 0 <= trainer.evaluate()["eval_bare_success"] <= 1
    assert trainer.loop.assignment
