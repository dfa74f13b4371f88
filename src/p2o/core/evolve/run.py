"""`evolve`: from a hard set to scored templates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ...base.files import SCHEMA, read_json, write_json
from ...base.journal import Journal, digest
from ...errors import ConfigError, DataError, ForeignEvolutionError, StateError
from ..samples import RolloutFn, Sample
from .asking import Asker
from .budget import budget
from .config import EvolveConfig
from .leak import LeakGuard
from .reflector import Reflector
from .result import Candidate, Evolution, EvolveCost, EvolveProgress
from .scorer import Scorer

if TYPE_CHECKING:
    from .pipeline import Pipeline

log = logging.getLogger(__name__)


def evolve(
    train: Sequence[Sample],
    dev: Sequence[Sample],
    rollout: RolloutFn,
    reflector: Reflector,
    config: EvolveConfig,
    run_dir: Path,
    progress: Callable[[EvolveProgress], None] | None = None,
    seeds: Sequence[str] = ("",),
) -> Evolution:
    """Evolves templates for a hard set (P²O's prompt step, which is GEPA).

    The same arguments and folder give the same result, even when the process was killed in between: every rollout call
    and every reply is written to ``run_dir`` (``rollouts.jsonl``, ``replies.jsonl``) before it is used, and a second
    call reads them from there. A finished result is read from ``evolution.json``. Scores belong to one policy, so give
    each evolution its own folder. No global random state is changed.

    Args:
        train: the feedback part; minibatches come from it.
        dev: the Pareto part; seeds and accepted candidates are scored on all of it.
        rollout: scores (template, sample) pairs, one generation batch per call. If it samples, its seed should
            depend on the pairs and not on a count of calls, so that a resume gets the same rollouts.
        reflector: writes new templates.
        config: the settings.
        run_dir: a folder for this evolution only; it is created if it does not exist.
        progress: called after the seeds and after each iteration (in a resumed run also for those that are read
            from the journal).
        seeds: templates to start from, "" being the bare prompt; several are a warm start. A seed that
            leaks answers is left out ("" is put in if none is left).

    Raises:
        ConfigError: the budget is unknown, or does not even pay for scoring one seed.
        DataError: an empty part, or an id that occurs twice in one.
        StateError: the folder holds another evolution, or a damaged one.
    """
    _check(train, dev)
    limit = budget(config.budget, len(dev))
    fingerprint = _fingerprint(train, dev, config, seeds)
    done = _open(run_dir, fingerprint)
    if done is not None:
        return done
    from .pipeline import Pipeline  # it imports gepa, which is slow

    cost = EvolveCost()
    guard = LeakGuard([*train, *dev], config.leak)
    scorer = Scorer(
        rollout,
        Journal(run_dir / "rollouts.jsonl"),
        cost,
        limit,
        (s.id for s in train),
        config.max_prompt_chars,
    )
    asker = Asker(reflector, Journal(run_dir / "replies.jsonl"), cost)
    clean, leaking = _sort_seeds(seeds, guard)
    paid = _affordable(clean, dev, scorer, config)
    pipeline = Pipeline(train, dev, scorer, asker, guard, config, progress or (lambda _: None))
    if len(paid) < len(clean):
        pipeline.warnings.append(f"The budget of {limit} pays for {len(paid)} of {len(clean)} seeds.")
    stopped = pipeline.run(paid)
    for template, reason in leaking:
        pipeline.candidates.append(Candidate(len(pipeline.candidates), template, None, 0, "leak", reason))
    result = _result(pipeline, stopped)
    for warning in result.warnings:
        log.warning(warning)
    write_json(run_dir / "evolution.json", {**result.to_dict(), "fingerprint": fingerprint})
    return result


def _check(train: Sequence[Sample], dev: Sequence[Sample]) -> None:
    for name, part in (("train", train), ("dev", dev)):
        ids = [s.id for s in part]
        if not ids:
            raise DataError(f"the {name} part of the hard set is empty; an evolution needs both parts")
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise DataError(f"the sample id {twice!r} occurs twice in the {name} part; make the ids unique")


def _fingerprint(train: Sequence[Sample], dev: Sequence[Sample], config: EvolveConfig, seeds: Sequence[str]) -> str:
    parts = [[(s.id, [dict(m) for m in s.messages], s.answer) for s in part] for part in (train, dev)]
    return digest(SCHEMA, parts, asdict(config), list(seeds))


def _open(run_dir: Path, fingerprint: str) -> Evolution | None:
    """Claims the folder for these inputs. Returns the finished result, if there is one."""
    inputs, finished = run_dir / "inputs.json", run_dir / "evolution.json"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if not inputs.exists():
            write_json(inputs, {"fingerprint": fingerprint})
    except OSError as e:
        raise StateError(
            f"the evolution's folder {run_dir} cannot be written ({e.strerror}); use another folder"
        ) from e
    if read_json(inputs).get("fingerprint") != fingerprint:
        raise ForeignEvolutionError(
            f"{run_dir} holds an evolution with other samples, seeds or settings; use a new folder"
        )
    return Evolution.from_dict(read_json(finished)) if finished.exists() else None


def _sort_seeds(seeds: Sequence[str], guard: LeakGuard) -> tuple[list[str], list[tuple[str, str]]]:
    reasons = {seed: guard.refuse(seed) for seed in seeds}
    clean = [seed for seed, reason in reasons.items() if reason is None]
    return clean or [""], [(seed, reason) for seed, reason in reasons.items() if reason is not None]


def _affordable(seeds: list[str], dev: Sequence[Sample], scorer: Scorer, config: EvolveConfig) -> list[str]:
    """As many of the seeds, in order, as the budget can score on the dev part."""
    for count in range(len(seeds), 0, -1):
        if len(scorer.missing((t, s) for t in seeds[:count] for s in dev)) <= scorer.budget:
            return seeds[:count]
    raise ConfigError(
        f"the evolution's budget of {scorer.budget} metric calls ({config.budget!r}) does not pay for "
        f"scoring the seed on {len(dev)} dev samples; raise the budget, or lower the dev part's size"
    )


def _result(pipeline: Pipeline, stopped: str) -> Evolution:
    scorer, pool, warnings = pipeline.scorer, pipeline.front.pool, list(pipeline.warnings)
    cost = scorer.cost
    rollouts_CV = [scorer.known_rollouts(c.template, pipeline.dev) for c in pool]
    place = {c.id: i for i, c in enumerate(pool)}
    if scorer.not_finite:
        warnings.append(f"{scorer.not_finite} rewards were not finite and count as 0.")
    if cost.no_room:
        warnings.append(f"{cost.no_room} of {cost.metric_calls} rollouts had no room for a completion and count as 0.")
    if cost.leaked_scores > cost.metric_calls + cost.reused_scores:
        warnings.append("Most scores were withheld: templates hold the samples' answers (yes and no? single letters?).")
    if cost.reflector_failures and stopped != "reflector":
        warnings.append(f"Of {cost.reflector_calls} reflector calls some failed: {cost.failures()}.")
    for unmeasured, texts in (
        (cost.unmeasured_rollouts, f"{cost.metric_calls} rollouts"),
        (cost.unmeasured_replies, f"{cost.reflector_calls} replies of the reflector"),
    ):
        if unmeasured:
            warnings.append(f"{unmeasured} of {texts} came without a count of their tokens, which is missing.")
    return Evolution(
        candidates=pipeline.candidates,
        templates=[c.template for c in pool],
        parents=[None if c.parent is None else place[c.parent] for c in pool],
        scores_CV=[[r.reward for r in row] for row in rollouts_CV],
        solved_CV=[[r.solved for r in row] for row in rollouts_CV],
        dev_ids=[s.id for s in pipeline.dev],
        train_ids=[s.id for s in pipeline.train],
        budget=scorer.budget,
        cost=cost,
        best_scores=pipeline.best_scores,
        stopped=stopped,
        warnings=warnings,
    )
