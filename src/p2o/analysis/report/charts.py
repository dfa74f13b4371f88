"""The report's charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ...base.text import clean_text, shorten
from ...core.progress import short
from ...core.states import GROUP_OUTCOMES, NO_SPREAD, STATES, SampleState
from ...runs.run_directory import Run
from ..findings import ratio_counts
from .svg import COLOURS, SERIES, add_tips, figure

Line = tuple[str, Sequence[tuple[float, float]]]
"""A label and its points."""


LABEL_CHARS = 34
"""Longest label of a line."""
LEGEND_CHARS = 46
"""What fits side by side in a legend."""
KEY_CHARS = 5
"""The room of a line's sample in the legend."""
MOST_POINTS = 120
"""A longer line is drawn through the means of this many parts of it."""


def lines(
    name: str, series: Sequence[Line], share: bool = True, xlabel: str = "epoch", dots: bool = True, floor: bool = True
) -> str:
    """A line chart; "" without points. Each point has a tooltip.

    Args:
        share: the values are shares, and shown in percent.
        dots: points are marked.
        floor: the axis begins at 0.
    """
    drawn = [(shorten(clean_text(label), LABEL_CHARS), thinned(points)) for label, points in series if points]
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
                markersize=4.5,
                clip_on=False,  # a line at 0 or 100 % stays whole
            )
            at = [(x, 100 * y if share else y) for x, y in points]
            add_tips(axes, [(x, y, f"{label}: {_value(y, share)} ({xlabel} {_place(x)})") for x, y in at])
        _axes(axes, xlabel, share, floor)
        places = {x for _, points in drawn for x, _ in points}
        if len(places) == 1:  # else the axis shows fractions of an epoch around it
            axes.set_xticks(sorted(places))
        if len(drawn) > 1:
            longest = max(len(label) for label, _ in drawn)
            width = sum(len(label) for label, _ in drawn) + KEY_CHARS * len(drawn)
            columns = len(drawn) if width <= LEGEND_CHARS else 2 if longest + KEY_CHARS <= LEGEND_CHARS // 2 else 1
            axes.figure.legend(loc="outside upper left", ncols=columns, handlelength=1.2)

    return figure(draw, name)


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> Sequence[tuple[float, float]]:
    """At most so many points: the means of parts of equal length."""
    if len(points) <= most:
        return points
    size = -(-len(points) // most)
    parts = [points[n : n + size] for n in range(0, len(points), size)]
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts]


def _value(value: float, share: bool) -> str:
    return f"{value:.1f} %" if share else f"{value:.4g}"


def _place(x: float) -> str:
    return short(x) if x >= 1000 else f"{x:.4g}"


def reward(run: Run, name: str) -> str:
    """The mean reward of the rollouts, and that of the bare and of the templated ones, at each step."""
    keys = {"all rollouts": "reward", "bare": "p2o/bare_reward", "templated": "p2o/templated_reward"}
    return lines(name, [(label, run.logged(k)) for label, k in keys.items()], share=False, dots=False, floor=False)


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


def tool_calls(run: Run, name: str) -> str:
    """Tool calls of a rollout, by epoch."""
    return lines(name, _bare_and_templated(run, "p2o/tool_calls"), share=False)


def tool_failures(run: Run, name: str) -> str:
    """The share of the tool calls that failed, by epoch."""
    return lines(name, _bare_and_templated(run, "p2o/tool_failures"))


def _bare_and_templated(run: Run, key: str) -> list[Line]:
    """The means of a figure of the steps by epoch, of bare and of templated rollouts."""
    found: list[Line] = []
    for which in ("bare", "templated"):
        epochs: dict[int, list[float]] = {}
        for epoch, value in run.logged(f"{key}/{which}"):
            epochs.setdefault(max(1, math.ceil(round(epoch, 6))), []).append(value)
        found.append((which, [(float(epoch), fmean(values)) for epoch, values in sorted(epochs.items())]))
    return found


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
                middles = [b + v / 2 for b, v in zip(below, values, strict=True)]
                tips = [(f"{v} {STATES[state].label} (epoch {e})") for e, v in zip(epochs, values, strict=True)]
                add_tips(axes, [(e, m, tip) for e, m, tip, v in zip(epochs, middles, tips, values, strict=True) if v])
            below = [b + v for b, v in zip(below, values, strict=True)]
        _axes(axes, "epoch", share=False)
        axes.set_xticks(epochs)
        axes.figure.legend(loc="outside upper left", ncols=3, handlelength=0.8, columnspacing=1.0)

    return figure(draw, name)


def best_scores(run: Run, name: str) -> str:
    """Best mean dev score by iteration, a line per evolution."""
    series = [(f"after epoch {n + 1}", list(enumerate(e.best_scores))) for n, e in run.evolutions.items()]
    return lines(name, [(label, [(float(x), y) for x, y in points]) for label, points in series], xlabel="iteration")


def ratio_histogram(record: Mapping[str, Any], low: float, high: float, name: str) -> str:
    """Histogram of one epoch's ratios: each bar is a share of the tokens. What the mask drops has the colour of
    failure."""
    counts = ratio_counts(record)
    if not sum(counts):
        return ""
    edges = record["ratio_log10_edges"]
    width = edges[1] - edges[0]
    centres = [edges[0] - width / 2, *(e + width / 2 for e in edges)]
    bounds = math.log10(low), math.log10(high)
    shares = [100 * count / sum(counts) for count in counts]

    def draw(axes: Any) -> None:
        kept = [COLOURS["graduated"] if bounds[0] < c < bounds[1] else COLOURS["all_failed"] for c in centres]
        axes.bar(centres, shares, width=width * 0.9, color=kept)
        for bound in bounds:
            axes.axvline(bound, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (3, 2)))
        tips = [
            f"{n} tokens ({share:.1f} %) around ratio {10**c:.2g}"
            for c, n, share in zip(centres, counts, shares, strict=True)
        ]
        add_tips(axes, [(c, share / 2, tip) for c, share, tip in zip(centres, shares, tips, strict=True) if share])
        axes.set_xlim(edges[0] - width, 2.2)
        ticks = range(-6, 3, 2)
        axes.set_xticks(ticks, ["1" if t == 0 else f"{10**t:g}" if abs(t) <= 2 else f"1e{t}" for t in ticks])
        axes.set_xlabel("π(token | bare) / π(token | with template)")
        axes.yaxis.set_major_formatter("{x:.0f} %")

    return figure(draw, name)


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

    return figure(draw, name)


def _axes(axes: Any, xlabel: str, share: bool, floor: bool = True) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8 if xlabel != "tokens" else 5, integer=True))
    if xlabel == "tokens":
        axes.xaxis.set_major_formatter(lambda x, _: short(x))
    axes.set_xlabel(xlabel)
    if floor:
        axes.set_ylim(bottom=0)
    if share:
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter("{x:.0f} %")
