"""Pages of rows that are ordered newest first by a time in ms, then by id, asked for as "before this time". Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Following(NamedTuple):
    """Where the next page begins: before a time, and of the last millisecond before it, after an id."""

    before: int
    after: str | None = None


def page_of(
    rows: Sequence[T], limit: int, at: Callable[[T], int], name: Callable[[T], str]
) -> tuple[list[T], Following | None]:
    """At most `limit` of `rows` (ask for `limit` + 1), and where the next page begins, None on the last one.

    Rows of one millisecond stay together. When there are more than `limit` of them, as when the clock settles many
    rules at once, the next page goes on after the last id.
    """
    if len(rows) <= limit:
        return list(rows), None
    boundary = at(rows[limit])
    whole = [row for row in rows[:limit] if at(row) > boundary]
    if whole:
        return whole, Following(boundary + 1)
    return list(rows[:limit]), Following(boundary + 1, name(rows[limit - 1]))
