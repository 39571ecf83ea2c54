"""Pages of rows that are ordered newest first by a time in ms, asked for as "before this time". Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def page_of(rows: Sequence[T], limit: int, at: Callable[[T], int]) -> tuple[list[T], int | None]:
    """At most `limit` of `rows` (ask for `limit` + 1), and the `before` of the next page, None on the last one.

    Rows of one millisecond stay together, so that none falls between two pages; more than `limit` of them in one
    millisecond are cut.
    """
    if len(rows) <= limit:
        return list(rows), None
    boundary = at(rows[limit])
    whole = [row for row in rows[:limit] if at(row) > boundary]
    if whole:
        return whole, boundary + 1
    return list(rows[:limit]), boundary
