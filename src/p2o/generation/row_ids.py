"""Token ids that know their row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class RowIds(list[int]):
    """The token ids of one row's prompt. What is appended to them with ``+`` belongs to the same row.

    TRL's tool loop makes the prompt of a later turn as ``prompt + completion + tool result``, and generates for the
    rows that have called a tool. So a row is found by its ids, not by its position.

    Args:
        row: the row's number in its batch.
    """

    def __init__(self, ids: Iterable[int], row: int) -> None:
        super().__init__(ids)
        self.row = row

    def __add__(self, more: Sequence[int]) -> RowIds:  # type: ignore[override]
        return RowIds([*self, *more], self.row)

    def __reduce__(self) -> tuple[type[RowIds], tuple[list[int], int]]:
        return RowIds, (list(self), self.row)


def with_rows(ids: Sequence[Sequence[int]]) -> list[RowIds]:
    """The ids of a batch's prompts, each with its place as the row's number."""
    return [RowIds(row_ids, row) for row, row_ids in enumerate(ids)]
