"""Small tokenizers of several kinds, built here, with the special tokens and chat templates of well-known ones."""

from __future__ import annotations

from functools import cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
ZEPHYR = (  # its turn markers are plain text
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA2 = (  # so are these
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %} "
    "{{ m.content }} </s>{% else %}{{ raise_exception('no system message') }}{% endif %}{% endfor %}"
)
ALPACA = (
    "{% for m in messages %}### {{ 'Response' if m.role == 'assistant' else 'Instruction' }}:\n{{ m.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}"
)


def _byte_level(*special: str | AddedToken, plain: tuple[str, ...] = (), lower: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    if lower:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens(list(plain))
    return tokenizer


def _wrap(tokenizer: Tokenizer, template: str | None, **special: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special)


@cache
def built(name: str) -> Any:
    if name == "chatml":
        core = _byte_level("<|im_start|>", "<|im_end|>", "<|endoftext|>", plain=("<think>", "</think>", "<tool_call>"))
        return _wrap(core, CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    if name == "llama3":
        tokens = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|reserved_0|>")
        return _wrap(_byte_level(*tokens), LLAMA3, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    if name == "normalised":  # reads capitals and full-width forms as the token too
        core = _byte_level(*(AddedToken(t, normalized=True) for t in ("<|im_start|>", "<|im_end|>")), lower=True)
        return _wrap(core, CHATML, eos_token="<|im_end|>")
    if name == "stripping":  # swallows the white space around its tokens
        tokens = [AddedToken(t, lstrip=True, rstrip=True, special=True) for t in ("<|im_start|>", "<|im_end|>")]
        return _wrap(_byte_level(*tokens), CHATML, eos_token="<|im_end|>")
    if name == "not special":  # the turn tokens are added, but nobody called them special
        return _wrap(_byte_level("<eos>", plain=("<|im_start|>", "<|im_end|>")), CHATML, eos_token="<eos>")
    if name == "words":  # knows few words, everything else is unknown
        vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "add": 3, "digits": 4, "user": 5}
        core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.Whitespace()
        core.add_special_tokens(["<unk>", "<s>", "</s>"])
        return _wrap(core, ZEPHYR, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    templates = {"zephyr": ZEPHYR, "llama2": LLAMA2, "alpaca": ALPACA, "no chat": None}
    return _wrap(_byte_level("<s>", "</s>"), templates[name], bos_token="<s>", eos_token="</s>")


NAMES = ("chatml", "llama3", "normalised", "stripping", "not special", "words", "zephyr", "llama2", "alpaca", "no chat")
