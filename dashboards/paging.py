"""Pages of rows that are ordered newest first by a time in ms, then by id, asked for as "before this time"; and of
tasks, asked for as "after this place". Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from jianguan.domain.case import TaskPlace

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


def place_text(place: TaskPlace) -> str:
    """A place as it stands in an address."""
    return ".".join(str(each if isinstance(each, str) else int(each)) for each in place)


def place_from(text: str) -> TaskPlace | None:
    """The place that an address names; None for text that is none."""
    *numbers, name = text.split(".")
    if len(numbers) != 5 or not all(each.isascii() and each.isdigit() and len(each) < 16 for each in numbers):
        return None
    closed, in_time, endless, due_at, assigned_at = map(int, numbers)
    return TaskPlace(bool(closed), bool(in_time), bool(endless), due_at, assigned_at, name[:64])
