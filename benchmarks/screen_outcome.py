"""Does the screen's reach say what training gives? One point for each cell (world or format, way of distillation).

    python benchmarks/screen_outcome.py     # after `credits.py` and the comparisons of docs/distillation.md

The reach is measured as `p2o screen` does, on rollouts of the starting policy under a working template, before any
training. The outcome is the held-out bare success after training, from ``benchmarks/results``. Prints the cells and
Spearman's rank correlation, and writes ``benchmarks/results/screen-outcome.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import credits as cells_of_smollm2
import given_templates
from p2o.analysis.screen.reach import Reach, reaches
from p2o.core.settings import LoopSettings
from p2o.data import load_samples
from p2o.generation.local import ModelSource, load_policy
from p2o.generation.policies import prompt_of
from p2o.generation.settings import GenerationSettings
from p2o.rewards import resolve_reward

RESULTS = Path(__file__).parent / "results"
ALL_FOUR = "Show your work. Go from right to left. Keep the carry. State the total at the end."
WORLDS = {
    "strict": ("builtin:sandbox", ("compare-strict.json", "compare-ablations.json")),
    "switch": ("builtin:sandbox-switch", ("compare-switch.json",)),
}
ARMS = {"p2o_graduated": "mask", "p2o_solved": "solved", "p2o_no_mask": "no_mask", "p2o_soft": "soft"}
QUESTIONS, DRAWS = 24, 8


def measured(model: str, source: str, reward: Any, template: str, room: int, heat: float) -> Mapping[str, Reach]:
    """The reach of each way on the solved ones of QUESTIONS × DRAWS rollouts under the template."""
    samples = load_samples(source)
    samples = [s for s in samples if s.columns.get("level") != "easy"][:QUESTIONS]
    policy = load_policy(ModelSource(model), GenerationSettings(room, batch_size=64))
    rows = [s for s in samples for _ in range(DRAWS)]
    drawn = policy.complete([prompt_of(s, template) for s in rows], heat)
    scores = resolve_reward(reward).score([c.text for c in drawn], rows)
    good = [n for n, score in enumerate(scores) if score.reward == 1.0]
    ids = [drawn[n].ids for n in good]
    under = policy.token_logps([prompt_of(rows[n], template) for n in good], ids, heat)
    bare = policy.token_logps([rows[n].prompt for n in good], ids, heat)
    return reaches(bare, under, LoopSettings()).ways


def cells() -> list[dict[str, Any]]:
    """Reach and outcome of every cell whose training is in the results."""
    found = []
    files = [RESULTS / name for name in ("credits.json", "credits-cosine.json")]
    trained = [row for file in files for row in json.loads(file.read_text())]
    for form in given_templates.FORMS:
        reward = {"name": "result", "pattern": cells_of_smollm2.PATTERNS[form], "compare": "number"}
        source = f"{cells_of_smollm2.PLUS}&size=72&seed=1"
        ways = measured("builtin:smollm2", source, reward, given_templates.examples(form), 24, 0.7)
        for way, reach in ways.items():
            cell = (form, way, "given")
            after = [row["after"] for row in trained if (row["format"], row["way"], row["templates"]) == cell]
            found += [{"world": form, "way": way, "reach": reach.reach, "after": fmean(after)}] if after else []
    for world, (model, files) in WORLDS.items():
        ways = measured(model, "builtin:sandbox/dev", "last_number", ALL_FOUR, 56, 1.0)
        arms = [arm for file in files for arm in json.loads((RESULTS / file).read_text())["arms"]]
        for arm in arms:
            if way := ARMS.get(arm["name"]):
                found.append({"world": world, "way": way, "reach": ways[way].reach, "after": arm["success"]["mean"]})
    return found


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Spearman's, with mean ranks for ties."""

    def ranks(values: list[float]) -> Any:
        array = np.asarray(values)
        return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])

    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    found = cells()
    for cell in found:
        print(f"{cell['world']:8s}{cell['way']:10s} reach {cell['reach']:.2g}  after training {cell['after']:.1%}")
    rho = rank_correlation([c["reach"] for c in found], [c["after"] for c in found])
    print(f"rank correlation {rho:.2f} over {len(found)} cells")
    out = RESULTS / "screen-outcome.json"
    out.write_text(json.dumps({"cells": found, "rank_correlation": rho}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
