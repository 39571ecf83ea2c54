"""CEL's conversions between types: int(), uint(), double(), string(), bytes(), bool(), timestamp(), duration().

Like the operators, each gives a value or raises EvaluationError. What cel-spec leaves open (spaces around a
number, the notation of doubles) is as in Google's cel-cpp.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone

from rules.cel.semantics import int_in_range, moment_in_range, no_overload, uint_in_range
from rules.cel.values import Duration, EvaluationError, Timestamp, Uint, Value, kind_of

_WHOLE = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
_REAL = re.compile(
    r"[ \t\n\v\f\r]*([+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan))[ \t\n\v\f\r]*",
    re.IGNORECASE,
)
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "false", "FALSE", "False"), False),
}
_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))"
)
_UNITS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_SPAN_PART = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?(h|ms|m|s|us|ns)")
_DURATION_LIMIT = 315_576_000_001 * 10**9  # a little over 10,000 years: protobuf's own limit
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _unconvertible(value: Value, name: str) -> EvaluationError:
    return EvaluationError(f"cannot convert {value!r} to {name}")


def _whole(value: float, name: str, low: float, high: float) -> int:
    if not low < value < high:  # false for NaN as well
        raise _unconvertible(value, name)
    return math.trunc(value)


def to_int(value: Value) -> int:
    """`int(value)`: doubles are cut towards zero, timestamps give seconds since 1970."""
    match kind_of(value):
        case "int" | "bool":
            return int(value)
        case "uint":
            return int_in_range(int(value))
        case "double":
            return _whole(value, "int", -(2.0**63), 2.0**63)
        case "string":
            return int_in_range(int(_number(_WHOLE, value, "int")))
        case "google.protobuf.Timestamp":
            return int(value.nanoseconds // 10**9)
    raise no_overload("int", value)


def to_uint(value: Value) -> Uint:
    """`uint(value)`."""
    match kind_of(value):
        case "uint":
            return Uint(value)
        case "int":
            return uint_in_range(int(value))
        case "double":
            if value < 0:
                raise _unconvertible(value, "uint")
            return Uint(_whole(value, "uint", -1.0, 2.0**64))
        case "string":
            digits = _number(_WHOLE, value, "uint")
            if digits.startswith("-"):
                raise _unconvertible(value, "uint")
            return uint_in_range(int(digits))
    raise no_overload("uint", value)


def to_double(value: Value) -> float:
    """`double(value)`."""
    match kind_of(value):
        case "double" | "int" | "uint":
            return float(value)
        case "string":
            return float(_number(_REAL, value, "double"))
    raise no_overload("double", value)


def _number(pattern: re.Pattern[str], text: str, name: str) -> str:
    # Longer than any double is written: Python refuses to parse endless digits, with an error of its own.
    found = pattern.fullmatch(text) if len(text) <= 1100 else None
    if found is None:
        raise _unconvertible(text, name)
    return found[1]


def to_bool(value: Value) -> bool:
    """`bool(value)`: of a bool or one of the ten words."""
    kind = kind_of(value)
    if kind == "bool":
        return bool(value)
    if kind == "string":
        if value in _BOOLEANS:
            return _BOOLEANS[value]
        raise _unconvertible(value, "bool")
    raise no_overload("bool", value)


def to_bytes(value: Value) -> bytes:
    """`bytes(value)`: the UTF-8 of a string."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise _unconvertible(value, "bytes") from None
    raise no_overload("bytes", value)


def to_string(value: Value) -> str:
    """`string(value)`."""
    match kind_of(value):
        case "string":
            return str(value)
        case "bool":
            return "true" if value else "false"
        case "int" | "uint":
            return str(int(value))
        case "double":
            return double_text(value)
        case "bytes":
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                raise EvaluationError("the bytes are not UTF-8") from None
        case "google.protobuf.Timestamp":
            return timestamp_text(value)
        case "google.protobuf.Duration":
            return duration_text(value)
    raise no_overload("string", value)


def double_text(value: float) -> str:
    """The fewest digits that read back the same; with an exponent below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    sign, digits, exponent = _decimal(value)
    if -4 <= exponent < 6:
        if exponent < 0:
            return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
        whole = digits[: exponent + 1].ljust(exponent + 1, "0")
        rest = digits[exponent + 1 :]
        return f"{sign}{whole}.{rest}" if rest else sign + whole
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, shortest significant digits and decimal exponent."""
    mantissa, _, power = f"{abs(value)!r}".lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    exponent = int(power or 0) + len(whole) - 1 - leading
    return "-" if value < 0 else "", digits.rstrip("0"), exponent


def _fraction_text(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return ""
    digits = f"{nanoseconds:09d}"
    for places in (3, 6):
        if digits[places:] == "0" * (9 - places):
            return "." + digits[:places]
    return "." + digits


def timestamp_text(value: Timestamp) -> str:
    """RFC 3339 in UTC, with 0, 3, 6 or 9 decimals."""
    seconds, rest = divmod(value.nanoseconds, 10**9)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}{_fraction_text(rest)}Z"


def duration_text(value: Duration) -> str:
    """Seconds with 0, 3, 6 or 9 decimals and the letter s."""
    seconds, rest = divmod(abs(value.nanoseconds), 10**9)
    return f"{'-' if value.nanoseconds < 0 else ''}{seconds}{_fraction_text(rest)}s"


def to_timestamp(value: Value) -> Timestamp:
    """`timestamp(value)`: of RFC 3339 text, or of seconds since 1970."""
    match kind_of(value):
        case "google.protobuf.Timestamp":
            return Timestamp(value.nanoseconds)
        case "int":
            return moment_in_range(int(value) * 10**9)
        case "string":
            return parse_timestamp(value)
    raise no_overload("timestamp", value)


def parse_timestamp(text: str) -> Timestamp:
    """A moment from RFC 3339 text, in the years 1 to 9999; the second 60 is the next minute's first."""
    found = _MOMENT.fullmatch(text.strip(" \t\n\v\f\r"))
    if found is None:
        raise _unconvertible(text, "timestamp")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    leap, second = (1, 59) if second == 60 else (0, second)
    offset = 0
    if found[8]:
        hours, minutes = int(found[9]), int(found[10])
        if hours > 23 or minutes > 59:
            raise _unconvertible(text, "timestamp")
        offset = (hours * 3600 + minutes * 60) * (-1 if found[8] == "-" else 1)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise _unconvertible(text, "timestamp") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1) + leap - offset
    return moment_in_range(seconds * 10**9 + int((found[7] or "").ljust(9, "0")[:9]))


def to_duration(value: Value) -> Duration:
    """`duration(value)`: of text such as `1h30m`, `-1.5s`, `100ms`."""
    match kind_of(value):
        case "google.protobuf.Duration":
            return Duration(value.nanoseconds)
        case "string":
            return parse_duration(value)
    raise no_overload("duration", value)


def parse_duration(text: str) -> Duration:
    """A span from a signed sequence of decimal numbers with units h, m, s, ms, us, ns."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    total = at = 0
    while at < len(rest) and len(rest) <= 1000:
        found = _SPAN_PART.match(rest, at)
        if found is None or not (found[1] or found[3]):
            break
        unit = _UNITS[found[4]]
        fraction = found[3] or ""
        total += int(found[1] or "0") * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        at = found.end()
    if not rest or at < len(rest) or total >= _DURATION_LIMIT:
        raise _unconvertible(text, "duration")
    return Duration(-total if text.startswith("-") else total)


_OFFSET = re.compile(r"([+-]?)([0-9]{1,2}):([0-9]{2})")


def offset_zone(name: str) -> timezone | None:
    """The zone that `+08:00`, `-02:30` or `02:00` means; None if the text is not an offset."""
    found = _OFFSET.fullmatch(name)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if minutes >= 24 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
