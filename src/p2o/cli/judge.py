"""What the commands do that look at a run or judge a policy: ``p2o report | eval | screen``."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..base.files import read_json, write_json, write_text
from ..base.terminal import console, percent
from ..core.samples import RolloutFn, Sample
from ..core.states import GROUP_OUTCOMES, HARD, NO_SPREAD
from ..core.templates import PoolTemplate, pool_from_json
from ..errors import ConfigError
from ..runs.recipe import load_recipe

if TYPE_CHECKING:
    from ..analysis.evaluation import Evaluation, TemplateEffect
    from ..analysis.statistics import Interval

log = logging.getLogger(__name__)


def report(runs: Sequence[str], out: str | None, rest: Sequence[str] = ()) -> int:
    if rest:
        raise ConfigError(f"p2o report has no option {rest[0]!r}; it takes run directories and --out")
    from ..analysis.report import write_report

    path = write_report([Path(run) for run in runs], Path(out) if out else None)
    console.print(f"the report is in {path}", markup=False)
    return 0


def report_of(run_dir: Path) -> None:
    """The report at the end of a run. Its failure is told, and is not the run's."""
    from ..analysis.report import write_report

    try:
        console.print(f"the report is in {write_report([run_dir])}", markup=False)
    except Exception as error:  # the run itself is whole
        log.debug("report", exc_info=True)
        reason = f"{type(error).__name__}: {error}"
        console.print(f"! the report could not be written ({reason}); `p2o report {run_dir}` tries again", markup=False)


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
    if draws < 1:
        raise ConfigError(f"--draws is {draws}; it must be at least 1")
    if temperature is None:
        temperature = 0.0 if draws == 1 else recipe.training.temperature
    if temperature < 0:
        raise ConfigError(f"--temp is {temperature}; it must be at least 0")
    from ..analysis.evaluation import best_slots, evaluate_policy, template_effect, template_history
    from ..generation.policies import policy_of, rollout_fn, seed_everything
    from ..runs.building import rewards_of, samples_of

    training = recipe.training
    samples, rewards = samples_of(recipe, "test"), rewards_of(recipe)
    templates, epochs = _read_pool(Path(pool)) if pool else ([], [])
    policy = policy_of(recipe, model)
    seed_everything(training.seed)

    def at(heat: float) -> RolloutFn:
        return rollout_fn(policy, rewards, heat, training.max_completion_length)

    def run(part: Sequence[Sample], slots: Mapping[str, Sequence[str]] | None = None) -> Evaluation:
        greedy = at(0.0) if temperature else None
        return evaluate_policy(at(temperature), part, draws, temperature, slots, training.eval_group_column, greedy)

    rows = [("bare", run(samples))]
    figures: dict[str, Any] = {"model": model, "recipe": recipe.name, "data": recipe.task.test}
    lines = []
    if templates:
        rows.append(("with templates", run(samples, best_slots(samples, templates, draws, training.seed))))
        change = template_effect(rows[0][1].per_sample, rows[1][1].per_sample)
        figures["templated_minus_bare"] = asdict(change) if change else None
        lines.append(_difference_line("with templates, minus bare", change))
    past = template_history(epochs)
    needed = [s for s in samples_of(recipe, "train") if s.id in past.templates] if past.templates else []
    if needed:
        rows += [("once hard: bare", run(needed)), ("  with templates", run(needed, past.templates))]
        pair = rows[-2][1].per_sample, rows[-1][1].per_sample
        reliance, change = template_effect(*pair), template_effect(*pair, past.graduated)
        figures["needed"] = {
            "bare": asdict(rows[-2][1]),
            "templated": asdict(rows[-1][1]),
            "hint_reliance": asdict(reliance) if reliance else None,
            "context_induced_change": asdict(change) if change else None,
            "over_time": past.over_time,
        }
        lines.append(_difference_line("hint reliance (training samples that needed a template)", reliance))
        lines.append(_difference_line("context-induced change (those that graduated)", change))
    figures |= {"bare": asdict(rows[0][1])} | ({"templated": asdict(rows[1][1])} if templates else {})
    console.print(_table(f"{model} on {recipe.task.test}", rows))
    for line in filter(None, lines):
        console.print(line, markup=False)
    if needed and past.over_time:
        steps = ", ".join(f"{p['epoch']}: {100 * p['difference']:+.0f}" for p in past.over_time)
        console.print(f"hint reliance in training, points by epoch: {steps}", markup=False)
    if out:
        write_text(Path(out), json.dumps(figures, indent=1, ensure_ascii=False))
        console.print(f"the figures are in {out}", markup=False)
    return 0


def screen(name: str, overrides: Sequence[str], size: int, out: str | None) -> int:
    recipe = load_recipe(name, overrides)
    if size < 1:
        raise ConfigError(f"--samples is {size}; it must be at least 1")
    from ..analysis.screen.measure import measure_screen
    from ..analysis.screen.verdict import judge_screen
    from ..generation.policies import policy_of, seed_everything
    from ..runs.building import rewards_of, samples_of

    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    rewards.check_gold(samples)
    model = str(recipe.model.model_name_or_path)
    seed_everything(recipe.training.seed)
    started = time.perf_counter()
    result = measure_screen(recipe, policy_of(recipe, model), samples, rewards, size)
    judged = judge_screen(result)
    table = Table(title=f"{model}: {result.draws} bare rollouts of {result.samples} samples", title_justify="left")
    for column in ("groups", "count", "share", "95 %"):
        table.add_column(column, no_wrap=True)
    rows = [(GROUP_OUTCOMES[outcome].label, share) for outcome, share in result.outcomes.items()]
    rows += [(HARD.label, result.hard), (f"{NO_SPREAD.label} of rewards", result.no_spread)]
    for label, share in rows:
        table.add_row(label, str(share.count), percent(share.share), _span(share.interval))
    console.print(table)
    for line in judged.numbers:
        console.print(f"  {line}", markup=False)
    if result.pool:
        console.print(f"  best template: {max(result.pool, key=lambda t: t['weight'])['text']}", markup=False)
    console.print(Text(f"{judged.worth}: {judged.reason}", style="bold"))
    target = Path(out) if out else Path(recipe.training.output_dir) / "screen.json"
    seconds = time.perf_counter() - started
    write_json(target, {"verdict": asdict(judged), "screen": asdict(result), "seconds": seconds})
    console.print(f"{seconds:.0f} s; the figures are in {target}", markup=False)
    return 0


def _read_pool(path: Path) -> tuple[list[PoolTemplate], list[dict[str, Any]]]:
    """(templates, epochs): of a run directory its last pool and all epochs, of a pool file the pool alone."""
    if path.is_dir():
        epochs = [read_json(file) for file in sorted((path / "p2o").glob("epoch-*.json"))]
        pools = [epoch["pool"] for epoch in epochs if any(t["text"] for t in epoch["pool"])]
    else:
        epochs, pools = [], [read_json(path).get("pool", [])]
    templates = [t for t in pool_from_json(pools[-1] if pools else []) if t.text]
    if not templates:
        raise ConfigError(f"there is no template in {path}; give a run directory or a pool file of p2o evolve")
    return templates, epochs


def _table(title: str, rows: Sequence[tuple[str, Evaluation]]) -> Table:
    draws = rows[0][1].draws
    table = Table(title=title, title_justify="left")
    for column in ("", "samples", f"mean@{draws}", "95 %", "greedy", *(f"pass@{k}" for k in _shown(rows[0][1]))):
        table.add_column(column, no_wrap=True)
    for label, e in rows:
        passes = [percent(e.pass_at[k]) for k in _shown(e)]
        table.add_row(label, str(e.samples), percent(e.mean), _span(e.interval), percent(e.greedy), *passes)
        for group, value in e.by_group.items() if not label.startswith(("once", " ")) else ():
            table.add_row(f"  {group}", "", percent(value))
    return table


def _shown(e: Evaluation) -> list[int]:
    return [k for k in e.pass_at if k > 1]


def _span(interval: Interval) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _difference_line(label: str, d: TemplateEffect | None) -> str:
    if d is None:
        return ""
    low, high = d.interval
    return f"{label}: {100 * d.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] on {d.samples} samples"
