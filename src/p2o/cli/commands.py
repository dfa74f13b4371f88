"""What the commands of the command line do."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from ..base.files import read_json, write_json, write_text
from ..base.stopping import signals_stop
from ..base.terminal import console, percent
from ..core.templates import PoolTemplate, make_pool, pool_to_json
from ..errors import ConfigError
from ..runs.model_card import pool_page
from ..runs.recipe import Recipe, changed_keys, load_recipe, shipped_recipes
from ..trl.checkpoint import latest_checkpoint


def recipes() -> int:
    for name in shipped_recipes():
        console.print(name)
    return 0


def data(options: Mapping[str, Any], rest: Sequence[str]) -> int:
    """``p2o data SET``; ``options`` are the command line's."""
    from ..data import nearest
    from ..data.evaluation_sets import EVAL_SETS, draws, eval_to
    from ..data.training_sets import prepare_to
    from ..rewards import readable_answers

    if rest:
        raise ConfigError(f"p2o data {options['set']} has no option {rest[0]!r}")
    out = Path(options["out"]) if options["out"] else None
    if options["set"] == "eval":
        name = options["name"]
        if name not in EVAL_SETS:
            raise ConfigError(f"there is no evaluation set {name!r}{nearest(name, EVAL_SETS)}; "
                              f"there are {', '.join(EVAL_SETS)}")  # fmt: skip
        count, files = eval_to(name, out, options["source"])
        console.print(f"{name}: {count} items in {', '.join(map(str, files))}")
        console.print(f"the paper's protocol: p2o eval MODEL RECIPE --test {files[0]} --draws {draws(count)}")
        return 0
    for part in ("size", "dev"):
        if options[part] < 1:
            raise ConfigError(f"--{part} is {options[part]}; it must be at least 1")
    draw = {name: options[name] for name in ("size", "dev", "difficulty", "seed", "source")}
    made, files = prepare_to(options["set"], out, readable_answers, **draw)
    console.print(f"{options['set']}: {len(made.train)} rows for training, {len(made.dev)} for dev")
    for reason, number in made.left_out.items():
        console.print(f"  left out: {number} {reason}")
    console.print("written: " + ", ".join(map(str, files)))
    return 0


def train(name: str, overrides: Sequence[str], dry_run: bool, resume: bool) -> int:
    recipe = load_recipe(name, overrides)
    if dry_run:
        from ..runs.plan import make_plan, plan_lines

        # The plan as comments, so that what is printed is a recipe again.
        plan = "".join(f"# {line}\n" for line in plan_lines(make_plan(recipe)))
        console.print(plan + recipe.to_yaml(), end="")
        return 0
    run_dir, checkpoint = _place(recipe, resume)
    from ..runs.building import trainer_of
    from ..runs.held_out import HeldOut

    resolved = recipe.to_yaml()  # as it was asked for: libraries fill in settings of their own
    trainer = trainer_of(recipe)
    main = trainer.accelerator.is_main_process
    if main:
        write_text(run_dir / "config.yaml", resolved)
        console.print(f"p2o train {recipe.name} → {run_dir}" + (f", resumed from {checkpoint}" if checkpoint else ""))
    held_out = HeldOut(recipe)
    started = time.perf_counter()
    before_file, result_file = run_dir / "p2o" / "before.json", run_dir / "p2o" / "result.json"
    before = None
    if checkpoint:
        before = read_json(before_file) if before_file.exists() else {}  # without held-out data
    else:
        before, _ = held_out.evaluate(trainer)
    if main:
        result_file.unlink(missing_ok=True)  # from here on the run is not complete
        if before:
            write_json(before_file, before)
    with signals_stop(trainer.stop):
        trainer.train(resume_from_checkpoint=checkpoint)
    after, outcomes = held_out.evaluate(trainer)
    seconds = time.perf_counter() - started
    cost = trainer.global_cost().state_dict()
    if main:
        write_json(run_dir / "p2o" / "cost.json", cost)
        write_json(
            result_file,
            {"before": before, "after": after, "outcomes": outcomes, "cost": cost, "seconds": seconds},
        )
        _print_result(run_dir, before, after, seconds)
        from ..runs.export import export_run
        from .judge import report_of

        export_run(run_dir, recipe)
        report_of(run_dir)
    return 0


def _place(recipe: Recipe, resume: bool) -> tuple[Path, str | None]:
    """(run directory, checkpoint to go on from). The main process decides: the others could find its new folder."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    decided: list[Any] = [None]
    if PartialState().is_main_process:
        try:
            decided = [_decide_place(recipe, resume)]
        except ConfigError as error:
            decided = [error]
    broadcast_object_list(decided)
    if isinstance(decided[0], ConfigError):
        raise decided[0]
    run_dir, checkpoint = decided[0]
    recipe.training.output_dir = str(run_dir)
    return run_dir, checkpoint


def _decide_place(recipe: Recipe, resume: bool) -> tuple[Path, str | None]:
    """(run directory, checkpoint to go on from), by the policy for an existing directory."""
    run_dir = Path(recipe.training.output_dir)
    checkpoint = latest_checkpoint(run_dir)
    complete = (run_dir / "p2o" / "result.json").exists()
    policy = "resume" if resume else recipe.task.if_exists
    if checkpoint is None and resume:
        raise ConfigError(f"there is nothing to resume in {run_dir}: it holds no whole checkpoint")
    if checkpoint is None and not complete:
        _make(run_dir)
        return run_dir, None
    if policy == "fail":
        raise ConfigError(f"{run_dir} holds a run already; set output_dir, or if_exists to resume or new")
    if policy == "new":
        number = 2
        while Path(f"{run_dir}-{number}").exists():
            number += 1
        run_dir = Path(f"{run_dir}-{number}")
        _make(run_dir)
        return run_dir, None
    if complete and not resume:
        raise ConfigError(
            f"the run in {run_dir} is complete; add --if_exists new for another one, or --resume to train it further"
        )
    _check_same_recipe(recipe, run_dir)
    return run_dir, checkpoint


MAY_CHANGE = re.compile(
    "output_dir|if_exists|num_train_epochs|max_steps|max_cost|max_rollouts|arms|ood|disable_tqdm|use_cpu|dataloader_.*|log.*|save_.*|eval_.*|test.*"
    "|report_to|run_name|reflector_(base_url|api_key_env|concurrency|timeout|retries)"
)
"""Keys of a recipe that a resumed run may have otherwise than the run it goes on with."""


def _check_same_recipe(recipe: Recipe, run_dir: Path) -> None:
    """Raises ConfigError if the run in the directory was made by a recipe that trains another way."""
    written = run_dir / "config.yaml"
    if not written.exists():
        return
    before, now = yaml.safe_load(written.read_text(encoding="utf-8")), yaml.safe_load(recipe.to_yaml())
    changed = [k for k in changed_keys(before, now) if not MAY_CHANGE.fullmatch(k)]
    if changed:
        raise ConfigError(
            f"{run_dir} holds a run of another recipe ({', '.join(changed)} differ), so it cannot be resumed; "
            "add --if_exists new, or set output_dir to another folder"
        )


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {run_dir}: {error.strerror}; set output_dir to another folder") from error


def _print_result(
    run_dir: Path, before: dict[str, float] | None, after: dict[str, float] | None, seconds: float
) -> None:
    if after:
        table = Table(title="bare held-out success", title_justify="left")
        for column in ("", "before", "after"):
            table.add_column(column)
        for key, value in after.items():
            if "_bare_success" in key:
                label = key.replace("_bare_success", "").replace("_", " ")
                table.add_row(label, percent(before[key]) if before else "–", percent(value))
        console.print(table)
    console.print(f"{seconds:.0f} s; the model is in {latest_checkpoint(run_dir) or run_dir}")


def evolve(name: str, overrides: Sequence[str]) -> int:
    recipe = load_recipe(name, overrides)
    from ..core.cost import CostMeter, Made
    from ..core.evolve import evolve as run_evolution
    from ..core.hard import HardLedger, split_hard
    from ..core.loop import evolve_config
    from ..generation.policies import policy_of, reflector_with, rollout_fn, seed_everything, successes
    from ..reflectors.settings import LOCAL
    from ..runs.building import rewards_of, samples_of

    training = recipe.training
    run_dir = Path(training.output_dir)
    _make(run_dir)
    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    policy = policy_of(recipe, str(recipe.model.model_name_or_path))
    reflector = reflector_with(recipe, policy)
    length = training.max_completion_length
    seed_everything(training.seed)
    cost, drawn_made = CostMeter(), Made()
    console.print(f"drawing {training.num_generations} bare rollouts of {len(samples)} samples")
    ledger = HardLedger(training.success_threshold)
    with cost.timed("rollout") as rollout:
        draw = rollout_fn(policy, rewards, training.temperature, length)
        drawn = successes(lambda pairs: drawn_made.rolled_out(draw(pairs)), samples, training.num_generations)
    rollout.add(
        rollouts=drawn_made.rollouts,
        prompt_tokens=drawn_made.prompt_tokens,
        generated_tokens=drawn_made.generated_tokens,
    )
    for sample_id, rows in drawn.items():
        ledger.record(sample_id, [training.success_threshold if r.solved else float("-inf") for r in rows])
    hard = ledger.hard_ids(training.tau - 1)
    console.print(f"{len(hard)} of {len(samples)} samples are hard")
    if len(hard) < training.hard_min_count:
        raise ConfigError(
            f"{len(hard)} hard samples are fewer than hard_min_count {training.hard_min_count}; lower it, or take "
            "harder data"
        )
    by_id = {s.id: s for s in samples}
    import random

    random.Random(training.seed).shuffle(hard)
    train_ids, dev_ids = split_hard(hard, training.dev_size)
    with cost.timed("evolve"):
        result = run_evolution(
            [by_id[i] for i in train_ids],
            [by_id[i] for i in dev_ids],
            rollout_fn(policy, rewards, training.evolve_temperature, length),
            reflector,
            evolve_config(training, training.seed),
            run_dir / "p2o" / "evolution-000",
            progress=lambda p: console.print(
                f"iteration {p.iteration}: {p.metric_calls}/{p.budget} rollouts, pool {p.pool}, best {p.best_score:.3f}"
            ),
        )
    Made().add_replayed(cost, asdict(result.cost), teacher=recipe.task.reflector not in LOCAL)
    write_json(run_dir / "p2o" / "cost.json", cost.state_dict())
    pool = make_pool(result.templates, result.scores_CV, result.solved_CV, result.dev_ids)
    write_json(run_dir / "p2o" / "pool.json", {"pool": pool_to_json(pool), "cost": asdict(result.cost)})
    write_text(run_dir / "p2o" / "pool.md", pool_page(pool, len(dev_ids), recipe.name, "on a fixed policy"))
    _print_pool(pool, len(dev_ids), run_dir / "p2o" / "pool.json")
    return 0


def _print_pool(pool: Sequence[PoolTemplate], dev_size: int, path: Path) -> None:
    if not any(t.text for t in pool):
        console.print("no template solved any hard sample")
    for template in pool:
        console.print(f"[{percent(template.weight)}, solves {len(template.solves)} of {dev_size}] "
                      f"{template.text or '(bare)'}", markup=False)  # fmt: skip
    console.print(f"the pool is in {path}")
