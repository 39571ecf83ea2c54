"""Evaluation of any expression for its value: for tests, explanations and the conformance suite.

The rules' hot path is `rules.cel.matching`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jianguan.errors import SourceError
from rules.cel.environment import CelType, Checked, Environment
from rules.cel.python_code import ValueWriter
from rules.cel.values import NULL, EvaluationError, Value

DEFECTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError)
"""What Python itself may raise on an event that breaks the types of its fields; an expression's error then."""


class Fields:
    """A mapping read as attributes; what it lacks is None, and so is what it holds as None."""

    __slots__ = ("_mapping",)

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self._mapping = mapping

    def __getattr__(self, name: str) -> Any:
        return self._mapping.get(name)


def compile_value(checked: Checked) -> Callable[[Any], Value]:
    """A function from an event (fields as attributes, or a mapping) to the value of the expression.

    It raises EvaluationError, and nothing else, when the expression has no value for the event.
    """
    writer = ValueWriter(checked.types, checked.extensions)
    body = writer.write(checked.tree)
    source = "\n".join([*writer.lines, f"def value(e):\n    return {body}"])
    names = dict(writer.names)
    exec(compile(source, "<condition>", "exec"), names)  # noqa: S102 - our own source; texts enter it only by repr
    value = names["value"]

    def evaluate(event: Any) -> Value:
        try:
            return value(Fields(event) if isinstance(event, Mapping) else event)
        except EvaluationError:
            raise
        except DEFECTS as error:
            raise EvaluationError(f"{type(error).__name__}: {error}") from error

    return evaluate


def evaluate(text: str, bindings: Mapping[str, Value] | None = None) -> Value:
    """The value of an expression with variables of any type. None in a binding is null, not missing.

    It is type-checked if it can be, else evaluated as it parses. Raises SourceError when it does not parse and
    EvaluationError when it has no value.
    """
    given = bindings or {}
    environment = Environment(dict.fromkeys(given, CelType.DYN), extended=True)
    try:
        checked = environment.check(text, result="dyn")
    except SourceError:
        checked = environment.parse(text)
    return compile_value(checked)({name: NULL if value is None else value for name, value in given.items()})
