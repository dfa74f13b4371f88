"""The sandbox's tokenizer: one token a character, a real `tokenizer.json`, a chat template.

Shell: ``python tools/sandbox/tokenizer.py DIR`` writes the tokenizer files into DIR.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<eos>", "<u>", "<a>"]
CHARACTERS = sorted("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;+-=*?!'()\n|")
VOCABULARY = SPECIAL + CHARACTERS
"""Ids in order. Weights depend on it: do not reorder."""

# A system message is put before the next user message with a blank line, so that an instruction
# means the same to the model wherever a chat carries it.
CHAT_TEMPLATE = """\
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set ns.system = ns.system + message['content'] + '\\n\\n' -%}
{%- elif message['role'] == 'user' -%}
{{- '<u>' + ns.system + message['content'] -}}
{%- set ns.system = '' -%}
{%- else -%}
{{- '<a>' + message['content'] + '<eos>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<a>' -}}{%- endif -%}
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    # A character outside the alphabet reads as a space: text of any origin can be fed in.
    tokenizer = Tokenizer(WordLevel(ids, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<u>", "<a>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )


def main() -> None:
    folder = Path(sys.argv[1])
    build_tokenizer().save_pretrained(folder)
    print(f"{len(VOCABULARY)} tokens -> {folder}")


if __name__ == "__main__":
    main()
