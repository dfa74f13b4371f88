"""``p2o train``: trains a recipe, evaluates before and after, and writes the model card and the report."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.files import write_json, write_text
from ..base.stopping import StoppedError, signals_stop
from ..base.terminal import console
from ..base.words import settings_without
from ..core.diagnosis import RUN_KEYS
from ..core.progress import duration
from ..errors import P2OError
from ..runs.reading import words_without_secrets
from ..runs.recipe import Recipe, load_recipe
from .failures import failures_explained
from .settings import ANY_SETTING, RECIPE

if TYPE_CHECKING:
    from ..runs.held_out import HeldOut
    from ..trl.trainer import P2OTrainer

log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "train", help="train a recipe", description=f"Trains a recipe. {ANY_SETTING}", allow_abbrev=False
    )
    parser.add_argument("recipe", help=RECIPE)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and the plan, and stop")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the run directory's newest checkpoint; the same command without it does so too (if_exists: "
        "resume), but does not train a complete run further, and without a checkpoint it starts a run",
    )
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Trains, or prints the plan."""
    recipe = load_recipe(args.recipe, settings, args.options)
    if args.dry_run:
        from ..runs.plan import make_plan, plan_lines

        # The plan as comments, so that what is printed is a recipe again; last, where it is not scrolled away.
        plan = "".join(f"# {line}\n" for line in plan_lines(make_plan(recipe)))
        unicode = console.encoding.startswith("utf")  # else escaped: a question mark would be another value
        console.print(recipe.to_yaml(unicode=unicode) + plan, end="")
        return 0
    from ..runs.claim import claimed_run_dir

    with (
        claimed_run_dir(recipe, args.resume) as (run_dir, checkpoint),
        _told_how_to_continue(run_dir, args.recipe, settings),
    ):
        _train(recipe, run_dir, checkpoint, [args.recipe, *words_without_secrets(settings)])
    return 0


@contextmanager
def _told_how_to_continue(run_dir: Path, name: str, settings: Sequence[str]) -> Iterator[None]:
    """Adds to an error what continues the run, once there is a checkpoint to continue from."""
    from ..trl.checkpoint import latest_checkpoint

    try:
        with failures_explained():
            yield
    except P2OError as error:
        if latest_checkpoint(run_dir) is not None:
            error.args = (f"{error}; {_how_to_continue(run_dir, name, settings)}", *error.args[1:])
        raise
    except KeyboardInterrupt as error:  # outside training, where a signal asks for a stop
        saved = latest_checkpoint(run_dir) is not None
        how = _how_to_continue(run_dir, name, settings) if saved else "nothing is saved yet: start again"
        raise StoppedError(f"interrupted; {how}", 130) from error


def _how_to_continue(run_dir: Path, name: str, settings: Sequence[str]) -> str:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "to continue, start the same processes again with --resume"
    kept = words_without_secrets(settings_without(settings, RUN_KEYS))
    return "to continue: " + shlex.join(["p2o", "train", name, *kept, "--output_dir", str(run_dir), "--resume"])


def _train(recipe: Recipe, run_dir: Path, checkpoint: str | None, words: Sequence[str]) -> None:
    from transformers.utils.logging import disable_progress_bar

    from ..runs.building import trainer_of
    from ..runs.held_out import HeldOut
    from ..runs.run_directory import COMPLETE, Run
    from ..runs.second_process import evolving_beside

    resolved = recipe.to_yaml(run_dir)  # as it was asked for: libraries fill in settings of their own
    held_out = HeldOut(recipe)  # before the model: a mistake in the data shows at once
    trainer = trainer_of(recipe)
    trainer.watch.run_by, trainer.watch.settings = words, vars(recipe.task)
    disable_progress_bar()  # transformers shows one for each file that it writes
    main = trainer.accelerator.is_main_process
    if main:
        write_text(run_dir / "config.yaml", resolved)
        console.print(f"p2o train {recipe.name} → {run_dir}" + (f", resumed from {checkpoint}" if checkpoint else ""))
    started = time.perf_counter()
    own = run_dir / "p2o"
    before = Run(run_dir).before if checkpoint else _evaluated(held_out, trainer)
    if main:
        for name in (COMPLETE, "result.json"):
            (own / name).unlink(missing_ok=True)
        if not checkpoint:
            write_json(own / "before.json", before)
    with signals_stop(trainer.stop), evolving_beside(trainer, bool(checkpoint)):
        trainer.train(resume_from_checkpoint=checkpoint)
    after = _evaluated(held_out, trainer)
    seconds = time.perf_counter() - started
    cost = trainer.global_cost().state_dict()
    if main:
        write_json(own / "cost.json", cost)
        result = {
            "before": before.get("metrics", {}),
            "after": after["metrics"],
            "outcomes_before": before.get("outcomes", {}),
            "outcomes": after["outcomes"],
            "draws": held_out.draws,
            "solved_before": before.get("solved", {}),
            "solved": after["solved"],
            "groups": held_out.groups,
            "cost": cost,
            "seconds": seconds,
        }
        write_json(own / "result.json", result)
        _finish(recipe, run_dir, result, words, trainer)
        write_json(own / COMPLETE, {})


def _evaluated(held_out: HeldOut, trainer: P2OTrainer) -> dict[str, Any]:
    metrics, outcomes = held_out.evaluate(trainer)
    return {"metrics": metrics, "outcomes": outcomes, "solved": held_out.draw(trainer)}


def _finish(
    recipe: Recipe, run_dir: Path, result: Mapping[str, Any], words: Sequence[str], trainer: P2OTrainer
) -> None:
    """Prints the result, and writes what a user takes home."""
    from ..analysis.ending import grpo_reference, print_report, print_result, unchanged
    from ..runs.export import export_run
    from ..runs.run_directory import Run
    from ..trl.checkpoint import latest_checkpoint
    from ..trl.trackers import send_report
    from .ending import next_commands, print_commands, print_faults

    print_result(result, recipe.training.eval_temperature)
    if reference := grpo_reference(run_dir.parent / f"compare-{recipe.name}", recipe.name):
        console.print(reference)
    model = Path(latest_checkpoint(run_dir) or run_dir)
    console.print(f"took {duration(result['seconds'])}; the model is in {model}")
    export_run(run_dir, recipe)
    print_report(run_dir, partial(send_report, trainer.callback_handler.callbacks))
    findings, same = trainer.watch.findings, unchanged(result)
    print_faults(recipe, findings, same)
    print_commands(next_commands(Run(run_dir), model, words, recipe, findings, bool(same)))
