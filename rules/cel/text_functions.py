"""CEL's extension library for strings, and its encoders. Positions count code points from 0.

Source: cel-spec's strings extension; where it leaves room, as Google's cel-cpp does. Rules do not have these
functions; `rules.cel.evaluate` does.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import SupportsIndex

from rules.cel.conversions import duration_text, timestamp_text
from rules.cel.semantics import no_overload
from rules.cel.values import EvaluationError, TypeValue, Value, adapt, kind_of

_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
    '"': '\\"',
}  # fmt: skip


def _typed(name: str, kinds: tuple[str, ...], function: Callable[..., Value]) -> Callable[..., Value]:
    """The function, for arguments of these types only; those after `?` may be left out."""
    required = sum(not kind.startswith("?") for kind in kinds)
    expected = [kind.lstrip("?") for kind in kinds]

    def checked(*arguments: Value) -> Value:
        given = [kind_of(each) for each in arguments]
        if not required <= len(given) <= len(expected) or given != expected[: len(given)]:
            raise no_overload(name, *arguments)
        return function(*arguments)

    return checked


def _char_at(text: str, place: int) -> str:
    if not 0 <= place <= len(text):
        raise EvaluationError(f"index {place} of a text of {len(text)}")
    return text[place : place + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index {start} of a text of {len(text)}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, last: int | None = None) -> int:
    if last is None:
        return text.rfind(part)
    if not 0 <= last <= len(text):
        raise EvaluationError(f"index {last} of a text of {len(text)}")
    return text.rfind(part, 0, last + len(part))


def _join(parts: list[Value], separator: str = "") -> str:
    if not all(isinstance(each, str) for each in parts):
        raise EvaluationError("join takes a list of strings")
    return separator.join(parts)


def _replace(text: str, old: str, new: str, limit: SupportsIndex = -1) -> str:
    return text.replace(old, new, limit)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    most = -1 if limit < 0 else limit - 1
    if separator:
        return text.split(separator, most)
    if not text:
        return [""]
    if most < 0 or most >= len(text):
        return list(text)
    return [*text[:most], text[most:]]


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise EvaluationError(f"from {start} to {stop} of a text of {len(text)}")
    return text[start:stop]


def _quote(text: str) -> str:
    return f'"{"".join(_ESCAPES.get(each, each) for each in text)}"'


# --- format ------------------------------------------------------------------------------------------------


def _format(template: str, arguments: list[Value]) -> str:
    """`template.format(arguments)`: clauses %s %d %f %e %b %o %x %X, a precision for %f and %e, and %%."""
    done: list[str] = []
    at = used = 0
    while (found := template.find("%", at)) >= 0:
        done.append(template[at:found])
        at = found + 1
        if template[at : at + 1] == "%":
            done.append("%")
            at += 1
            continue
        precision = 6
        if template[at : at + 1] == ".":
            end = at + 1
            while template[end : end + 1] in set("0123456789"):
                end += 1
            precision = int(template[at + 1 : end] or "0")
            at = end
        clause = _CLAUSES.get(template[at : at + 1])
        at += 1
        if clause is None or precision > 1000:
            raise EvaluationError(f"{template!r} has a clause that there is not")
        if used >= len(arguments):
            raise EvaluationError(f"{template!r} needs more arguments")
        done.append(clause(adapt(arguments[used]), precision))
        used += 1
    return "".join(done) + template[at:]


def _as_text(value: Value, precision: int) -> str:
    kind = kind_of(value)
    if kind == "list":
        return f"[{', '.join(_as_text(adapt(each), precision) for each in value)}]"
    if kind == "map":
        rows = sorted((_as_text(key, precision), _as_text(adapt(value[key]), precision)) for key in value)
        return f"{{{', '.join(f'{key}: {content}' for key, content in rows)}}}"
    if kind == "double":
        return _special(value) or _plain_double(value)
    if kind == "bool":
        return "true" if value else "false"
    if kind == "null_type":
        return "null"
    if kind == "bytes":
        return bytes(value).decode(errors="replace")
    if kind == "google.protobuf.Timestamp":
        return timestamp_text(value)
    if kind == "google.protobuf.Duration":
        return duration_text(value)
    if isinstance(value, TypeValue):
        return value.name
    if kind in ("string", "int", "uint"):
        return str(value)
    raise no_overload("%s", value)


def _plain_double(value: float) -> str:
    text = format(value, "f") if value.is_integer() and abs(value) < 1e15 else repr(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _special(value: Value) -> str:
    if not isinstance(value, float) or math.isfinite(value):
        return ""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _as_decimal(value: Value, _precision: int) -> str:
    if kind_of(value) in ("int", "uint"):
        return str(int(value))
    if special := _special(value):
        return special
    raise no_overload("%d", value)


def _as_real(letter: str) -> Callable[[Value, int], str]:
    def formatted(value: Value, precision: int) -> str:
        if kind_of(value) not in ("double", "int", "uint"):
            raise no_overload(f"%{letter}", value)
        return _special(value) or format(float(value), f".{precision}{letter}")

    return formatted


def _as_base(letter: str) -> Callable[[Value, int], str]:
    def formatted(value: Value, _precision: int) -> str:
        kind = kind_of(value)
        if kind in ("int", "uint"):
            return format(int(value), letter)
        if kind == "bool" and letter == "b":
            return format(int(value), letter)
        if kind in ("string", "bytes") and letter in "xX":
            content = bytes(value) if kind == "bytes" else value.encode()
            return content.hex() if letter == "x" else content.hex().upper()
        raise no_overload(f"%{letter}", value)

    return formatted


_CLAUSES: dict[str, Callable[[Value, int], str]] = {
    "s": _as_text,
    "d": _as_decimal,
    "f": _as_real("f"),
    "e": _as_real("e"),
    **{letter: _as_base(letter) for letter in "boxX"},
}


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise EvaluationError("the text is not base64") from None


FUNCTIONS: dict[str, Callable[..., Value]] = {
    name: _typed(name, kinds, function)
    for name, kinds, function in (
        ("charAt", ("string", "int"), _char_at),
        ("indexOf", ("string", "string", "?int"), _index_of),
        ("lastIndexOf", ("string", "string", "?int"), _last_index_of),
        ("join", ("list", "?string"), _join),
        ("lowerAscii", ("string",), lambda text: text.translate(_LOWER)),
        ("upperAscii", ("string",), lambda text: text.translate(_UPPER)),
        ("replace", ("string", "string", "string", "?int"), _replace),
        ("split", ("string", "string", "?int"), _split),
        ("substring", ("string", "int", "?int"), _substring),
        ("trim", ("string",), lambda text: text.strip(_SPACES)),
        ("reverse", ("string",), lambda text: text[::-1]),
        ("strings.quote", ("string",), _quote),
        ("format", ("string", "list"), _format),
        ("base64.encode", ("bytes",), lambda content: base64.b64encode(content).decode()),
        ("base64.decode", ("string",), _decode),
    )
}
