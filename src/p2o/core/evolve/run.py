"""`evolve`: from a hard set to scored templates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ...base.files import write_json
from ...base.journal import Journal
from ..samples import RolloutFn, Sample
from .asking import Asker
from .budget import budget
from .config import EvolveConfig
from .inputs import affordable_seeds, check_parts, claim_folder, fingerprint_of, sort_seeds
from .leak import LeakGuard
from .outcome import outcome_of
from .reflector import Reflector
from .result import Candidate, Evolution, EvolveCost, EvolveProgress
from .scorer import Scorer

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
    check_parts(train, dev)
    limit = budget(config.budget, len(dev))
    fingerprint = fingerprint_of(train, dev, config, seeds)
    done = claim_folder(run_dir, fingerprint)
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
    clean, leaking = sort_seeds(seeds, guard)
    paid = affordable_seeds(clean, dev, scorer, config)
    pipeline = Pipeline(train, dev, scorer, asker, guard, config, progress or (lambda _: None))
    if len(paid) < len(clean):
        pipeline.warnings.append(f"The budget of {limit} pays for {len(paid)} of {len(clean)} seeds.")
    stopped = pipeline.run(paid)
    for template, reason in leaking:
        pipeline.candidates.append(Candidate(len(pipeline.candidates), template, None, 0, "leak", reason))
    result = outcome_of(pipeline, stopped)
    for warning in result.warnings:
        log.warning(warning)
    write_json(run_dir / "evolution.json", {**result.to_dict(), "fingerprint": fingerprint})
    return result
