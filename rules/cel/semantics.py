"""CEL's operators over runtime values: arithmetic with overflow, equality, order, logic, membership.

Every function here gives a value or raises EvaluationError; nothing else escapes on any input.
Source: cel-spec doc/langdef.md; where it leaves room, as Google's cel-cpp does.

It must not know syntax trees or generated code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import ge, gt, le, lt
from typing import Any, NoReturn

from rules.cel.values import (
    NONE,
    Duration,
    EvaluationError,
    Optional,
    Timestamp,
    Uint,
    Value,
    adapt,
    kind_of,
)

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
TIMESTAMP_MIN = -62_135_596_800 * 10**9
TIMESTAMP_MAX = 253_402_300_800 * 10**9 - 1

Thunk = Callable[[], Value]


def no_overload(function: str, *arguments: Value) -> EvaluationError:
    """The error that no form of `function` takes arguments of these types."""
    return EvaluationError(f"{function} does not take ({', '.join(map(kind_of, arguments))})")


def missing(name: str) -> NoReturn:
    """Raises the error that a variable has no value."""
    raise EvaluationError(f"{name} is missing")


def failed(message: str) -> NoReturn:
    """Raises an error that was already certain when the expression was compiled."""
    raise EvaluationError(message)


# --- numbers -----------------------------------------------------------------------------------------------


def int_in_range(value: int) -> int:
    """The value, if it fits in int64."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def uint_in_range(value: int) -> Uint:
    """The value as an unsigned integer, if it fits in uint64."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise EvaluationError("unsigned integer overflow")


def _nanoseconds_in_range(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("duration overflow")


def moment_in_range(nanoseconds: int) -> Timestamp:
    """The Timestamp, if it is in the years 1 to 9999."""
    if TIMESTAMP_MIN <= nanoseconds <= TIMESTAMP_MAX:
        return Timestamp(nanoseconds)
    raise EvaluationError("timestamp overflow")


def _truncated_quotient(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("divide by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _double_quotient(left: float, right: float) -> float:
    if right != 0.0:
        return left / right
    if left == 0.0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _signed_remainder(left: int, right: int) -> int:
    if left == INT_MIN and right == -1:
        raise EvaluationError("integer overflow")
    return _remainder(left, right)


def add(left: Value, right: Value) -> Value:
    """`left + right`."""
    pair = type(left), type(right)
    if pair == (int, int):
        return int_in_range(left + right)
    if pair in _ADD_NATIVELY:
        return left + right
    if pair == (Uint, Uint):
        return uint_in_range(int(left) + int(right))
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return moment_in_range(left.nanoseconds + right.nanoseconds)
    if isinstance(left, Duration) and isinstance(right, Timestamp):
        return moment_in_range(left.nanoseconds + right.nanoseconds)
    if isinstance(left, Duration) and isinstance(right, Duration):
        parts = _nanoseconds_in_range(left.nanoseconds), _nanoseconds_in_range(right.nanoseconds)
        return Duration(_nanoseconds_in_range(sum(parts)))
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return [*left, *right]
    if isinstance(left, str) and isinstance(right, str):
        return str(left) + str(right)
    if kind_of(left) == kind_of(right) == "int":
        return int_in_range(int(left) + int(right))
    raise no_overload("+", left, right)


_ADD_NATIVELY = {(str, str), (float, float), (bytes, bytes)}


def subtract(left: Value, right: Value) -> Value:
    """`left - right`."""
    if isinstance(left, Timestamp) and isinstance(right, Timestamp):
        return Duration(_nanoseconds_in_range(left.nanoseconds - right.nanoseconds))
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return moment_in_range(left.nanoseconds - right.nanoseconds)
    if isinstance(left, Duration) and isinstance(right, Duration):
        parts = _nanoseconds_in_range(left.nanoseconds), _nanoseconds_in_range(right.nanoseconds)
        return Duration(_nanoseconds_in_range(parts[0] - parts[1]))
    return _arithmetic("-", left, right, lambda a, b: a - b, lambda a, b: a - b)


def multiply(left: Value, right: Value) -> Value:
    """`left * right`."""
    return _arithmetic("*", left, right, lambda a, b: a * b, lambda a, b: a * b)


def divide(left: Value, right: Value) -> Value:
    """`left / right`: integers towards zero, doubles as IEEE 754."""
    return _arithmetic("/", left, right, _truncated_quotient, _double_quotient)


def modulo(left: Value, right: Value) -> Value:
    """`left % right`: the sign of the left; not for doubles."""
    return _arithmetic("%", left, right, _signed_remainder, None)


def _arithmetic(
    sign: str,
    left: Value,
    right: Value,
    whole: Callable[[int, int], int],
    real: Callable[[float, float], float] | None,
) -> Value:
    kind = kind_of(left)
    if kind == kind_of(right):
        if kind == "int":
            return int_in_range(whole(int(left), int(right)))
        if kind == "uint":
            return uint_in_range(whole(int(left), int(right)))
        if kind == "double" and real is not None:
            return real(left, right)
    raise no_overload(sign, left, right)


def negate(value: Value) -> Value:
    """`-value`; unsigned integers have none."""
    kind = kind_of(value)
    if kind == "int":
        return int_in_range(-value)
    if kind == "double":
        return -value
    raise no_overload("-", value)


# --- equality and order ------------------------------------------------------------------------------------

NUMBERS = frozenset(("int", "uint", "double"))
_ORDERED = frozenset(("bool", "string", "bytes", "google.protobuf.Timestamp", "google.protobuf.Duration"))


def _comparable(left: Value, right: Value) -> tuple[Value, Value]:
    """Numbers of unlike types as cel-cpp compares them: an integer beside a double becomes a double."""
    if isinstance(left, float) and not isinstance(right, float):
        return left, float(right)
    if isinstance(right, float) and not isinstance(left, float):
        return float(left), right
    return left, right


def equal(left: Value, right: Value) -> bool:
    """`left == right`: across numeric types by size, false for other unlike types, deep in containers."""
    left_kind, right_kind = kind_of(left), kind_of(right)
    if left_kind in NUMBERS and right_kind in NUMBERS:
        first, second = _comparable(left, right)
        return bool(first == second)
    if left_kind != right_kind:
        return False
    if left_kind == "list":
        return len(left) == len(right) and all(map(equal, map(adapt, left), map(adapt, right)))
    if left_kind == "map":
        return len(left) == len(right) and all(
            (other := find(right, key)).present and equal(adapt(value), other.value) for key, value in left.items()
        )
    if left_kind == "optional_type":
        return left.present == right.present and (not left.present or equal(left.value, right.value))
    return bool(left == right)


def not_equal(left: Value, right: Value) -> bool:
    """`left != right`."""
    return not equal(left, right)


def _ordered(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    def ordered(left: Value, right: Value) -> bool:
        left_kind, right_kind = kind_of(left), kind_of(right)
        if left_kind in NUMBERS and right_kind in NUMBERS:
            return compare(*_comparable(left, right))
        if left_kind == right_kind and left_kind in _ORDERED:
            return compare(left, right)
        raise no_overload(sign, left, right)

    return ordered


less = _ordered("<", lt)
less_or_equal = _ordered("<=", le)
greater = _ordered(">", gt)
greater_or_equal = _ordered(">=", ge)


# --- logic -------------------------------------------------------------------------------------------------


def truth(value: Value) -> bool:
    """The value, if it is a bool."""
    if value is True or value is False:
        return value
    raise no_overload("a condition", value)


def negation(value: Value) -> bool:
    """`!value`."""
    if value is True:
        return False
    if value is False:
        return True
    raise no_overload("!", value)


def conjunction(*operands: Thunk) -> bool:
    """`a && b && …`: false if any is false, whatever errors the others give; else the first error."""
    return _decided(False, operands)


def disjunction(*operands: Thunk) -> bool:
    """`a || b || …`: true if any is true, whatever errors the others give; else the first error."""
    return _decided(True, operands)


def _decided(deciding: bool, operands: Iterable[Thunk]) -> bool:
    first: EvaluationError | None = None
    for operand in operands:
        try:
            if truth(operand()) is deciding:
                return deciding
        except EvaluationError as error:
            first = first or error
    if first is not None:
        raise first
    return not deciding


def not_strictly_false(operand: Thunk) -> bool:
    """True unless the operand is false: how a fold goes on over errors."""
    try:
        return operand() is not False
    except EvaluationError:
        return True


# --- membership ---------------------------------------------------------------------------------------------

KEYS = frozenset(("bool", "int", "uint", "string"))
"""What the key of a map may be."""


def find(mapping: Mapping[Value, Value], key: Value) -> Optional:
    """The entry of a map, found by a number of any type."""
    kind = kind_of(key)
    if kind == "double":
        if not key.is_integer():
            return NONE
        key = int(key)
    elif kind not in KEYS:
        raise EvaluationError(f"a {kind} cannot be the key of a map")
    if key not in mapping:
        return NONE
    if type(mapping) is dict and kind != "string":
        # A dict takes true for 1: look at the key that is really there.
        stored = next(each for each in mapping if each == key)
        if (type(stored) is bool) != (kind == "bool"):
            return NONE
    return Optional(True, adapt(mapping[key]))


def contained(element: Value, container: Value) -> bool:
    """`element in container`."""
    kind = kind_of(container)
    if kind == "list":
        return any(equal(element, adapt(each)) for each in container)
    if kind == "map":
        return find(container, element).present
    raise no_overload("in", element, container)
