"""``p2o keys``: what can stand in a recipe."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..base.spelling import nearest
from ..base.terminal import console
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..runs.keys import Key


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "keys",
        help="list the keys of a recipe: type, default, meaning",
        description="Lists the keys of a recipe whose name or meaning holds WORD. The name of a key prints its whole "
        "text.",
        allow_abbrev=False,
    )
    parser.add_argument("word", nargs="?", default="", metavar="WORD")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--all", action="store_true", help="list all keys")
    form.add_argument("--markdown", action="store_true", help="print all keys as a page (docs/keys.md)")
    form.add_argument("--schema", action="store_true", help="print the JSON schema of a recipe, for editors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the keys."""
    from ..runs.keys import keys_page, recipe_keys
    from ..runs.schema import recipe_schema

    keys = recipe_keys()
    if args.markdown:
        console.print(keys_page(keys), end="")
    elif args.schema:
        console.print(json.dumps(recipe_schema(keys), indent=1))
    elif args.word or args.all:
        console.print("\n".join(lines_of(keys, "" if args.all else args.word)))
    else:
        console.print("\n".join(overview_of(keys)))
    return 0


def overview_of(keys: Sequence[Key]) -> list[str]:
    """How the keys are found: their groups with the number of keys in each, and the commands that list them."""
    from ..runs.keys import ORIGINS

    counts = {origin: sum(key.origin == origin for key in keys) for origin in ORIGINS}
    return [
        f"a recipe has {len(keys)} keys:",
        *(f"  {origin:<6} {counts[origin]:>4}   {words}" for origin, words in ORIGINS.items()),
        "the keys with a word in their name or meaning: p2o keys WORD",
        "the whole text of a key: p2o keys NAME",
        "all keys: p2o keys --all, or docs/keys.md",
    ]


def lines_of(keys: Sequence[Key], word: str) -> list[str]:
    """The keys with a word in their name or meaning, under headings; of the key with this very name, the whole text.

    Raises:
        ConfigError: there is none.
    """
    from ..runs.keys import ORIGINS

    word = word.strip().lstrip("-").replace("-", "_").casefold()
    found = [key for key in keys if word in key.name or word in key.text.casefold()]
    if not found:
        raise ConfigError(
            f"no key of a recipe has {word!r} in its name or meaning{nearest(word, [k.name for k in keys])}"
        )
    lines: list[str] = []
    for origin, words in ORIGINS.items():
        of_origin = [key for key in found if key.origin == origin]
        lines += ["", f"{origin} ({words})"] if of_origin else []
        for key in of_origin:
            whole = key.name == word
            lines += [f"  {key.name}: {key.default_text}   ({key.type if whole else key.short_type})"]
            lines += [f"      {key.text if whole else key.sentence}"]
    return lines[1:]
