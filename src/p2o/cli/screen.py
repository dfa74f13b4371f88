"""``p2o screen``: whether P²O is worth its cost on a recipe."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ..base.files import write_json
from ..base.terminal import console, percent
from ..core.diagnosis import Finding
from ..core.states import GROUP_OUTCOMES, HARD, NO_SPREAD
from ..errors import ConfigError
from ..runs.reading import words_without_secrets
from ..runs.recipe import load_recipe
from .settings import ANY_SETTING, RECIPE
from .tables import span

SAMPLES, SCREEN_BUDGET = 200, 1000
"""The defaults: training samples that are drawn, and most rollouts of the evolution."""


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "screen",
        help="measure whether P²O is worth its cost on a recipe, without training",
        description="Draws bare groups, evolves templates for the hard ones, and measures on held-out hard samples "
        f"what the templates add, and how much of that can be trained into the bare prompt. {ANY_SETTING}",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", help=RECIPE)
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"training samples to draw (default {SAMPLES})")
    parser.add_argument(
        "--budget",
        type=int,
        default=SCREEN_BUDGET,
        help=f"most rollouts of the screen's evolution (default {SCREEN_BUDGET}); where templates help, it ends before",
    )
    parser.add_argument("--out", help="the JSON file with the figures (default: screen.json in output_dir)")
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Measures, prints the verdict and writes the figures."""
    recipe = load_recipe(args.recipe, settings, args.options)
    if args.samples < 1:
        raise ConfigError(f"--samples is {args.samples}; it must be at least 1")
    from ..analysis.findings import screen_findings
    from ..analysis.screen.measure import measure_screen
    from ..analysis.screen.verdict import judge_screen
    from ..core.display import print_finding
    from ..runs.building import rewards_of, samples_of
    from ..runs.fixed_policy import fixed_policy

    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    rewards.check_gold(samples)
    model = str(recipe.model.model_name_or_path)
    started = time.perf_counter()
    result = measure_screen(fixed_policy(recipe, model, rewards), samples, args.samples, args.budget)
    judged = judge_screen(result)
    table = Table(title=f"{model}: {result.draws} bare rollouts of {result.samples} samples", title_justify="left")
    for column in ("groups", "count", "share", "95 %"):
        table.add_column(column, no_wrap=True)
    rows = [(GROUP_OUTCOMES[outcome].label, share) for outcome, share in result.outcomes.items()]
    rows += [(HARD.label, result.hard), (f"{NO_SPREAD.label} of rewards", result.no_spread)]
    for label, share in rows:
        table.add_row(label, str(share.count), percent(share.share), span(share.interval))
    console.print(table)
    for line in judged.numbers:
        console.print(f"  {line}")
    if result.pool:
        console.print(f"  best template: {max(result.pool, key=lambda t: t['weight'])['text']}")
    console.print(Text(f"{judged.worth}: {judged.reason}", style="bold"))
    for finding in screen_findings(result, vars(recipe.training) | vars(recipe.task)):
        print_finding(finding, next_words(finding, args.recipe, settings, args.samples))
    target = Path(args.out) if args.out else Path(recipe.training.output_dir) / "screen.json"
    seconds = time.perf_counter() - started
    write_json(target, {"verdict": asdict(judged), "screen": asdict(result), "seconds": seconds})
    console.print(f"{seconds:.0f} s; the figures are in {target}")
    return 0


def next_words(finding: Finding, recipe: str, settings: Sequence[str], samples: int) -> list[str]:
    """The words from which a finding's next command is made; ``--samples`` is an option of ``p2o screen`` alone."""
    drawn = ["--samples", str(samples)] if finding.screen and samples != SAMPLES else []
    return [recipe, *words_without_secrets(settings), *drawn]
