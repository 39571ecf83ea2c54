"""The columns of every table, derived from the shapes of the domain: the one place that knows how a record is a row.

Rows of a SELECT over `select_list` become records again (`record_of`); the way in is `jianguan.columns`. Knows nothing
of connections; the types themselves are in `migrations/`, and a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc

from jianguan.columns import ROWS
from jianguan.domain.event import Event
from jianguan.domain.trace import TABLES


class Column(NamedTuple):
    """One column: its name, its type in ClickHouse, and how a value comes back from a SELECT."""

    name: str
    type: str
    select: str
    restore: Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table: what its rows are, its columns, and which fields make a version of a row unique."""

    name: str
    record: type[Any]
    columns: tuple[Column, ...]
    identity: tuple[str, ...]  # the fields that tell one version of a row from another

    @property
    def quoted(self) -> str:
        """The column names for an INSERT."""
        return ", ".join(f"`{column.name}`" for column in self.columns)

    def select_list(self, prefix: str = "", fields: Sequence[str] | None = None) -> str:
        """The expressions of a SELECT whose rows `records_of` understands. `prefix` is a table alias. Only of `fields`,
        if they are given."""
        columns = self.columns if fields is None else self.only(fields)
        return ", ".join(column.select.format(f"{prefix}`{column.name}`") for column in columns)

    def only(self, fields: Sequence[str]) -> list[Column]:
        """The columns of those fields, in their order."""
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in fields]


# Texts that repeat so often that a dictionary pays, and integers that are moments in milliseconds.
_WORDS: Final[dict[str, str]] = {
    "events": "source kind nature category matter region industry product platform channel result right outcome status",
    "personal": "",
    "facts": "rule region industry category",
    "alerts": "rule rule_hash severity region industry category lead clock",
    "cases": "state severity lead region clock clock_source",
    "tasks": "department role state",
    "deliveries": "receiver department kind state",
    "quarantine": "topic code field content_type state",
    "trace": "what actor",
}
_WORD_LISTS: Final = {("events", "tags"), ("alerts", "joint")}
_TIMES: Final[dict[str, str]] = {
    "events": "occurred_at received_at",
    "personal": "occurred_at",
    "facts": "time received_at",
    "alerts": "episode episode_end time window_start raised_at received_at",
    "cases": "opened_at closed_at due_at",
    "tasks": "assigned_at accepted_at reported_at closed_at due_at",
    "deliveries": "due_at created_at updated_at received_at",
    "quarantine": "at",
    "trace": "at",
}
_TEXT: Final = Event._fields.index("text")


def _column(table: str, name: str, hint: Any) -> Column:
    optional = hint not in (str, int, float, bool, bytes) and type(None) in getattr(hint, "__args__", ())
    base = next(each for each in hint.__args__ if each is not type(None)) if optional else hint
    if name in _TIMES[table].split():
        kind = "DateTime64(3, 'UTC')"
        return Column(name, f"Nullable({kind})" if optional else kind, "toUnixTimestamp64Milli({})", None)
    if base is str:
        kind = "Nullable(String)" if optional else "String"
        return Column(name, f"LowCardinality({kind})" if name in _WORDS[table].split() else kind, "{}", None)
    if base is bytes:
        return Column(name, "String", "hex({})", bytes.fromhex)
    if base is int:
        kind = "UInt64" if name == "revision" else "UInt8" if name == "stage" else "Int64"
        return Column(name, f"Nullable({kind})" if optional else kind, "{}", None)
    if base is float:
        return Column(name, "Nullable(Float64)" if optional else "Float64", "{}", None)
    if base is bool:
        return Column(name, "Bool", "{}", bool)
    if base == tuple[str, ...]:
        words = (table, name) in _WORD_LISTS
        return Column(name, "Array(LowCardinality(String))" if words else "Array(String)", "{}", tuple)
    if base == dict[str, float]:
        return Column(name, "Map(String, Float64)", "{}", dict)
    raise TypeError(f"{table}.{name}: no column type for {hint}")


def _shape(table: str) -> TableShape:
    record = ROWS[table]
    columns = [_column(table, name, hint) for name, hint in get_type_hints(record).items()]
    if table == "events":
        del columns[_TEXT]  # the free text is personal
    identity = ("event",) if table == "personal" else ("id", "revision")
    return TableShape(
        table,
        record,
        tuple(columns),
        tuple(name for name in identity if name in get_type_hints(record)),
    )


SHAPES: Final[dict[str, TableShape]] = {table: _shape(table) for table in TABLES}


def record_of(table: str, row: Sequence[Any]) -> Any:
    """The record that `row`, a result of `select_list`, stands for. An event comes back with `text` None."""
    shape = SHAPES[table]
    values = [
        value if column.restore is None else column.restore(value)
        for column, value in zip(shape.columns, row, strict=True)
    ]
    if table == "events":
        values.insert(_TEXT, None)
    return shape.record(*values)


def records_of(table: str, rows: Iterable[Sequence[Any]], fields: Sequence[str] | None = None) -> list[Any]:
    """`record_of` for each row. Of rows that have only `fields`, records whose other fields are empty."""
    if fields is None:
        return [record_of(table, row) for row in rows]
    columns, blank = SHAPES[table].only(fields), _blank(table)
    return [
        blank._replace(
            **{
                column.name: value if column.restore is None else column.restore(value)
                for column, value in zip(columns, row, strict=True)
            }
        )
        for row in rows
    ]


@cache
def _blank(table: str) -> Any:
    """A record without anything: None where that may be, else the type's empty value."""
    record = ROWS[table]
    hints = get_type_hints(record).values()
    return record(*(None if type(None) in get_args(hint) else (get_origin(hint) or hint)() for hint in hints))


def deduplication_token(token: str, name: str, table: Any) -> str:
    """A token for the store's deduplication: letters and digits only, so that it may stand in a SETTINGS clause.

    It names the run and the versions of rows in it: the same run told again with other rows must not be swallowed.
    `table` is a table of `jianguan.columns`.
    """
    digest = blake2b(f"{token}\x1f{name}\x1f{table.num_rows}".encode("utf-8", "surrogatepass"), digest_size=16)
    for column in SHAPES[name].identity:
        values = table.column(column).combine_chunks().cast(pa.string())
        joined = pc.binary_join(pa.ListArray.from_arrays([0, len(values)], values), "\x1f")
        digest.update(joined[0].as_buffer())
    return digest.hexdigest()
