"""A tiny random policy that calls tools by chance, tools and an environment, and trainers on them.

A turn ends with <e>. A turn that holds <look> calls the tool ``look``, one that holds <bad> calls a tool that is not
there. A turn is likely to begin with <look>, and to end after it; so rollouts have zero to several calls.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from helpers import settings
from p2o import P2OConfig, P2OTrainer

CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<a>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "{% elif m.role == 'tool' %}<t>{{ m.content }}{% else %}<u>{{ m.content }}{% endif %}<e>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
SPECIAL = ("<p>", "<e>", "<u>", "<a>", "<t>", "<look>", "<bad>")
LETTERS = string.ascii_lowercase + string.digits + " .,:_{}'\"\n"
TEMPLATE = "look twice, then say it."
FEATURES = {0: list(range(7 + len(LETTERS) + 1)), 1: [5, 6], 2: [3]}
"""Hidden dimension → the tokens that set it: all, a call, the beginning of a turn."""
HEAD = {("<e>", 0): 0.6, ("<e>", 1): 2.0, ("<look>", 2): 1.9, ("<bad>", 2): 1.2}
"""(token, hidden dimension) → what makes the token likely."""


def build_tokenizer() -> Any:
    vocabulary = {text: n for n, text in enumerate([*SPECIAL, *LETTERS, "?"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, chat_template=CHAT_TEMPLATE, eos_token="<e>", pad_token="<p>", padding_side="left"
    )
    tokenizer.response_schema = {}  # TRL asks for one, and then calls parse_response
    tokenizer.parse_response = lambda ids, **_: parse(tokenizer, ids)
    return tokenizer


def parse(tokenizer: Any, ids: Any) -> dict[str, Any]:
    """A turn as a message."""
    names = {"<look>": "look", "<bad>": "no_tool"}
    called = [names[token] for token in tokenizer.convert_ids_to_tokens(ids) if token in names]
    text = "".join(token for token in tokenizer.convert_ids_to_tokens(ids) if token not in SPECIAL)
    calls = [{"type": "function", "function": {"name": name, "arguments": {}}} for name in called[:2]]
    return {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}


def build_model(tokenizer: Any, seed: int = 0) -> Any:
    """Its first three hidden dimensions tell of the token before: with the head's columns it is a table of bigrams."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, initializer_range=0.25, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **sizes,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for dimension, tokens in FEATURES.items():
            model.model.embed_tokens.weight[:, dimension] = 0.0
            model.model.embed_tokens.weight[tokens, dimension] = 3.0
            model.lm_head.weight[:, dimension] = 0.0
        for (token, dimension), weight in HEAD.items():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(token), dimension] = weight
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )
    return model.eval()


def look() -> str:
    """Looks at the door."""
    return "door 7 is shut"


class Room:
    """An environment: what it shows depends on its row, and it counts looks."""

    def __init__(self) -> None:
        self.looks, self.number = 0, 0

    def reset(self, number: int = 0, **row: Any) -> str:
        """Begins."""
        assert "sample_id" not in row
        self.looks, self.number = 0, number
        return f" in room {number}"

    def look(self) -> str:
        """Looks at the room."""
        self.looks += 1
        return f"door {self.number}{self.looks} is shut"

    def get_reward(self) -> float:
        """A quarter for each look."""
        return 0.25 * min(self.looks, 4)

    @property
    def feedback(self) -> str:
        return f"{self.looks} looks"


class Hall(Room):
    """Another one, with another tool and a reward of its own."""

    def wait(self) -> str:
        """Waits."""
        return "you wait"


def tool_rows(count: int) -> Any:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"task {n}: open"}],
            "number": n,
            "environment": ("room", "hall")[n % 2],
        }
        for n in range(count)
    ]
    return Dataset.from_list(rows)


def vowels(completions: list[Any], **columns: Any) -> list[float]:
    """A reward with spread: the share of vowels in all that the policy wrote."""
    texts = ["".join(m["content"] for m in turns if m["role"] == "assistant") for turns in completions]
    return [sum(ch in "aeiou0123456789" for ch in text) / max(1, len(text)) for text in texts]


TOOLS = {"tools": [look]}
ROOMS = {"environment_factory": Room}
SEVERAL = {"environment_factory": {"room": Room, "hall": Hall}}


def ours(
    out: Path,
    kind: dict[str, Any],
    *,
    rows: int = 4,
    reward: Any = vowels,
    dataset: Any = None,
    reflector: Any = None,
    **changes: Any,
) -> Any:
    """A P2OTrainer with tools."""
    tokenizer = build_tokenizer()
    return P2OTrainer(
        build_model(tokenizer),
        reward,
        P2OConfig(**{**settings(out, max_completion_length=100), **changes}),
        train_dataset=tool_rows(rows) if dataset is None else dataset,
        processing_class=tokenizer,
        reflector=reflector or (lambda jobs: []),
        **kind,
    )


def theirs(out: Path, kind: dict[str, Any], *, rows: int = 4, reward: Any = vowels, **changes: Any) -> Any:
    """TRL's trainer on the same."""
    tokenizer = build_tokenizer()
    return GRPOTrainer(
        build_model(tokenizer),
        reward,
        GRPOConfig(**{**settings(out, max_completion_length=100), **changes}),
        train_dataset=tool_rows(rows),
        processing_class=tokenizer,
        **kind,
    )
