"""A small run directory as a run would write it, with hostile texts in it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from p2o.base.files import write_json
from p2o.base.rows import METRICS_FILE, write_rows
from p2o.core.cost import CostMeter
from p2o.core.epoch_files import write_epoch
from p2o.core.evolve.result import Candidate, Evolution, EvolveCost
from p2o.core.hard import Tally
from p2o.core.rollout_log import LoggedRollout, RolloutLog
from p2o.core.summary import EpochSummary

EVIL = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    "\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b31m\x00\u202ereversed\u202c"
)
"""Markup, a clipboard escape (OSC 52), C1, NUL and a bidirectional override."""
HARD_SAMPLES = {"dies": (1, 0, 5, 0), "learns": (1, 1, 5, 4), "leans": (1, 0, 5, 3)}
"""Sample id → (bare, bare solved, templated, templated solved) in the second epoch; all failed in the first."""


def template(text: str = EVIL) -> str:
    """The accepted template of the run."""
    return f"Think step by step. {text}"


def make_run(folder: Path, epochs: int = 2, text: str = EVIL) -> Path:
    """Four samples, two epochs, one evolution between them.

    Args:
        text: stands wherever a model, a server, a data set or a user writes.
    """
    own = folder / "p2o"
    own.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"ratio_low: 0.01\nratio_high: 10.0\nnote: {json.dumps(text)}\n")
    cost = CostMeter()
    cost["rollout"].add(rollouts=48, prompt_tokens=480, generated_tokens=96, seconds=2.0)
    cost["evolve"].add(rollouts=20, prompt_tokens=300, generated_tokens=60, seconds=1.0)
    write_json(own / "cost.json", cost.state_dict())
    row = {"p2o/all_failed": 0.5, "p2o/no_spread": 0.4, f"eval_bare_success_{text}": 0.5}
    log = [{"epoch": e, "eval_bare_success": 0.25 * (e + 1), "p2o/cost": e, **row} for e in range(3)]
    write_rows(own / METRICS_FILE, log)
    for epoch in range(epochs):
        _write_epoch(own, epoch, text)
    if epochs:
        evolution = own / "evolution-001"
        evolution.mkdir()
        write_json(evolution / "evolution.json", _evolution(text).to_dict())
    return folder


def _write_epoch(own: Path, epoch: int, text: str) -> None:
    tallies = {i: Tally(*(counts if epoch else (6, 0))) for i, counts in HARD_SAMPLES.items()} | {"easy": Tally(6, 6)}
    summary = EpochSummary(epoch, groups=4, all_failed=3 - 2 * epoch, all_solved=1, rescued=2 * epoch)
    summary.graduated, summary.hard, summary.evolved = epoch, 3 - 2 * epoch, not epoch
    pool = [] if epoch else [{"text": template(text), "weight": 0.5, "solves": ["learns"]}]
    write_epoch(own, summary, tallies, pool, {})
    log = RolloutLog(own)
    log.begin(epoch)
    for i in HARD_SAMPLES:
        own = template(text) if epoch else ""
        rewards = [0.0, math.nan, *[0.0] * 4]
        rollouts = [LoggedRollout(own, f"{text} {n}", reward, False) for n, reward in enumerate(rewards)]
        log.add_group(i, f"What is {i}? {text}", f"7 {text}", rollouts)
    log.add_ratios(epoch, [1, *[0] * 20, 5, 9, *[0] * 14, 1])
    log.write()


def _evolution(text: str) -> Evolution:
    candidates = [
        Candidate(0, "", None, 0, "seed", dev_mean=0.0),
        Candidate(1, "Think.", 0, 1, "rejected", f"0 → 0 {text}", [f"dies {text}"], [0.0], [0.0]),
        Candidate(2, template(text), 0, 1, "accepted", "0 → 1", ["leans"], [0.0], [1.0], dev_mean=0.5),
        Candidate(3, "Think, and say 7.", 2, 2, "leak", f"an answer {text}"),
    ]
    return Evolution(
        candidates=candidates,
        templates=["", template(text)],
        parents=[None, 0],
        scores_CV=[[0.0, 0.0], [1.0, 0.0]],
        solved_CV=[[False, False], [True, False]],
        dev_ids=["learns", "dies"],
        train_ids=["leans"],
        budget=50,
        cost=EvolveCost(metric_calls=20),
        best_scores=[0.0, 0.5, 0.5],
        stopped="budget",
        warnings=[f"a warning {text}"],
    )
