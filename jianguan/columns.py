"""Records as columns: how a large run travels to the store, made once and inserted as it is.

A row of Python values costs more to carry from stage to stage than to make. The columns are Arrow's; which there are
follows from the shapes of the domain. Times stay whole numbers of milliseconds. Knows no store and no broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jianguan.domain.alert import Alert
from jianguan.domain.by_field import Constant, Taken
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import Event, Personal
from jianguan.domain.fact import Fact
from jianguan.domain.ids import WIDTH, Ids
from jianguan.domain.trace import TABLES, WRITTEN, Quarantined, Records, Step
from jianguan.errors import InputError

ROWS: Final[Mapping[str, type[Any]]] = {
    "events": Event,
    "personal": Personal,
    "facts": Fact,
    "alerts": Alert,
    "cases": Case,
    "tasks": Task,
    "deliveries": Delivery,
    "quarantine": Quarantined,
    "trace": Step,
}
_ARROW: Final[dict[Any, Any]] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    tuple[str, ...]: pa.list_(pa.string()),
    dict[str, float]: pa.map_(pa.string(), pa.float64()),
}
_TEXT: Final = Event._fields.index("text")  # the free text is personal, and stored only there


def _arrow_type(hint: Any) -> Any:
    members = [each for each in get_args(hint) if each is not type(None)] if type(None) in get_args(hint) else []
    base = members[0] if members else hint
    # A literal is a text of a few values.
    return _ARROW.get(base) or _ARROW[str]


def _schema(table: str) -> Any:
    hints = get_type_hints(ROWS[table])
    return pa.schema([(name, _arrow_type(hint)) for name, hint in hints.items() if (table, name) != ("events", "text")])


SCHEMAS: Final[Mapping[str, Any]] = {table: _schema(table) for table in TABLES}


class Columns:
    """Rows by table, as Arrow tables, in the order in which they are written. Immutable. Has no empty table."""

    __slots__ = ("tables",)

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self.tables = {name: tables[name] for name in WRITTEN if name in tables and tables[name].num_rows}

    @classmethod
    def of(cls, records: Records | Columns) -> Columns:
        """The rows of `records`, themselves if they are columns. InputError when a value does not fit its column."""
        if isinstance(records, Columns):
            return records
        return cls({name: table_of(name, rows) for name in TABLES if (rows := getattr(records, name))})

    @classmethod
    def of_fields(cls, fields: Mapping[str, Sequence[Sequence[Any]]]) -> Columns:
        """The rows of some tables, field by field. InputError when a value does not fit its column."""
        made: dict[int, Any] = {}
        return cls({name: table_of_fields(name, each, made) for name, each in fields.items() if each and len(each[0])})

    @classmethod
    def joined(cls, parts: Iterable[Columns]) -> Columns:
        """All rows of `parts`, in their order."""
        found: dict[str, list[Any]] = {}
        for part in parts:
            for name, table in part.tables.items():
                found.setdefault(name, []).append(table)
        return cls({name: each[0] if len(each) == 1 else pa.concat_tables(each) for name, each in found.items()})

    def inserts(self) -> Iterator[tuple[str, Any]]:
        """What is inserted one after the other: a table, and its rows. Deliveries that begin come before the steps, by
        which somebody who starts anew takes it that their departments hear of them."""
        begun, others = _begun(self.tables.get("deliveries"))
        for name in WRITTEN:
            if name == "trace" and begun is not None:
                yield "deliveries", begun
            rows = others if name == "deliveries" else self.tables.get(name)
            if rows is not None:
                yield name, rows

    def count(self, table: str) -> int:
        """How many rows there are of one table."""
        return self.tables[table].num_rows if table in self.tables else 0

    def cut(self, size: int) -> Iterator[Columns]:
        """The same rows in parts of about `size` bytes at most, nothing copied."""
        parts = 1 + sum(table.nbytes for table in self.tables.values()) // size
        for part in range(parts):
            yield Columns({name: _slice(table, part, parts) for name, table in self.tables.items()})

    def records(self) -> Records:
        """The rows as rows again."""
        return Records(**{name: rows_of(name, table) for name, table in self.tables.items()})

    def __len__(self) -> int:
        return sum(table.num_rows for table in self.tables.values())


def _slice(table: Any, part: int, parts: int) -> Any:
    first, last = table.num_rows * part // parts, table.num_rows * (part + 1) // parts
    return table.slice(first, last - first)


def _begun(deliveries: Any) -> tuple[Any, Any]:
    """The rows with which deliveries begin, and all others; None for no rows."""
    if deliveries is None:
        return None, None
    first = pc.equal(deliveries.column("revision"), 1)
    parts = deliveries.filter(first), deliveries.filter(pc.invert(first))
    return parts[0] if parts[0].num_rows else None, parts[1] if parts[1].num_rows else None


def table_of(name: str, rows: Sequence[Any]) -> Any:
    """The rows of one table, at least one, as a pyarrow.Table. InputError when a value does not fit its column."""
    return table_of_fields(name, list(zip(*rows, strict=True)))


def table_of_fields(name: str, fields: Sequence[Sequence[Any]], made: dict[int, Any] | None = None) -> Any:
    """The rows of one table, of which `fields` has each field's values, as a pyarrow.Table.

    `made` has columns by the identity of their values, which are alive as long: one that others are taken from is made
    once.
    """
    schema = SCHEMAS[name]
    columns = [*fields[:_TEXT], *fields[_TEXT + 1 :]] if name == "events" else fields
    made = {} if made is None else made
    arrays = []
    for field, values in zip(schema, columns, strict=True):
        if isinstance(values, Taken):
            source = made.get(id(values.values))
            if source is None:
                source = made[id(values.values)] = _array(name, field, values.values)
            arrays.append(source.take(pa.array(values.places, pa.int32())))
        else:
            arrays.append(_array(name, field, values))
            made[id(values)] = arrays[-1]
    return pa.Table.from_arrays(arrays, schema=schema)


def fitted(name: str, table: Any) -> Any:
    """A table of another version with the columns of this one: unknown ones are dropped, missing ones have the default
    of their field. pyarrow.ArrowInvalid when one that has no default is missing, or when one has another type."""
    schema = SCHEMAS[name]
    if table.schema == schema:
        return table
    defaults = ROWS[name]._field_defaults
    columns = []
    for field in schema:
        place = table.schema.get_field_index(field.name)
        if place >= 0 and table.schema.field(place).type == field.type:
            columns.append(table.column(place))
        elif place < 0 and field.name in defaults:
            columns.append(_array(name, field, Constant(defaults[field.name], table.num_rows)))
        else:
            raise pa.ArrowInvalid(f"these are other columns than those of {name}: {field.name}")
    return pa.Table.from_arrays(columns, schema=schema)


def rows_of(name: str, table: Any) -> list[Any]:
    """The rows of a table that `table_of` made. An event comes back with `text` None."""
    columns = [values_of(column) for column in table.columns]
    if name == "events":
        columns.insert(_TEXT, [None] * table.num_rows)
    return list(map(ROWS[name]._make, zip(*columns, strict=True)))


def values_of(column: Any) -> list[Any]:
    """The values of one column as the domain has them."""
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [dict(each) for each in values]
    return list(map(tuple, values)) if pa.types.is_list(column.type) else values


def _array(table: str, field: Any, values: Sequence[Any]) -> Any:
    if isinstance(values, Ids):
        return _ids(values)
    if isinstance(values, Constant):
        if values.value is None:
            return pa.nulls(values.size, field.type)
        if not isinstance(values.value, tuple | dict):
            return pa.repeat(pa.scalar(values.value, field.type), values.size)
        values = list(values)
    if pa.types.is_map(field.type):
        values = [list(each.items()) for each in values]
    try:
        return pa.array(values, field.type)
    except UnicodeEncodeError:
        # JSON may hold half of a surrogate pair, which no UTF-8 can: one such text must not hold up a whole run.
        return pa.array([encodable(each) for each in values], field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as fault:
        raise InputError("bad-value", f"{table}.{field.name} has a value that its column cannot hold") from fault


def _ids(values: Ids) -> Any:
    """The texts of ids, without making them one by one."""
    count, head = len(values), f"{values.prefix}-".encode()
    digits = np.frombuffer(values.bits.hex().encode(), np.uint8).reshape(count, 2 * WIDTH)
    texts = np.empty((count, len(head) + 2 * WIDTH), np.uint8)
    texts[:, : len(head)] = np.frombuffer(head, np.uint8)
    texts[:, len(head) :] = digits
    ends = np.arange(0, texts.size + 1, texts.shape[1], dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(texts))


def encodable(value: Any) -> Any:
    """`value` with what UTF-8 cannot hold, halves of surrogate pairs, replaced by question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, tuple | list):
        return type(value)(encodable(each) for each in value)
    if isinstance(value, dict):
        return {encodable(name): each for name, each in value.items()}
    return value
