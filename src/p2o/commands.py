"""What the commands of the command line do."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from .checkpoint import latest_checkpoint
from .console import console, percent
from .errors import ConfigError
from .recipe import Recipe, load_recipe, shipped_recipes
from .store import read_json, write_json
from .templates import PoolTemplate, make_pool, pool_from_json, pool_to_json


def recipes() -> int:
    for name in shipped_recipes():
        console.print(name)
    return 0


def train(name: str, overrides: Sequence[str], dry_run: bool, resume: bool) -> int:
    recipe = load_recipe(name, overrides)
    if dry_run:
        print(recipe.to_yaml(), end="")
        return 0
    run_dir, checkpoint = _place(recipe, resume)
    from .build import samples_of, trainer_of

    trainer = trainer_of(recipe)
    main = trainer.accelerator.is_main_process
    if main:
        (run_dir / "config.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        console.print(f"p2o train {recipe.name} → {run_dir}" + (f", resumed from {checkpoint}" if checkpoint else ""))
    test = None
    if recipe.task.test:
        from .data import to_dataset

        test = to_dataset(samples_of(recipe, "test"))
    started = time.perf_counter()
    before = trainer.evaluate(test, metric_key_prefix="test") if test is not None and not checkpoint else None
    trainer.train(resume_from_checkpoint=checkpoint)
    after = trainer.evaluate(test, metric_key_prefix="test") if test is not None else None
    if main:
        cost = trainer.cost.state_dict()
        write_json(
            run_dir / "p2o" / "result.json",
            {"before": before, "after": after, "cost": cost, "seconds": time.perf_counter() - started},
        )
        _print_result(run_dir, before, after, time.perf_counter() - started)
    return 0


def _place(recipe: Recipe, resume: bool) -> tuple[Path, str | None]:
    """(run directory, checkpoint to go on from), by the policy for an existing directory."""
    run_dir = Path(recipe.training.output_dir)
    checkpoint = latest_checkpoint(run_dir)
    policy = "resume" if resume else recipe.task.if_exists
    if checkpoint is None:
        if resume:
            raise ConfigError(f"there is nothing to resume in {run_dir}: it holds no whole checkpoint")
        _make(run_dir)
        return run_dir, None
    if policy == "fail":
        raise ConfigError(f"{run_dir} holds a run already; set output_dir, or if_exists to resume or new")
    if policy == "new":
        number = 2
        while Path(f"{run_dir}-{number}").exists():
            number += 1
        run_dir = Path(f"{run_dir}-{number}")
        recipe.training.output_dir = str(run_dir)
        _make(run_dir)
        return run_dir, None
    if (run_dir / "p2o" / "result.json").exists() and not resume:
        raise ConfigError(
            f"the run in {run_dir} is complete; add --if_exists new for another one, or --resume to train it further"
        )
    return run_dir, checkpoint


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {run_dir}: {error.strerror}; set output_dir to another folder") from error


def _print_result(
    run_dir: Path, before: dict[str, float] | None, after: dict[str, float] | None, seconds: float
) -> None:
    if after is not None:
        table = Table(title="bare held-out success (test)", title_justify="left")
        for column in ("", "before", "after"):
            table.add_column(column)
        for key, value in after.items():
            if "bare_success" in key:
                label = key.removeprefix("test_bare_success").lstrip("_") or "all"
                table.add_row(label, percent(before[key]) if before else "–", percent(value))
        console.print(table)
    console.print(f"{seconds:.0f} s; the model is in {latest_checkpoint(run_dir) or run_dir}")


def evaluate(
    model: str,
    name: str,
    overrides: Sequence[str],
    draws: int,
    temperature: float | None,
    pool: str | None,
    out: str | None,
) -> int:
    recipe = load_recipe(name, overrides)
    from .build import rewards_of, samples_of
    from .evaluate import evaluate as run_evaluation
    from .evaluate import hint_reliance
    from .policies import LocalPolicy, rollout_fn

    if draws < 1:
        raise ConfigError(f"--draws is {draws}; it must be at least 1")
    if temperature is None:
        temperature = 0.0 if draws == 1 else recipe.training.temperature
    samples, rewards = samples_of(recipe, "test"), rewards_of(recipe)
    best = _best_template(pool) if pool else None
    policy = LocalPolicy(model, recipe.training.evolve_batch_size)
    roll_out = rollout_fn(policy, rewards, temperature, recipe.training.max_completion_length)
    figures: dict[str, Any] = {"model": model, "recipe": recipe.name}
    table = Table(title=f"{model} on {recipe.task.test}", title_justify="left")
    for column in ("", "samples", f"mean@{draws}", "95 % interval", "pass@k"):
        table.add_column(column)
    for label, template in [("bare", "")] + ([("templated", best)] if best else []):
        result = run_evaluation(
            roll_out, samples, draws, temperature, template or "", recipe.training.eval_group_column
        )
        figures[label] = asdict(result)
        passes = ", ".join(f"{k}: {percent(v)}" for k, v in result.pass_at.items())
        interval = " – ".join(percent(v) for v in result.interval)
        table.add_row(label, str(result.samples), percent(result.mean), interval, passes)
        for group, value in result.by_group.items():
            table.add_row(f"  {group}", "", percent(value), "", "")
    console.print(table)
    if best:
        figures["template"] = best
        reliance = hint_reliance(figures["bare"]["per_sample"], figures["templated"]["per_sample"])
        figures["hint_reliance"] = reliance
        low, high = reliance["interval"]
        console.print(f"hint reliance (templated − bare): {100 * reliance['difference']:+.1f} points "
                      f"[{100 * low:+.1f}, {100 * high:+.1f}]")  # fmt: skip
    if out:
        Path(out).write_text(json.dumps(figures, indent=1, ensure_ascii=False), encoding="utf-8")
    return 0


def _best_template(path: str) -> str:
    templates = [t for t in pool_from_json(read_json(Path(path))["pool"]) if t.text]
    if not templates:
        raise ConfigError(f"the pool in {path} holds no template")
    return max(templates, key=lambda t: t.weight).text


def evolve(name: str, overrides: Sequence[str]) -> int:
    recipe = load_recipe(name, overrides)
    from .build import reflector_of, rewards_of, samples_of
    from .evolve import CallableReflector
    from .evolve import evolve as run_evolution
    from .hard import HardLedger, split_hard
    from .loop import evolve_config
    from .policies import EndpointPolicy, LocalPolicy, Policy, rollout_fn, successes

    training, task = recipe.training, recipe.task
    run_dir = Path(training.output_dir)
    _make(run_dir)
    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    source = str(recipe.model.model_name_or_path)
    policy: Policy
    if task.policy_base_url:
        policy = EndpointPolicy(source, task.policy_base_url)
    else:
        policy = LocalPolicy(source, training.evolve_batch_size)
    reflector = reflector_of(task)
    if isinstance(reflector, str):

        def reply(prompt: str) -> str:
            conversation = [{"role": "user", "content": prompt}]
            return policy.complete([conversation], training.reflect_temperature, training.reflect_max_tokens)[0].text

        reflector = CallableReflector(reply)
    length = training.max_completion_length
    console.print(f"drawing {training.num_generations} bare rollouts of {len(samples)} samples")
    ledger = HardLedger(training.success_threshold)
    drawn = successes(rollout_fn(policy, rewards, training.temperature, length), samples, training.num_generations)
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
    pool = make_pool(result.templates, result.scores_CV, result.solved_CV, result.dev_ids)
    write_json(run_dir / "p2o" / "pool.json", {"pool": pool_to_json(pool), "cost": asdict(result.cost)})
    _print_pool(pool, len(dev_ids), run_dir / "p2o" / "pool.json")
    return 0


def _print_pool(pool: Sequence[PoolTemplate], dev_size: int, path: Path) -> None:
    if not any(t.text for t in pool):
        console.print("no template solved any hard sample")
    for template in pool:
        console.print(f"[{percent(template.weight)}, solves {len(template.solves)} of {dev_size}] "
                      f"{template.text or '(bare)'}", markup=False)  # fmt: skip
    console.print(f"the pool is in {path}")
