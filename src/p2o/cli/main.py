"""The command line of p2o: puts the commands together. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from .. import __version__
from ..base.secrets import without_secrets
from ..base.spelling import nearest
from ..base.terminal import guard_terminal, tell
from ..errors import ConfigError, P2OError
from . import compare, completion, data, evaluate, evolve, init, keys, recipes, report, screen, train
from .failures import failures_explained
from .settings import options_of, split_words

COMMANDS = (init, train, compare, evaluate, evolve, screen, report, data, recipes, keys, completion)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command."""
    return explained(lambda: run_command(sys.argv[1:] if argv is None else argv))


def explained(work: Callable[[], int]) -> int:
    """The exit code of ``work``; a `P2OError` becomes one sentence on stderr and exit code 2."""
    guard_terminal()
    # Nothing is sent anywhere that the user did not ask for.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # A recipe's key ``environment`` is p2o's own, and p2o checks what it uses of TRL: no warning for each trainer.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    try:
        with failures_explained():
            return work()
    except P2OError as error:
        tell(without_secrets(str(error)))
        return error.exit_code
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


def run_command(words: Sequence[str]) -> int:
    """Runs the command of a command line; its exit code.

    Raises:
        P2OError: the command cannot do what was asked for.
        SystemExit: the words are no command (argparse has said why), or ask for help.
    """
    top, commands = make_parser()
    command = commands.choices.get(words[0]) if words else None
    if words and command is None and not words[0].startswith("-"):
        hint = nearest(words[0], commands.choices) or f" (there are {', '.join(commands.choices)})"
        raise ConfigError(f"there is no command {words[0]!r}{hint}")
    if command is None or not command.get_default("takes_settings"):
        args, rest = top.parse_known_args(words)
        if rest:
            raise ConfigError(f"p2o {args.command} has no option {rest[0]!r}{nearest(rest[0], options_of(command))}")
        args.parser = top
        return int(args.run(args))
    own, settings = split_words(words, options_of(command))
    args, rest = top.parse_known_args(own)
    args.options = options_of(command)
    if rest:
        raise ConfigError(f"unexpected argument {rest[0]!r}; settings are written --key value")
    return int(args.run(args, settings))


def make_parser() -> tuple[argparse.ArgumentParser, argparse._SubParsersAction[argparse.ArgumentParser]]:
    """(the whole parser, its commands)."""
    top = argparse.ArgumentParser(
        prog="p2o",
        description="Joint policy and prompt optimization: GRPO that learns where every rollout fails.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"p2o {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    for parser in commands.choices.values():
        parser.epilog = "The keys of a recipe: p2o keys [WORD]"
    top.epilog = "On your own data: p2o init DATA, p2o screen RECIPE, p2o train RECIPE"
    return top, commands
