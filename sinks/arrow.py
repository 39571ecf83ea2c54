"""Columns in the engine's types and Arrow tables as rows: how the embedded store exchanges data with its engine.

Also the one place that writes parameter values as text: the engine parses `{name:Type}` itself, so what is needed is
the escaping of its tab-separated format, not of SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from jianguan.columns import encodable
from sinks.rows import SHAPES
from sinks.store import StoreError

_ARROW: Final[dict[str, Any]] = {
    "String": pa.string(),
    "Int64": pa.int64(),
    "UInt64": pa.uint64(),
    "UInt8": pa.uint8(),
    "Float64": pa.float64(),
    "Bool": pa.bool_(),
    "DateTime64(3, 'UTC')": pa.timestamp("ms", "UTC"),
    "Array(String)": pa.list_(pa.string()),
    "Map(String, Float64)": pa.map_(pa.string(), pa.float64()),
}
_ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0", "\b": "\\b", "\f": "\\f"}
)


def _arrow_type(kind: str) -> Any:
    for wrapper in ("LowCardinality(", "Nullable("):
        kind = kind[len(wrapper) : -1] if kind.startswith(wrapper) else kind
    return _ARROW["Array(String)" if kind.startswith("Array(") else kind]


def _schema(table: str) -> Any:
    fields = [
        (column.name, pa.binary() if column.select.startswith("hex(") else _arrow_type(column.type))
        for column in SHAPES[table].columns
    ]
    return pa.schema(fields)


SCHEMAS: Final[dict[str, Any]] = {table: _schema(table) for table in SHAPES}


def arrow_table(name: str, table: Any) -> Any:
    """A table of `jianguan.columns` in the types that the engine takes for it. StoreError when a value does not fit."""
    try:
        return table.cast(SCHEMAS[name])
    except pa.ArrowInvalid as fault:
        raise StoreError(f"{name} has a value that its column cannot hold: {fault}") from fault


def table_in(answer: Any) -> Any:
    """The table in the engine's answer in the format Arrow, on the answer's memory: read it while that is there.

    What the engine calls `ArrowTable` is the same, and imports pandas for nothing: that takes longer than to open a
    store.
    """
    if not len(answer):  # a statement that has no columns
        return pa.table({})
    return pa.RecordBatchFileReader(answer.get_memview().view()).read_all()


def rows_of(table: Any) -> list[tuple[Any, ...]]:
    """The rows of a pyarrow table or record batch as tuples of Python values."""
    columns = columns_of(table)
    return list(zip(*columns, strict=True)) if columns else []


def columns_of(table: Any) -> list[Sequence[Any]]:
    """The columns of a pyarrow table or record batch as lists of Python values."""
    return [column.to_pylist() for column in table.columns]


def parameter_text(value: Any) -> str:
    """A value as the engine reads it for `{name:Type}`: tab-separated escapes, lists with quoted members.

    `parameter_text(["it's"])` is `['it\\'s']`. None is the NULL of a Nullable type.
    """
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return encodable(value).translate(_ESCAPES)  # type: ignore[no-any-return]
    if isinstance(value, list | tuple):
        return "[" + ",".join(_member(each) for each in value) + "]"
    raise TypeError(f"a {type(value).__name__} cannot be a parameter")


def _member(value: Any) -> str:
    text = parameter_text(value)
    return "'" + text.replace("'", "\\'") + "'" if isinstance(value, str) else text


def parameter_texts(parameters: Mapping[str, Any] | None) -> dict[str, str]:
    """`parameter_text` of every value."""
    return {name: parameter_text(value) for name, value in (parameters or {}).items()}
