"""CEL's extension library for numbers, `math.…`, and its optional values, `optional.…`.

Source: cel-spec's math extension and cel-go's optional library; where they leave room, as Google's cel-cpp does.
Rules do not have these functions; `rules.cel.evaluate` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rules.cel.containers import optional_index
from rules.cel.semantics import UINT_MAX, int_in_range, less, no_overload
from rules.cel.values import NONE, Duration, EvaluationError, Optional, Timestamp, Uint, Value, adapt, kind_of

_NUMBERS = frozenset(("int", "uint", "double"))


def _extreme(name: str, better: Callable[[Value, Value], bool]) -> Callable[..., Value]:
    def chosen(*arguments: Value) -> Value:
        candidates = list(arguments)
        if len(candidates) == 1 and isinstance(candidates[0], list | tuple):
            candidates = [adapt(each) for each in candidates[0]]
        if not candidates or any(kind_of(each) not in _NUMBERS for each in candidates):
            raise no_overload(name, *arguments)
        best = candidates[0]
        for each in candidates[1:]:
            if better(each, best):
                best = each
        return best

    return chosen


def _of_double(name: str, function: Callable[[float], Value]) -> Callable[[Value], Value]:
    def computed(value: Value) -> Value:
        if not isinstance(value, float):
            raise no_overload(name, value)
        return function(value)

    return computed


def _rounded(value: float) -> float:
    """To the nearest whole number, halves away from zero."""
    if not math.isfinite(value) or value.is_integer():
        return value
    whole = math.trunc(value)
    away = abs(value - whole) >= 0.5
    return math.copysign(abs(whole) + away, value)


def _finite_only(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: math.copysign(float(function(value)), value) if math.isfinite(value) else value


def _absolute(value: Value) -> Value:
    kind = kind_of(value)
    if kind == "int":
        return int_in_range(abs(value))
    if kind in ("uint", "double"):
        return Uint(value) if kind == "uint" else abs(value)
    raise no_overload("math.abs", value)


def _sign(value: Value) -> Value:
    kind = kind_of(value)
    if kind not in _NUMBERS:
        raise no_overload("math.sign", value)
    if value != value:
        return value
    sign = (value > 0) - (value < 0)
    return float(sign) if kind == "double" else Uint(sign) if kind == "uint" else sign


def _square_root(value: Value) -> float:
    if kind_of(value) not in _NUMBERS:
        raise no_overload("math.sqrt", value)
    return math.nan if value < 0 else math.sqrt(value)


def _signed(bits: int) -> int:
    bits &= UINT_MAX
    return bits - (1 << 64) if bits >> 63 else bits


def _bitwise(name: str, function: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    def computed(left: Value, right: Value) -> Value:
        kinds = kind_of(left), kind_of(right)
        if kinds == ("int", "int"):
            return _signed(function(int(left), int(right)))
        if kinds == ("uint", "uint"):
            return Uint(function(int(left), int(right)))
        raise no_overload(name, left, right)

    return computed


def _bit_not(value: Value) -> Value:
    kind = kind_of(value)
    if kind not in ("int", "uint"):
        raise no_overload("math.bitNot", value)
    return ~value if kind == "int" else Uint(~int(value) & UINT_MAX)


def _shifted(name: str, shift: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    def computed(value: Value, places: Value) -> Value:
        kind = kind_of(value)
        if kind not in ("int", "uint") or kind_of(places) != "int":
            raise no_overload(name, value, places)
        if places < 0:
            raise EvaluationError(f"{name} by {places} places")
        bits = 0 if places >= 64 else shift(int(value) & UINT_MAX, places) & UINT_MAX
        return Uint(bits) if kind == "uint" else _signed(bits)

    return computed


# --- optional values ---------------------------------------------------------------------------------------


def _is_zero(value: Value) -> bool:
    if isinstance(value, Timestamp | Duration):
        return value.nanoseconds == 0
    return value is None or value == 0 or (kind_of(value) in ("string", "bytes", "list", "map") and len(value) == 0)


def _of_optional(name: str, function: Callable[..., Value]) -> Callable[..., Value]:
    def computed(value: Value, *arguments: Value) -> Value:
        if not isinstance(value, Optional):
            raise no_overload(name, value, *arguments)
        return function(value, *arguments)

    return computed


def _held(value: Optional) -> Value:
    if value.present:
        return value.value
    raise EvaluationError("the optional is empty")


def _unwrapped(values: Value) -> list[Value]:
    if kind_of(values) != "list" or not all(isinstance(each, Optional) for each in values):
        raise no_overload("optional.unwrap", values)
    return [each.value for each in values if each.present]


def _end(place: int) -> Callable[[Value], Value]:
    def found(values: Value) -> Value:
        if kind_of(values) != "list":
            raise no_overload("first" if place == 0 else "last", values)
        return Optional(True, adapt(values[place])) if values else NONE

    return found


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "math.@max": _extreme("math.greatest", lambda each, best: less(best, each)),
    "math.@min": _extreme("math.least", less),
    "math.ceil": _of_double("math.ceil", _finite_only(math.ceil)),
    "math.floor": _of_double("math.floor", _finite_only(math.floor)),
    "math.round": _of_double("math.round", _rounded),
    "math.trunc": _of_double("math.trunc", _finite_only(math.trunc)),
    "math.isNaN": _of_double("math.isNaN", math.isnan),
    "math.isInf": _of_double("math.isInf", math.isinf),
    "math.isFinite": _of_double("math.isFinite", math.isfinite),
    "math.abs": _absolute,
    "math.sign": _sign,
    "math.sqrt": _square_root,
    "math.bitAnd": _bitwise("math.bitAnd", lambda left, right: left & right),
    "math.bitOr": _bitwise("math.bitOr", lambda left, right: left | right),
    "math.bitXor": _bitwise("math.bitXor", lambda left, right: left ^ right),
    "math.bitNot": _bit_not,
    "math.bitShiftLeft": _shifted("math.bitShiftLeft", lambda bits, places: bits << places),
    "math.bitShiftRight": _shifted("math.bitShiftRight", lambda bits, places: bits >> places),
    "optional.of": lambda value: Optional(True, value),
    "optional.none": lambda: NONE,
    "optional.ofNonZeroValue": lambda value: NONE if _is_zero(value) else Optional(True, value),
    "optional.unwrap": _unwrapped,
    "unwrapOpt": _unwrapped,
    "hasValue": _of_optional("hasValue", lambda value: value.present),
    "value": _of_optional("value", _held),
    "first": _end(0),
    "last": _end(-1),
    "_?._": optional_index,
    "_[?_]": optional_index,
}
