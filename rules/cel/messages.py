"""Literals of protobuf's well-known types, which CEL takes for its own values: `google.protobuf.Int32Value{value: 1}`.

There are no other message types in the rule language.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from rules.cel.semantics import moment_in_range
from rules.cel.values import Duration, EvaluationError, Uint, Value, kind_of

_PREFIX = "google.protobuf."
_NO_VALUE = object()


def message(name: str, *fields: tuple[str, Value]) -> Value:
    """The value of a message literal. Raises EvaluationError for another type, field, or kind of value."""
    build = _BUILDERS.get(name.removeprefix(".").removeprefix(_PREFIX)) if _PREFIX in name else None
    if build is None:
        raise EvaluationError(f"there is no message type {name}")
    given = dict(fields)
    value = build(given)
    if given:
        raise EvaluationError(f"{name} has no field {next(iter(given))}")
    return value


def _taken(fields: dict[str, Value], name: str, kind: str, otherwise: Value) -> Value:
    value = fields.pop(name, _NO_VALUE)
    if value is _NO_VALUE:
        return otherwise
    if kind_of(value) != kind:
        raise EvaluationError(f"the field {name} takes {kind}")
    return value


def _wrapper(
    kind: str, otherwise: Value, convert: Callable[[Value], Value] = lambda value: value
) -> Callable[[dict[str, Value]], Value]:
    return lambda fields: convert(_taken(fields, "value", kind, otherwise))


def _within(low: int, high: int) -> Callable[[Value], Value]:
    def checked(value: Value) -> Value:
        if not low <= value <= high:
            raise EvaluationError(f"{value} does not fit in 32 bits")
        return value

    return checked


def _single(value: float) -> float:
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return rounded


def _nanoseconds(fields: dict[str, Value]) -> int:
    seconds = _taken(fields, "seconds", "int", 0)
    return int(seconds * 10**9 + _taken(fields, "nanos", "int", 0))


def _json_value(fields: dict[str, Value]) -> Value:
    for name, kind in _JSON_FIELDS.items():
        if name in fields:
            return _taken(fields, name, kind, None)
    return None


_JSON_FIELDS: Mapping[str, str] = {
    "number_value": "double",
    "string_value": "string",
    "bool_value": "bool",
    "struct_value": "map",
    "list_value": "list",
}

_BUILDERS: dict[str, Callable[[dict[str, Value]], Value]] = {
    "BoolValue": _wrapper("bool", False),
    "BytesValue": _wrapper("bytes", b""),
    "DoubleValue": _wrapper("double", 0.0),
    "FloatValue": _wrapper("double", 0.0, _single),
    "Int32Value": _wrapper("int", 0, _within(-(1 << 31), (1 << 31) - 1)),
    "Int64Value": _wrapper("int", 0),
    "StringValue": _wrapper("string", ""),
    "UInt32Value": _wrapper("uint", Uint(0), _within(0, (1 << 32) - 1)),
    "UInt64Value": _wrapper("uint", Uint(0)),
    "Duration": lambda fields: Duration(_nanoseconds(fields)),
    "Timestamp": lambda fields: moment_in_range(_nanoseconds(fields)),
    "ListValue": lambda fields: _taken(fields, "values", "list", []),
    "Struct": lambda fields: _taken(fields, "fields", "map", {}),
    "Value": _json_value,
}
