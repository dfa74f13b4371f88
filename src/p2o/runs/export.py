"""What a user takes home from a finished run: model cards and the pool as JSON and as a page.

run directory ─► facts ─► README.md (run, newest and best checkpoint), p2o/pool.json, p2o/pool.md
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.files import write_json, write_text
from ..core.methods import evolves_templates
from ..core.templates import pool_to_json
from ..data.sources import FILE_KINDS
from ..trl.checkpoint import latest_checkpoint
from .model_card import CardFacts, model_card, pool_page
from .run_directory import Run, read_run

if TYPE_CHECKING:
    from .recipe import Recipe

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(name: str) -> bool:
    """``owner/name`` that is no path of this machine, and no file."""
    return bool(HUB_NAME.fullmatch(name)) and not Path(name).exists() and not name.endswith(FILE_KINDS)


def public_name(name: str) -> str:
    """A model's or data set's name that may be published: a path keeps its last part alone."""
    if name.startswith(("builtin:", "reasoning_gym:")) or is_hub_name(name):
        return name
    place, _, function = name.partition(".py:")
    last = Path(place).name
    return f"{last}.py:{function}" if function else last


def run_facts(run: Run, recipe: Recipe) -> CardFacts:
    """What a run with a result, and its recipe, know for the card."""
    base = str(recipe.model.model_name_or_path)
    return CardFacts(
        name=run.path.name,
        method=public_name(recipe.training.method),
        base_model=public_name(base),
        base_on_hub=is_hub_name(base),
        adapter=recipe.model.use_peft,
        settings=_settings(recipe),
        hub_data=sorted({s for s in (recipe.task.train,) if is_hub_name(s)}),
        before=run.result["before"],
        after=run.result["after"],
        epochs=[epoch.summary for epoch in run.epochs],
        cost=run.result["cost"],
        seconds=run.result.get("seconds"),
        versions={n: importlib.metadata.version(n) for n in ("trl", "transformers", "torch", "gepa")},
        pool=run.last_pool.pool if run.last_pool else (),
    )


def _settings(recipe: Recipe) -> dict[str, Any]:
    task, training = recipe.task, recipe.training
    rewards = [public_name(r) if isinstance(r, str) else r.get("name", "custom") for r in task.rewards]
    settings: dict[str, Any] = {
        "recipe": f"{recipe.name} (all of it: config.yaml in the run directory)",
        "method": public_name(training.method),
        "training data": public_name(task.train),
        "test data": public_name(task.test) if task.test else "–",
        "rewards": ", ".join(rewards),
        "seed": training.seed,
        "rollouts per sample": training.num_generations,
        "temperature": training.temperature,
        "evaluation temperature": training.eval_temperature,
        "epochs": f"{training.num_train_epochs:g}",
        "learning rate": training.learning_rate,
        "longest completion": training.max_completion_length,
    }
    if evolves_templates(training.method):
        reflector = task.reflector_model if task.reflector == "openai" else task.reflector
        settings |= {
            "reflector": public_name(str(reflector)),
            "hard": f"fewer than {training.tau} rollouts solved",
            "withdrawal of templates": training.withdrawal,
            "distillation": f"{training.distillation}, ratio in [{training.ratio_low:g}, {training.ratio_high:g}]",
            "evolution budget": f"{training.evolve_budget}, dev part {training.dev_size}",
        }
    return settings


def export_run(run_dir: Path, recipe: Recipe) -> list[Path]:
    """Writes the cards, and the pool of a run that evolved one.

    Returns:
        The files.
    """
    run = read_run(run_dir)
    card = model_card(run_facts(run, recipe))
    written = [folder / "README.md" for folder in (run_dir, *model_folders(run_dir))]
    for path in written:
        write_text(path, card)
    newest = run.last_pool
    if newest is not None:
        folder = run_dir / "p2o"
        facts = {"after_epoch": newest.epoch + 1, "dev_size": newest.dev_size}
        write_json(folder / "pool.json", {**facts, "pool": pool_to_json(newest.pool)})
        page = pool_page(newest.pool, newest.dev_size, run_dir.name, f"after epoch {newest.epoch + 1}")
        write_text(folder / "pool.md", page)
        written += [folder / "pool.json", folder / "pool.md"]
    return written


def model_folders(run_dir: Path) -> list[Path]:
    """The newest whole checkpoint, and the best one by the evaluations where HF's trainer kept it."""
    newest = latest_checkpoint(run_dir)
    if newest is None:
        return []
    folders = [Path(newest)]
    state = json.loads((folders[0] / "trainer_state.json").read_text(encoding="utf-8"))
    best = run_dir / Path(state.get("best_model_checkpoint") or "").name
    if best not in (run_dir, *folders) and best.is_dir():
        folders.append(best)
    return folders
