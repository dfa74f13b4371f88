"""The figure of a comparison: held-out bare success against cost and against rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .summary import ArmSummary


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """(xs, ys) of the mean of several curves of (x, y) points, up to where the shortest ends; linear between points."""
    end = min(curve[-1][0] for curve in curves)
    xs = np.unique([x for curve in curves for x, _ in curve if x <= end] + [end])
    return xs, np.mean([np.interp(xs, [x for x, _ in curve], [y for _, y in curve]) for curve in curves], axis=0)


def draw(arms: Sequence[ArmSummary], ylabel: str, paths: Sequence[Path]) -> None:
    """Draws every seed as a thin line, the mean as a thick one. An arm without a curve is one mark at its cost.

    Args:
        paths: files to write; the suffix says which format.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), dpi=140, sharey=True)
    colours = plt.get_cmap("tab10" if len(arms) <= 10 else "tab20").colors  # type: ignore[attr-defined]
    for n, arm in enumerate(arms):
        _draw_arm(panels, arm, colours[n % len(colours)])
    for axes, label in zip(panels, ("cost: millions of forward-equivalent tokens", "rollouts (log)"), strict=True):
        axes.set_xlabel(label)
        axes.set_ylim(-3, 103)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(ylabel)
    panels[1].set_xscale("log")  # a short rollout may be a hundred times cheaper than a long one
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=min(5, len(arms)))
    figure.set_layout_engine("constrained")
    for path in paths:
        figure.savefig(path)
    plt.close(figure)


def _draw_arm(panels: Any, arm: ArmSummary, colour: Any) -> None:
    curves = [run["curve"] for run in arm.runs if len(run["curve"]) > 1]
    for axes, column, scale in zip(panels, (0, 1), (1e-6, 1.0), strict=True):
        if not curves:
            x = (arm.cost, arm.rollouts)[column] * scale
            axes.plot([x], [100 * arm.success.mean], "D", color=colour, label=arm.name, clip_on=False)
            continue
        points = [[(point[column] * scale, 100 * point[2]) for point in curve] for curve in curves]
        for curve in points:
            axes.plot(*zip(*curve, strict=True), color=colour, lw=0.7, alpha=0.5)
        xs, ys = mean_curve(points)
        axes.plot(xs, ys, color=colour, lw=2.4, label=arm.name)
