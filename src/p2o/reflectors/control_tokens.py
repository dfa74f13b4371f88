"""Text that a tokenizer reads as the structure of a chat.

Templates and completions are data. A template with such text could end the user's turn, or forge an assistant's
turn or a system message, so it is refused. In the prompt for a reflector such text is broken up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..core.templates import control_tokens_in

COMMON = (
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>",
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<end_of_utterance>",  # Gemma, SmolVLM
    "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",  # Llama 2, Mistral
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]",
    "[CALL_ID]", "[ARGS]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",  # Qwen
    "<PRE>", "<SUF>", "<MID>", "<EOT>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>",  # infilling
)  # fmt: skip
"""Control tokens of common chat formats, for a served policy, whose tokenizer is not known."""

_SERVED = re.compile(
    r"[<＜][|｜][^<>＜＞|｜\s]{1,40}[|｜][>＞]"  # <|im_end|>, <|eom_id|>, <|python_tag|>, DeepSeek's <｜User｜>
    r"|<extra_id_\d+>|<reserved_\d+>|<unused\d+>|\[UNUSED_TOKEN_\d+\]"
)
"""Patterns of more control tokens, for the same purpose."""

_WORDS = ("q7wxk", "q8wxk", "q9wxk")  # placeholders for the contents, when a chat template is examined
_CONVERSATIONS = (
    ("user",),
    ("user", "assistant", "user"),
    ("system", "user", "assistant"),
)
_REASONING = re.compile(r"</?think(?:ing)?>")
"""These neither end a turn nor open one, and instructions may mention them."""
_MARKED = re.compile(r"[<>\[\]|#{}:]")
_TRIES = 5


class ControlGuard:
    """Finds and breaks up chat control text of one tokenizer.

    Three things are control text: the tokenizer's special tokens, also with white space around them, in another case or
    in other Unicode forms; added tokens that the chat template writes; and turn markers that the chat template writes
    as plain text ("[INST]", "### Response:").

    Args:
        tokenizer: a transformers tokenizer; None if it is not known (then the control tokens of all common chat formats
            are used).
        chat_template: used instead of the tokenizer's.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.ids: frozenset[int] = frozenset()
        self.strings: frozenset[str] = frozenset(COMMON)
        if tokenizer is None:
            return
        added = tokenizer.added_tokens_decoder
        special = {str(t) for t in tokenizer.all_special_tokens} | {t.content for t in added.values() if t.special}
        scaffold = list(_scaffold(tokenizer, chat_template))
        special |= {
            t.content
            for t in added.values()
            if not _REASONING.fullmatch(t.content) and any(t.content in piece for piece in scaffold)
        }
        special = {t for t in special if t.strip()}
        self.strings = frozenset(special | set(_markers(scaffold, special)))
        # Any unknown character is read as the unknown token, so that token is found by its name only.
        ids = {i for i, t in added.items() if t.content in special} | set(tokenizer.all_special_ids)
        blank = {i for i, t in added.items() if not t.content.strip()}
        self.ids = frozenset(ids - blank - {tokenizer.unk_token_id})

    def found(self, text: str) -> list[str]:
        """The pieces of a text that are control text, as they are written in it."""
        served = _SERVED.findall(text) if self.tokenizer is None else []
        return sorted({*control_tokens_in(text, self.strings), *self._read_as_control(text), *served})

    def _read_as_control(self, text: str) -> Iterator[str]:
        if not self.ids:
            return
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
        for place, token_id in enumerate(read["input_ids"]):
            if token_id in self.ids:
                start, end = read["offset_mapping"][place] if fast else (0, 0)
                piece = text[start:end].strip()
                yield piece or self.tokenizer.convert_ids_to_tokens(token_id)

    def neutralise(self, text: str) -> str:
        """The text with a space inside every piece of control text. A piece that is still control text is removed."""
        for attempt in range(_TRIES):
            pieces = self.found(text)
            if not pieces:
                return text
            for piece in sorted(pieces, key=len, reverse=True):
                text = text.replace(piece, f"{piece[0]} {piece[1:]}" if attempt < 2 and len(piece) > 1 else " ")
        return text if not self.found(text) else ""


def _scaffold(tokenizer: Any, chat_template: str | None) -> Iterator[str]:
    """What a chat template writes around the contents."""
    if not (chat_template or tokenizer.chat_template):
        return
    for roles in _CONVERSATIONS:
        messages = [{"role": r, "content": w} for r, w in zip(roles, _WORDS, strict=False)]
        try:
            text = tokenizer.apply_chat_template(
                messages, chat_template=chat_template, tokenize=False, add_generation_prompt=True
            )
        except Exception:  # a chat template may refuse a conversation with any error
            continue
        yield from re.split("|".join(_WORDS), text)


def _markers(scaffold: list[str], special: set[str]) -> Iterator[str]:
    """Turn markers in plain text: lines with brackets, bars, hashes or colons, without the special tokens in them."""
    tokens = "|".join(re.escape(t) for t in sorted(special, key=len, reverse=True))
    for piece in scaffold:
        for part in re.split(tokens, piece) if tokens else [piece]:
            for line in part.splitlines():
                marker = _REASONING.sub("", line).strip()
                if len(marker) >= 3 and _MARKED.search(marker):
                    yield marker
