"""The standard library of CEL: which Python function stands behind which CEL function.

`LIBRARY` maps a CEL function name to a Python function that takes the target (if there is one) and then the
arguments. The extension libraries are there as well, for `rules.cel.evaluate`. Operators that need laziness
(`&&`, `||`, `?:`) are not here: the compiler writes them out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from rules.cel import containers, conversions, number_functions, semantics, text_functions
from rules.cel.patterns import matches
from rules.cel.semantics import no_overload
from rules.cel.values import Duration, EvaluationError, Timestamp, TypeValue, Value, kind_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def size(value: Value) -> int:
    """`size(value)`: code points, bytes, elements or entries."""
    if kind_of(value) not in ("string", "bytes", "list", "map"):
        raise no_overload("size", value)
    return len(value)


def type_of(value: Value) -> TypeValue:
    """`type(value)`."""
    return TypeValue(kind_of(value))


def _text_test(name: str, test: Callable[[str, str], bool]) -> Callable[[Value, Value], bool]:
    def tested(text: Value, part: Value) -> bool:
        if not isinstance(text, str) or not isinstance(part, str):
            raise no_overload(name, text, part)
        return test(text, part)

    return tested


contains = _text_test("contains", lambda text, part: part in text)
starts_with = _text_test("startsWith", lambda text, part: text.startswith(part))
ends_with = _text_test("endsWith", lambda text, part: text.endswith(part))


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    offset = conversions.offset_zone(name)
    if offset is not None:
        return offset
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise EvaluationError(f"no time zone is called {name!r}") from error


def _local(moment: Timestamp, zone: Value) -> datetime:
    if not isinstance(zone, str):
        raise no_overload("a time zone", zone)
    try:
        return (_EPOCH + timedelta(seconds=moment.nanoseconds // 10**9)).astimezone(_zone(zone))
    except OverflowError:
        raise EvaluationError("the moment is outside the years 1 to 9999 in that zone") from None


def _of_moment(name: str, read: Callable[[datetime], int]) -> Callable[..., int]:
    def accessor(value: Value, zone: Value = "") -> int:
        if not isinstance(value, Timestamp):
            raise no_overload(name, value)
        return read(_local(value, zone))

    return accessor


def _of_moment_or_span(name: str, read: Callable[[datetime], int], unit: int) -> Callable[..., int]:
    of_moment = _of_moment(name, read)

    def accessor(value: Value, *zone: Value) -> int:
        if isinstance(value, Duration) and not zone:
            whole = abs(value.nanoseconds) // unit
            return -whole if value.nanoseconds < 0 else whole
        return of_moment(value, *zone)

    return accessor


def milliseconds(value: Value, zone: Value = "") -> int:
    """`getMilliseconds()`: of a moment or a span, those within its second."""
    if isinstance(value, Timestamp):
        _local(value, zone)
        return value.nanoseconds % 10**9 // 10**6
    if isinstance(value, Duration):
        part = abs(value.nanoseconds) % 10**9 // 10**6
        return -part if value.nanoseconds < 0 else part
    raise no_overload("getMilliseconds", value)


def _identity(value: Value) -> Value:
    return value


LIBRARY: dict[str, Callable[..., Value]] = {
    "_+_": semantics.add,
    "_-_": semantics.subtract,
    "_*_": semantics.multiply,
    "_/_": semantics.divide,
    "_%_": semantics.modulo,
    "-_": semantics.negate,
    "!_": semantics.negation,
    "_==_": semantics.equal,
    "_!=_": semantics.not_equal,
    "_<_": semantics.less,
    "_<=_": semantics.less_or_equal,
    "_>_": semantics.greater,
    "_>=_": semantics.greater_or_equal,
    "@in": semantics.contained,
    "@put": containers.put,
    "_[_]": containers.index,
    "size": size,
    "type": type_of,
    "dyn": _identity,
    "int": conversions.to_int,
    "uint": conversions.to_uint,
    "double": conversions.to_double,
    "string": conversions.to_string,
    "bytes": conversions.to_bytes,
    "bool": conversions.to_bool,
    "timestamp": conversions.to_timestamp,
    "duration": conversions.to_duration,
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "matches": matches,
    "getFullYear": _of_moment("getFullYear", lambda moment: moment.year),
    "getMonth": _of_moment("getMonth", lambda moment: moment.month - 1),
    "getDate": _of_moment("getDate", lambda moment: moment.day),
    "getDayOfMonth": _of_moment("getDayOfMonth", lambda moment: moment.day - 1),
    "getDayOfWeek": _of_moment("getDayOfWeek", lambda moment: moment.isoweekday() % 7),
    "getDayOfYear": _of_moment("getDayOfYear", lambda moment: moment.timetuple().tm_yday - 1),
    "getHours": _of_moment_or_span("getHours", lambda moment: moment.hour, 3600 * 10**9),
    "getMinutes": _of_moment_or_span("getMinutes", lambda moment: moment.minute, 60 * 10**9),
    "getSeconds": _of_moment_or_span("getSeconds", lambda moment: moment.second, 10**9),
    "getMilliseconds": milliseconds,
}

LIBRARY |= text_functions.FUNCTIONS | number_functions.FUNCTIONS

MEMBER_ONLY = frozenset(name for name in LIBRARY if name.startswith("get")) | {
    "contains",
    "startsWith",
    "endsWith",
}

TYPES: dict[str, TypeValue] = {
    name: TypeValue(name)
    for name in (
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "type",
        "null_type",
        "optional_type",
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
    )
}
