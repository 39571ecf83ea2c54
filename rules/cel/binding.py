"""What crosses between us and Google's CEL: types and functions as it is told of them, and values that come back.

It must not know conditions, nor what they are evaluated on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cel_expr_python import cel

from jianguan.errors import ConfigurationError
from rules.cel.functions import Extension
from rules.cel.values import Duration, Value, timestamp_of


def to_runtime(value: Any) -> Value:
    """A value from the binding as ours: its times and byte arrays become CEL's."""
    if isinstance(value, datetime):
        return timestamp_of(value)
    if isinstance(value, timedelta):
        return Duration(value // timedelta(microseconds=1) * 1000)
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, list | tuple):
        return [to_runtime(each.value() if isinstance(each, cel.Value) else each) for each in value]
    return value


def declaration(extension: Extension) -> Any:
    """The function as cel-cpp is told of it, to check calls and, as the reference, to make them."""
    overload = cel.Overload(
        f"{extension.name}_overload",
        return_type=cel_type(extension.result),
        parameters=[cel_type(each) for each in extension.parameters],
        impl=_for_reference(extension.implementation),
    )
    return cel.FunctionDecl(extension.name, [overload])


def _for_reference(implementation: Callable[..., Value]) -> Callable[..., Value]:
    return lambda *arguments: implementation(*map(to_runtime, arguments))


_SIMPLE = {
    "bool": cel.Type.BOOL,
    "int": cel.Type.INT,
    "uint": cel.Type.UINT,
    "double": cel.Type.DOUBLE,
    "string": cel.Type.STRING,
    "bytes": cel.Type.BYTES,
    "timestamp": cel.Type.TIMESTAMP,
    "duration": cel.Type.DURATION,
    "dyn": cel.Type.DYN,
    "null": cel.Type.NULL,
    "type": cel.Type.TYPE,
}


def cel_type(text: str) -> Any:
    """The checker's type for a written one. Raises ConfigurationError for a type that there is not."""
    text = text.strip()
    if text in _SIMPLE:
        return _SIMPLE[text]
    kind, _, rest = text.partition("(")
    if rest.endswith(")"):
        inner = rest[:-1]
        if kind == "list":
            return cel.Type.List(cel_type(inner))
        key, comma, value = inner.partition(",")
        if kind == "map" and comma:
            return cel.Type.Map(cel_type(key), cel_type(value))
    raise ConfigurationError(f"{text!r} is not a type; write for example string, int, list(string)")
