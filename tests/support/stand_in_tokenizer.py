"""A small byte-level tokenizer, and Qwen's token ids, which TRL's tests write out by hand, in terms of its own.

Qwen's 151,669 tokens would make a tiny model's logits cost almost all the time of a test.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PLAIN = 4000
"""Tokens of plain text: 256 bytes in GPT-2's order (as Qwen has them), the pieces below, merges, fillers."""

PIECES = {
    293: " b", 314: " {", 330: ' "', 397: ">\n", 411: "out", 450: "de", 497: '",', 522: "</", 606: "name", 788: '":',
    894: " any", 927: "sh", 944: "'t", 1318: "text", 1414: " know", 1513: " don", 2765: " won", 4913: '{"',
    5212: ' {"', 5392: " tool", 6023: "hi", 6659: "call", 7692: "async", 9520: "step", 11248: "}}\n",
    13477: "crement", 14172: "tool", 16252: " increment", 16370: "arguments", 17453: "Done", 22785: "_tool",
    35744: "increment", 64648: "multiply", 93054: "_multiply", 95642: '"}}\n',
}  # fmt: skip
"""What the ids in TRL's tests mean in Qwen's vocabulary."""

QWEN_SPECIAL = 151643
"""Qwen's first special id; ours follow `PLAIN` in the same order."""

SPECIAL = {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}
ADDED = {
    14: "<tool_call>", 15: "</tool_call>", 22: "<tool_response>", 23: "</tool_response>", 24: "<think>",
    25: "</think>",
}  # fmt: skip
PAD, END = PLAIN, PLAIN + 2
NAMES = {PLAIN + n: SPECIAL.get(n) or ADDED.get(n) or f"<|extra_{n}|>" for n in range(26)}


def build_tokenizer(chat_template: str) -> Any:
    """The tokenizer. Its merges are learned from the chat template, so that prompts are not as long as their bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = _letters()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=list(letters.values()), show_progress=False)
    core.train_from_iterator([chat_template], trainer)
    merges = [tuple(merge) for merge in json.loads(core.to_str())["model"]["merges"]]
    pieces = ["".join(letters[b] for b in text.encode()) for text in PIECES.values()]
    merged = [left + right for left, right in merges]
    fillers = [f"Ġw{n}" for n in range(PLAIN)]
    texts = list(dict.fromkeys([*letters.values(), *pieces, *merged, *fillers]))[:PLAIN]
    core.model = models.BPE({text: n for n, text in enumerate(texts)} | {name: n for n, name in NAMES.items()}, merges)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True) for name in NAMES.values() if name not in ADDED.values()])
    core.add_tokens([AddedToken(name, normalized=False) for name in ADDED.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, chat_template=chat_template, eos_token=NAMES[END], pad_token=NAMES[PAD]
    )


def _letters() -> dict[int, str]:
    """Byte → the letter by which a byte-level vocabulary writes it, in the order of the ids."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(others)}


def ours(ids: Any) -> Any:
    """Our ids for Qwen's, in nested lists. Lists without one of Qwen's special ids stay as they are."""
    if not _has_special(ids):
        return ids
    pieces = {theirs: 256 + n for n, theirs in enumerate(PIECES)}

    def one(part: Any) -> Any:
        if isinstance(part, list):
            return [one(inner) for inner in part]
        return part - QWEN_SPECIAL + PLAIN if part >= QWEN_SPECIAL else pieces.get(part, part)

    return one(ids)


def _has_special(ids: Any) -> bool:
    if isinstance(ids, list):
        return any(_has_special(inner) for inner in ids)
    return isinstance(ids, int) and ids >= QWEN_SPECIAL


class TranslatingTorch:
    """Stands for ``torch`` in a test module: token ids of Qwen's become ours."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def tensor(self, data: Any, **options: Any) -> torch.Tensor:
        return torch.tensor(ours(data), **options)
