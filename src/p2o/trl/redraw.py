"""Part of hook *order* on TRL: groups without spread are replaced by groups of further samples (`Method.redraws`).

A fresh group may have been drawn by other ranks than those whose rows it replaces, so its rows travel as objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.nn.functional import pad

from ..core.methods.dapo import groups_to_draw
from .batch import Batch, model_tokens

Output = dict[str, Any]
Row = dict[str, torch.Tensor]
"""One row of TRL's batch, without the other rows' dimension."""
Draw = Callable[[Sequence[str]], tuple[Output, Batch]]
"""Draws and scores the groups of these samples, of which each rank takes an equal share (collective)."""


class Redraw:
    """Replaces groups without spread.

    Args:
        accelerator: accelerate's.
        group_size: K.
        pad_id: the token id that pads prompts and completions.
        rounds: how many times, at most.
        draw: see `Draw`.
    """

    def __init__(self, accelerator: Any, group_size: int, pad_id: int, rounds: int, draw: Draw) -> None:
        self.accelerator, self.group_size, self.pad_id = accelerator, group_size, pad_id
        self.rounds, self.draw = rounds, draw

    def fill(self, output: Output, batch: Batch, further: Sequence[str]) -> Output:
        """The batch, with groups that have a spread in the places of those that have none, as far as the rounds and
        the further samples last (collective).

        Args:
            output: TRL's batch of this rank.
            batch: its rows and the groups of all ranks; changed in place.
            further: samples that may be drawn, each once.
        """
        used = 0
        for _ in range(self.rounds):
            dead = [g for g, group in enumerate(batch.groups) if not group.spread]
            count = groups_to_draw(len(dead), len(further) - used, self.group_size, self.accelerator.num_processes)
            if not count:
                break
            fresh, drawn = self.draw(further[used : used + count])
            used += count
            live = [g for g, group in enumerate(drawn.groups) if group.spread]
            output = self._put(output, batch, dict(zip(dead, live, strict=False)), fresh, drawn)
        # TRL's loss divides by the number of trained tokens of all ranks
        output["num_items_in_batch"] = self.accelerator.gather(model_tokens(output).sum()).sum()
        return output

    def _put(self, output: Output, batch: Batch, source: Mapping[int, int], fresh: Output, drawn: Batch) -> Output:
        """Puts the fresh groups ``source`` (place → fresh group) into the batch."""
        rank, K = self.accelerator.process_index, self.group_size
        wanted = {g * K + k for g in source.values() for k in range(K)}
        first = rank * len(drawn.rows)
        own = [(first + n, row_of(fresh, n), drawn.rows[n]) for n in range(len(drawn.rows)) if first + n in wanted]
        found = {place: (row, columns) for place, row, columns in gather_object(own)}
        start = rank * len(batch.rows)
        rows: dict[int, Row] = {}
        for place, g in source.items():
            batch.groups[place] = drawn.groups[g]
            for k in range(K):
                n = place * K + k - start
                if 0 <= n < len(batch.rows):
                    rows[n], batch.rows[n] = found[g * K + k]
                    batch.solved[n] = drawn.groups[g].solved[k]
        return with_rows(output, rows, self.pad_id)


def row_of(output: Output, n: int) -> Row:
    """One row of a batch, on the CPU."""
    return {name: value[n].cpu() for name, value in output.items() if value.dim() > 0}


def with_rows(output: Output, rows: Mapping[int, Row], pad_id: int) -> Output:
    """A batch with some rows exchanged. Where the new ones are wider, or narrower, the columns are padded as TRL pads
    them: prompts on the left, the rest on the right.

    Args:
        output: TRL's batch: tensors with a dimension of rows, and numbers.
        rows: number of the row → what stands there then.
    """
    changed = dict(output)
    for name, value in output.items():
        if value.dim() == 0 or not rows:
            continue
        new = {n: row[name].to(value.device) for n, row in rows.items()}
        if value.dim() == 2:
            fill = pad_id if name.endswith("_ids") else 1 if name == "tool_mask" else 0
            left = name.startswith("prompt")
            width = max(value.size(1), *(row.size(0) for row in new.values()))
            value = _wider(value, width, fill, left)
            new = {n: _wider(row, width, fill, left) for n, row in new.items()}
        else:
            value = value.clone()
        for n, row in new.items():
            value[n] = row
        changed[name] = value
    return changed


def _wider(value: torch.Tensor, width: int, fill: int, left: bool) -> torch.Tensor:
    missing = width - value.size(-1)
    padded: torch.Tensor = pad(value, (missing, 0) if left else (0, missing), value=fill)
    return padded
