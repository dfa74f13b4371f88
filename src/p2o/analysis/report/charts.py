"""The report's charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.text import clean_text
from ...core.states import GROUP_OUTCOMES, NO_SPREAD, STATES, SampleState
from ...runs.run_directory import Run
from .svg import COLOURS, SERIES, figure

Line = tuple[str, Sequence[tuple[float, float]]]
"""A label and its points."""


def lines(name: str, series: Sequence[Line], share: bool = True, xlabel: str = "epoch", dots: bool = True) -> str:
    """A line chart; "" without points. Shares are shown in percent."""
    drawn = [(clean_text(label), points) for label, points in series if points]
    if not drawn:
        return ""

    def draw(axes: Any) -> None:
        for n, (label, points) in enumerate(drawn):
            axes.plot(
                [x for x, _ in points],
                [100 * y if share else y for _, y in points],
                color=COLOURS[SERIES[n % len(SERIES)]],
                label=label,
                marker="o" if dots else "",
                markersize=3.5,
                clip_on=False,  # a line at 0 or 100 % stays whole
            )
        _axes(axes, xlabel, share)
        places = {x for _, points in drawn for x, _ in points}
        if len(places) == 1:  # else the axis shows fractions of an epoch around it
            axes.set_xticks(sorted(places))
        if len(drawn) > 1:
            axes.figure.legend(loc="outside upper left", ncols=3, handlelength=1.2)

    return figure(draw, name)


def held_out(run: Run, name: str) -> str:
    """Bare success on the evaluation data, by group if there are groups."""
    prefix = "eval_bare_success"
    keys = sorted({k for row in run.log for k in row if k.startswith(prefix)})
    labels = {k: k.removeprefix(prefix).lstrip("_") or "all" for k in keys}
    return lines(name, [(labels[k], run.logged(k)) for k in keys])


def training_success(run: Run, name: str) -> str:
    """Success of the same samples with and without their template, by epoch."""
    rows = [(e.number + 1, e.summary) for e in run.epochs]
    keys = {"with template": "paired_templated_success", "bare": "paired_bare_success"}
    return lines(name, [(label, [(n, s[k]) for n, s in rows if s.get(k) is not None]) for label, k in keys.items()])


def groups_by_step(run: Run, name: str) -> str:
    """Shares of the groups at each step: all failed, all solved, no spread of rewards."""
    words = {
        "all_failed": GROUP_OUTCOMES["all_failed"],
        "all_solved": GROUP_OUTCOMES["all_solved"],
        "no_spread": NO_SPREAD,
    }
    return lines(name, [(word.label, run.logged(f"p2o/{key}")) for key, word in words.items()], dots=False)


def rescued_graduated(run: Run, name: str) -> str:
    """How many samples were rescued in each epoch, and have graduated so far."""
    rows = [(e.number + 1, e.summary) for e in run.epochs]
    if not any(s["rescued"] or s["graduated"] for _, s in rows):
        return ""
    series = [("hard", "hard"), ("rescued", "rescued"), ("graduated so far", "graduated")]
    return lines(name, [(label, [(n, s[k]) for n, s in rows]) for label, k in series], share=False)


def states(counts: Mapping[SampleState, Sequence[int]], name: str) -> str:
    """Stacked bars: the state of all samples by epoch."""

    def draw(axes: Any) -> None:
        below = [0] * len(next(iter(counts.values())))
        epochs = range(1, len(below) + 1)
        for state, values in counts.items():
            if any(values):
                axes.bar(epochs, values, bottom=below, color=COLOURS[state], label=STATES[state].label, width=0.82)
            below = [b + v for b, v in zip(below, values, strict=True)]
        _axes(axes, "epoch", share=False)
        axes.set_xticks(epochs)
        axes.figure.legend(loc="outside upper left", ncols=len(STATES), handlelength=0.8, columnspacing=1.0)

    return figure(draw, name, width=9.4, height=2.3)


def best_scores(run: Run, name: str) -> str:
    """Best mean dev score by iteration, a line per evolution."""
    series = [(f"after epoch {n + 1}", list(enumerate(e.best_scores))) for n, e in run.evolutions.items()]
    return lines(name, [(label, [(float(x), y) for x, y in points]) for label, points in series], xlabel="iteration")


def ratio_histogram(record: Mapping[str, Any], low: float, high: float, name: str) -> str:
    """Log-scaled histogram of one epoch's ratios; what the mask drops is drawn in the colour of failure."""
    counts = [sum(column) for column in zip(*record.get("ratio_counts", {}).values(), strict=True)]
    if not sum(counts):
        return ""
    edges = record["ratio_log10_edges"]
    width = edges[1] - edges[0]
    centres = [edges[0] - width / 2, *(e + width / 2 for e in edges)]
    bounds = math.log10(low), math.log10(high)

    def draw(axes: Any) -> None:
        kept = [COLOURS["graduated"] if bounds[0] < c < bounds[1] else COLOURS["all_failed"] for c in centres]
        axes.bar(centres, counts, width=width * 0.9, color=kept)
        axes.set_yscale("log")
        for bound in bounds:
            axes.axvline(bound, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (3, 2)))
        axes.set_xlim(edges[0] - width, 2.2)
        ticks = range(-6, 3, 2)
        axes.set_xticks(ticks, ["1" if t == 0 else f"{10.0**t:g}" for t in ticks])
        axes.set_xlabel("π(token | bare) / π(token | with template)")
        axes.set_ylabel("tokens")

    return figure(draw, name, width=4.0, height=2.2)


def cost_by_phase(cost: Mapping[str, Any], name: str) -> str:
    """Bars of the forward-equivalent tokens of each phase."""
    phases = [(n, c["cost"]) for n, c in cost.items() if isinstance(c, Mapping) and c["cost"]]
    if not phases:
        return ""

    def draw(axes: Any) -> None:
        labels, values = [n for n, _ in reversed(phases)], [v for _, v in reversed(phases)]
        colours = [COLOURS["b"] if n in ("evolve", "reflect", "ratio") else COLOURS["a"] for n in labels]
        bars = axes.barh(labels, values, color=colours, height=0.62)
        axes.bar_label(bars, [short(v) for v in values], padding=4, color=COLOURS["muted"])
        axes.grid(visible=False)
        axes.set_xlim(0, 1.18 * max(values))
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)

    return figure(draw, name, height=2.3)


def short(number: float) -> str:
    """1234567 → "1.23 M"."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _axes(axes: Any, xlabel: str, share: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8 if xlabel != "tokens" else 5, integer=True))
    if xlabel == "tokens":
        axes.xaxis.set_major_formatter(lambda x, _: short(x))
    axes.set_xlabel(xlabel)
    axes.set_ylim(bottom=0)
    if share:
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter("{x:.0f} %")
