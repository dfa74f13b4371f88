"""The sandbox's tokenizers: one token a character, a real `tokenizer.json`, a chat template.

The one with tools has three more tokens, for a list of tools, a call and a result.

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

TOOL_SPECIAL = ["<f>", "<c>", "<t>"]
TOOL_VOCABULARY = VOCABULARY + TOOL_SPECIAL
"""Ids of the tokenizer with tools, in order."""

TOOL_CHAT_TEMPLATE = """\
{%- if tools -%}
{{- '<f>' -}}
{%- for tool in tools -%}{{- (tool['function'] if 'function' in tool else tool)['name'] + ' ' -}}{%- endfor -%}
{%- endif -%}
""" + CHAT_TEMPLATE.replace(
    """\
{%- else -%}
{{- '<a>' + message['content'] + '<eos>' -}}
""",
    """\
{%- elif message['role'] == 'tool' -%}
{{- '<t>' + message['content'] -}}
{%- else -%}
{{- '<a>' + message['content'] -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '<c>' + call['function']['name'] -}}
{%- for name, value in call['function']['arguments'].items() -%}{{- ' ' + name + '=' + value | string -}}{%- endfor -%}
{%- endfor -%}
{{- '<eos>' -}}
""",
)

RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<a>",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<c>(?P<name>\w+)",
            "close_pattern": r"(?=<c>)|<eos>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {
                "tag_pattern": r" (?P<key>\w+)=(?P<value>[^ ]*)",
                "value_parser": {"name": "text"},
            },
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close_pattern": r"<eos>", "content": "text"},
    },
}
"""How transformers finds the calls in what the policy wrote."""


def build_tokenizer(tools: bool = False) -> PreTrainedTokenizerFast:
    vocabulary, special = (TOOL_VOCABULARY, SPECIAL + TOOL_SPECIAL) if tools else (VOCABULARY, SPECIAL)
    ids = {token: i for i, token in enumerate(vocabulary)}
    # A character outside the alphabet reads as a space: text of any origin can be fed in.
    tokenizer = Tokenizer(WordLevel(ids, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    built = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=special[2:],
        chat_template=TOOL_CHAT_TEMPLATE if tools else CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )
    if tools:
        built.response_template = RESPONSE_TEMPLATE
    return built


def main() -> None:
    folder = Path(sys.argv[1])
    build_tokenizer().save_pretrained(folder)
    print(f"{len(VOCABULARY)} tokens -> {folder}")


if __name__ == "__main__":
    main()
