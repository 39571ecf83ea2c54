"""Small pieces of SQL that the archive's questions share. Every value travels as a parameter; only names that stand in
`sinks.rows` and text written in this package become part of a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sinks.rows import SHAPES, records_of
from sinks.store import BlockStore

MOST_ROWS: Final = 100_000
CHUNK: Final = 1_000
_FEW: Final = 50


def at(name: str) -> str:
    """The moment that the parameter `name`, milliseconds, stands for."""
    return f"fromUnixTimestamp64Milli({{{name}:Int64}}, 'UTC')"


@dataclass(slots=True)
class Where:
    """Conditions joined by AND, with their parameters."""

    conditions: list[str] = field(default_factory=lambda: ["1"])
    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: str, **parameters: Any) -> None:
        """One more condition, unless one of its parameters is None: that is a question that was not asked."""
        if all(value is not None for value in parameters.values()):
            self.conditions.append(condition)
            self.parameters |= parameters

    def __str__(self) -> str:
        return " AND ".join(f"({each})" for each in self.conditions)


def checked_limit(limit: int) -> int:
    """`limit` brought into what one answer may hold."""
    return max(1, min(limit, MOST_ROWS))


def pick(store: BlockStore, table: str, where: Where, order: str, limit: int) -> list[Any]:
    """The first `limit` records of a table in `order`, exact after replays.

    Chosen by the narrow columns alone; only the chosen rows are then read whole.
    """
    shape = SHAPES[table]
    return records_of(
        table,
        store.query(
            f"SELECT {shape.select_list()} FROM {table} FINAL WHERE id IN ("  # noqa: S608
            f"SELECT id FROM {table} FINAL WHERE {where} ORDER BY {order} LIMIT {{most:UInt32}}) ORDER BY {order}",
            {**where.parameters, "most": checked_limit(limit)},
        ),
    )


def by_ids(
    store: BlockStore,
    table: str,
    ids: Sequence[str],
    column: str = "id",
    limit: int = MOST_ROWS,
    fields: Sequence[str] | None = None,
) -> list[Any]:
    """The records of a table whose `column` is one of `ids`, once each, by id.

    Of rows that never change any copy will do, of others the highest revision: the indexes lead straight to them, where
    the engine's FINAL would read whole ranges. `column` must be one that all revisions agree on.
    Only `fields` are read, if they are given.
    """
    found: list[Any] = []
    shape = SHAPES[table]
    order = "id, revision DESC" if "revision" in shape.identity else "id"
    for chunk in chunks(ids):
        found += records_of(
            table,
            store.query(
                f"SELECT {shape.select_list(fields=fields)} FROM {table}"  # noqa: S608
                f" WHERE `{column}` IN {{ids:Array(String)}} ORDER BY {order} LIMIT 1 BY id LIMIT {{most:UInt32}}",
                {"ids": chunk, "most": checked_limit(limit)},
            ),
            fields,
        )
    return found


def has_any(column: str, name: str, ids: Sequence[str]) -> str:
    """The condition that a list in `column` has one of `ids`, the parameter `name`.

    `hasAny` can skip what the index of the column knows not to have any of a few, but compares each with each: for many
    it takes several times as long as a set, and their index skips nothing.
    """
    if len(ids) > _FEW:
        return f"arrayExists(each -> each IN {{{name}:Array(String)}}, {column})"
    return f"hasAny({column}, {{{name}:Array(String)}})"


def chunks(ids: Sequence[str], size: int = CHUNK) -> Iterator[list[str]]:
    """The ids in lists that fit a statement."""
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])
