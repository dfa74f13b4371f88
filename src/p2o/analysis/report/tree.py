"""Lays out the genealogy of one evolution's templates. Pure geometry; the page draws it.

Iterations go from left to right. Seeds and accepted templates are nodes with their dev score; the refused children
of one parent in one iteration are a small block of dots, so that a large evolution stays readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...core.evolve.result import Candidate

COLUMN = 104.0
"""Width of an iteration."""
NODE = 34.0
"""Height of a node."""
DOT = 12.0
"""Distance of two dots."""
DOTS_PER_ROW = 5
MARGIN = 30.0


@dataclass(frozen=True)
class Node:
    """A seed or an accepted template."""

    id: int
    x: float
    y: float
    score: float | None
    """Mean dev score; None: not scored."""
    children: int
    """Proposals made from it."""
    seed: bool


@dataclass(frozen=True)
class Dot:
    """A refused proposal."""

    id: int
    x: float
    y: float
    fate: str


@dataclass
class Tree:
    """The genealogy of one evolution, placed."""

    nodes: list[Node] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    edges: list[tuple[float, float, float, float, bool]] = field(default_factory=list)
    """(x, y) of the parent, (x, y) of the child, whether the child was accepted."""
    width: float = 0.0
    height: float = 0.0
    iterations: int = 0


def layout(candidates: Sequence[Candidate]) -> Tree:
    """Places all candidates of one evolution."""
    tree = Tree(iterations=max((c.iteration for c in candidates), default=0))
    children: dict[int, list[Candidate]] = {}
    for c in candidates:
        if c.parent is not None:
            children.setdefault(c.parent, []).append(c)
    y = MARGIN
    for seed in (c for c in candidates if c.parent is None and c.fate == "seed"):
        y = _place_node(tree, seed, children, y)
    tree.width = 2 * MARGIN + (tree.iterations + 1) * COLUMN
    tree.height = y + DOT
    return tree


def _place_node(tree: Tree, candidate: Candidate, children: dict[int, list[Candidate]], top: float) -> float:
    """Places a node and its descendants below ``top``, each child in a band of its own; returns where the next node
    can begin."""
    own = children.get(candidate.id, [])
    x, y = _x(candidate.iteration), top + NODE / 2
    tree.nodes.append(Node(candidate.id, x, y, candidate.dev_mean, len(own), seed=candidate.fate == "seed"))
    bottom = top
    for iteration in sorted({c.iteration for c in own}):
        born = [c for c in own if c.iteration == iteration]
        refused = [c for c in born if c.fate != "accepted"]
        if refused:
            bottom = _place_refused(tree, refused, (x, y), bottom)
        for child in (c for c in born if c.fate == "accepted"):
            tree.edges.append((x, y, _x(iteration), bottom + NODE / 2, True))
            bottom = _place_node(tree, child, children, bottom)
    return max(bottom, top + NODE)


def _place_refused(tree: Tree, refused: Sequence[Candidate], parent: tuple[float, float], top: float) -> float:
    rows = -(-len(refused) // DOTS_PER_ROW)
    height = max(NODE * 0.7, (rows + 0.6) * DOT)
    x = _x(refused[0].iteration)
    first = top + (height - (rows - 1) * DOT) / 2
    tree.edges.append((*parent, x, first, False))
    for n, c in enumerate(refused):
        row, column = divmod(n, DOTS_PER_ROW)
        tree.dots.append(Dot(c.id, x + column * DOT, first + row * DOT, c.fate))
    return top + height


def _x(iteration: int) -> float:
    return MARGIN + iteration * COLUMN
