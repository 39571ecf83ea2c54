"""What a CEL expression computes with: Python's own values, and the few that Python lacks.

null is None, bool is bool, int is int, double is float, string is str, bytes is bytes, list is list or tuple,
map is a mapping. New here: `Uint`, `Timestamp`, `Duration` (nanoseconds; datetime has only microseconds),
`TypeValue`, `Optional`, and `KeyedMap` for the maps whose keys Python would confuse (true and 1).

It must not know expressions or events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from jianguan.errors import JianguanError

Value: TypeAlias = Any
"""One of the types above. Any, because containers nest them and Python's own types cannot be narrowed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class EvaluationError(JianguanError):
    """The expression has no value for this input: a missing field, an overflow, a division by zero."""


class Uint(int):
    """An unsigned 64-bit integer: equal to the int of the same size, but a type of its own."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment, in nanoseconds since 1970 UTC."""

    nanoseconds: int

    def as_datetime(self) -> datetime:
        """The moment as an aware UTC datetime, cut to microseconds."""
        return _EPOCH + timedelta(microseconds=self.nanoseconds // 1000)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds; may be negative."""

    nanoseconds: int

    def as_timedelta(self) -> timedelta:
        """The span, cut to microseconds."""
        return timedelta(microseconds=self.nanoseconds // 1000)


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: what `type(x)` gives and what `int` and `list` name."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """An optional value: `present` says whether there is one."""

    present: bool
    value: Value = None


NONE = Optional(False)

NULL = object()
"""What an event holds in a field whose value is CEL's null; None there means that the field is missing."""


class KeyedMap(Mapping[Value, Value]):
    """A map that tells the key true from the key 1, which a dict cannot. Lookups take numbers of any type."""

    __slots__ = ("_rows",)

    def __init__(self, entries: Sequence[tuple[Value, Value]]) -> None:
        self._rows = {(type(key) is bool, key): (key, value) for key, value in entries}

    def __getitem__(self, key: Value) -> Value:
        return self._rows[(type(key) is bool, key)][1]

    def __contains__(self, key: object) -> bool:
        return (type(key) is bool, key) in self._rows

    def __iter__(self) -> Iterator[Value]:
        return (key for key, _ in self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)


_NATIVE: dict[type, Callable[[Any], Value]] = {
    datetime: lambda value: timestamp_of(value),
    timedelta: lambda value: Duration(value // _MICROSECOND * 1000),
}


def timestamp_of(value: Any) -> Timestamp:
    """A Timestamp from a Timestamp, a datetime (without zone: UTC) or whole milliseconds since 1970 UTC.

    Raises EvaluationError for anything else.
    """
    if type(value) is int:
        return Timestamp(value * 1_000_000)
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return Timestamp((moment - _EPOCH) // _MICROSECOND * 1000)
    raise EvaluationError(f"a {type(value).__name__} is not a moment")


def duration_of(value: Any) -> Duration:
    """A Duration from a Duration, a timedelta or whole milliseconds. Raises EvaluationError for anything else."""
    if type(value) is int:
        return Duration(value * 1_000_000)
    if isinstance(value, Duration):
        return value
    if isinstance(value, timedelta):
        return Duration(value // _MICROSECOND * 1000)
    raise EvaluationError(f"a {type(value).__name__} is not a duration")


def adapt(value: Any) -> Value:
    """A value that came from outside, inside a list or a map: Python's times become CEL's, the rest stays."""
    convert = _NATIVE.get(type(value))
    return value if convert is None else convert(value)


_KINDS: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    dict: "map",
    KeyedMap: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
    Optional: "optional_type",
}


def kind_of(value: Value) -> str:
    """CEL's name for the type of a value. Raises EvaluationError for a Python object that is no CEL value."""
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    # Subclasses, such as the members of a StrEnum: slower, and rare.
    for base, name in ((str, "string"), (int, "int"), (Mapping, "map"), (list, "list"), (tuple, "list")):
        if isinstance(value, base):
            return name
    raise EvaluationError(f"a {type(value).__name__} is not a value of the rule language")
