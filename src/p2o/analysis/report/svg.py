"""matplotlib figures as SVG that lives in a page: its colours are the page's (light and dark), its text is text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

COLOURS = {
    "ink": "#100001",
    "muted": "#100002",
    "grid": "#100003",
    "all_failed": "#100011",
    "not_rescued": "#100012",
    "rescued": "#100013",
    "graduated": "#100014",
    "mixed": "#100015",
    "mastered": "#100016",
    "forgotten": "#100017",
    "a": "#100021",
    "b": "#100022",
    "c": "#100023",
    "d": "#100024",
    "e": "#100025",
    "f": "#100026",
}
"""Name → stand-in colour, which becomes the page's CSS variable of that name."""
SERIES = "abcdef"


TIP = "tip-"
"""Begins the id of a place that has a tooltip; its text follows in hexadecimal digits."""


def add_tips(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Makes places of a figure show a text when a pointer is over them.

    Args:
        points: (x, y, text).
    """
    for x, y, text in points:
        place = axes.plot([x], [y], marker="o", markersize=11, alpha=0, linestyle="", clip_on=False)[0]
        place.set_gid(TIP + text.encode("utf-8", "replace").hex())


def figure(draw: Callable[[Any], None], name: str, width: float = 4.9, height: float = 3.1) -> str:
    """An SVG element drawn by ``draw(axes)``.

    Args:
        name: unique on the page; prefixes the SVG's ids.
        width, height: in inches; the page scales it.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # a label of a data set may hold dollar signs
        "font.size": 12,
        "text.color": COLOURS["ink"],
        "axes.edgecolor": COLOURS["grid"],
        "axes.labelcolor": COLOURS["muted"],
        "xtick.color": COLOURS["grid"],
        "ytick.color": COLOURS["grid"],
        "xtick.labelcolor": COLOURS["muted"],
        "ytick.labelcolor": COLOURS["muted"],
        "grid.color": COLOURS["grid"],
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "ytick.major.size": 0,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "legend.fontsize": 12,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
    }
    with matplotlib.rc_context(style):
        canvas = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.add_subplot()
        axes.grid(axis="y")
        draw(axes)
        target = io.StringIO()
        canvas.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(target.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg ", '<svg role="img" class="chart" ', 1)
    # Several figures share a page: ids get the figure's name.
    svg = re.sub(rf'<g id="{TIP}([0-9a-f]*)">', _with_title, svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, stand_in in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{colour})")
    return re.sub(r"\n\s*", "\n", svg)


def _with_title(place: re.Match[str]) -> str:
    return f'<g class="tip"><title>{escape(bytes.fromhex(place[1]).decode())}</title>'
