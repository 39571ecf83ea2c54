"""Parsing and type-checking of conditions, by Google's cel-cpp against the fields of an event.

An `Environment` knows the fields and the functions. `check` gives a `Checked` expression, or a SourceError with the
line and column inside the file that the text came from, and a hint.

It must not know how a checked expression is evaluated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from jianguan.errors import SourceError
from rules.cel.binding import cel_type, declaration
from rules.cel.functions import Extension, extensions
from rules.cel.macros import expanded
from rules.cel.patterns import fault_of
from rules.cel.syntax import explained
from rules.cel.tree import Call, Constant, Identifier, ListOf, Node, Select, Tree, decode, walk

MAX_LENGTH = 20_000
"""The longest condition, in characters."""


class CelType(StrEnum):
    """The types a field may have. Any other type is written out: `list(int)`, `map(string, list(string))`."""

    BOOL = "bool"
    INT = "int"
    UINT = "uint"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    DYN = "dyn"
    STRINGS = "list(string)"
    MAP = "map(string, dyn)"


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression that parsed and type-checked. `result` is its static type, `fields` the event's fields that it
    reads, `types` the types of all fields of its environment."""

    text: str
    tree: Tree
    result: str
    fields: frozenset[str]
    types: Mapping[str, str] = field(repr=False)
    extensions: Mapping[str, Extension] = field(repr=False)

    def position(self, node: Node, line: int, column: int) -> tuple[int, int]:
        """(line, column) in a file of a node, when the text starts at `line` and `column` there."""
        before = self.text[: self.tree.positions.get(node.id, 0)]
        return line + before.count("\n"), column + len(before) - (before.rfind("\n") + 1)


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    line: int
    column: int

    def error(self, message: str, line: int, column: int, hint: str = "") -> SourceError:
        """An error at a place inside the text; its later lines are indented like its first, as YAML's blocks are."""
        return SourceError(message, self.path, self.line + line - 1, self.column + column - 1, hint)

    def error_at(self, text: str, offset: int, message: str, hint: str = "") -> SourceError:
        before = text[:offset]
        return self.error(message, before.count("\n") + 1, offset - before.rfind("\n"), hint)


class Environment:
    """The fields and functions that conditions may use.

    `fields` maps names to types (`CelType`, or text as in `list(int)`). A dotted name is a field of that very name.
    `extended` adds CEL's own extension libraries (strings, math, optional values, bindings), which rules do without.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        *,
        region_within: Callable[[str, str], bool] | None = None,
        industry_within: Callable[[str, str], bool] | None = None,
        working_days_between: Callable[..., int] | None = None,
        extended: bool = False,
    ) -> None:
        self.fields: dict[str, str] = {name: str(type_) for name, type_ in fields.items()}
        offered = extensions(region_within, industry_within, working_days_between)
        self.extensions: dict[str, Extension] = {each.name: each for each in offered}
        variables = {name: cel_type(type_) for name, type_ in self.fields.items()}
        self._cel = cel.NewEnv(
            variables=variables,
            functions=[declaration(each) for each in self.extensions.values()],
            extensions=_libraries() if extended else [],
        )

    def check(self, text: str, *, path: str = "", line: int = 1, column: int = 1, result: str = "bool") -> Checked:
        """The expression, checked. `line` and `column` are where the text starts in the file `path`.

        Raises SourceError when it does not parse, names an unknown field, mixes types, or gives another type than
        `result` (an expression of type dyn is let through; `result="dyn"` lets every type through).
        """
        place = _Place(path, line, column)
        if len(text) > MAX_LENGTH:
            raise place.error(f"the condition is longer than {MAX_LENGTH} characters", 1, 1)
        try:
            expression = self._cel.compile(text)
        except RuntimeError as error:
            raise self._explained(str(error), text, place) from error
        tree = decode(expression.serialize())
        found = tree.types.get(tree.root.id, "dyn")
        if result not in ("dyn", found) and found != "dyn":
            raise place.error(
                f"the condition gives {found} where {result} is needed", 1, 1, "compare it with something"
            )
        for node in walk(tree.root):
            self._examine(node, tree, text, place)
        return self._checked(text, tree, found)

    def parse(self, text: str) -> Checked:
        """The expression, parsed but not type-checked: types are found out while it is evaluated.

        Raises SourceError when it does not parse.
        """
        try:
            expression = self._cel.compile(text, disable_check=True)
        except RuntimeError as error:
            raise self._explained(str(error), text, _Place("", 1, 1)) from error
        tree = decode(expression.serialize())
        return self._checked(text, replace(tree, root=expanded(tree.root)), "dyn")

    def _checked(self, text: str, tree: Tree, result: str) -> Checked:
        named = {node.name for node in walk(tree.root) if isinstance(node, Identifier)}
        return Checked(text, tree, result, frozenset(named & set(self.fields)), self.fields, self.extensions)

    def _explained(self, message: str, text: str, place: _Place) -> SourceError:
        found = _FIRST_ERROR.search(message)
        if found is None:
            return place.error(_clean(message), 1, 1)
        line, column, said = int(found[1]), int(found[2]), _clean(found[3])
        if said.startswith(_SYNTAX):
            return place.error(*explained(said.removeprefix(_SYNTAX), text, line, column))
        undeclared = _UNDECLARED.match(said)
        if undeclared is not None:
            name = undeclared[1]
            if _is_called(text, line, column, name):
                hint = _nearest(name, [*self.extensions, *_STANDARD_FUNCTIONS])
                return place.error(f"there is no function {name}()", line, column - len(name), hint)
            return place.error(f"there is no field {name}", line, column, _nearest(name, list(self.fields)))
        overload = _OVERLOAD.match(said)
        if overload is not None:
            sign, taken = overload[1].strip("_").replace("_", " "), overload[2]
            return place.error(f"{sign} does not take ({taken})", line, column, _type_hint(taken))
        return place.error(said, line, column)

    def _examine(self, node: Node, tree: Tree, text: str, place: _Place) -> None:
        """What the type checker cannot see."""
        if not isinstance(node, Call):
            return
        at = tree.positions.get(node.id, 0)
        if node.function == "present" and not _is_path(node.arguments[0]):
            raise place.error_at(text, at, "present() takes a field", "for example present(region)")
        if node.function == "matches":
            pattern = node.arguments[-1]
            fault = fault_of(pattern.value) if isinstance(pattern, Constant) else ""
            if fault:
                at = tree.positions.get(pattern.id, at)
                raise place.error_at(text, at, f"not a regular expression: {fault}")
        if node.function == "contains_any":
            words = node.arguments[-1]
            if isinstance(words, ListOf):
                self._examine_words(words, tree, text, place)

    def _examine_words(self, words: ListOf, tree: Tree, text: str, place: _Place) -> None:
        if not words.elements:
            at = tree.positions.get(words.id, 0)
            raise place.error_at(text, at, "contains_any() is given no words")
        for word in words.elements:
            if isinstance(word, Constant) and not isinstance(word.value, str):
                at = tree.positions.get(word.id, 0)
                raise place.error_at(text, at, "contains_any() looks for texts", "quote the word")


def _libraries() -> list[Any]:
    return [
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_strings.ExtStrings(),
    ]


_SYNTAX = "Syntax error: "
_FIRST_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_STANDARD_FUNCTIONS = (
    "size", "int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration", "type", "dyn", "has",
    "contains", "startsWith", "endsWith", "matches", "all", "exists", "exists_one", "filter", "map", "getFullYear",
    "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds",
    "getMilliseconds",
)  # fmt: skip


def _clean(message: str) -> str:
    message = re.sub(r"^[A-Z_]+: ", "", message).split("\n")[0]
    return re.sub(r" \[[A-Z_]+\]$", "", message)


def _is_called(text: str, line: int, column: int, name: str) -> bool:
    """Whether the place of the error is the opening parenthesis of a call."""
    lines = text.split("\n")
    return line <= len(lines) and lines[line - 1][:column].endswith(f"{name}(")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def _type_hint(taken: str) -> str:
    types = set(taken.split(", "))
    if types == {"int", "double"}:
        return "write 5.0 for a double and 5 for an int, or convert with double(…)"
    if "string" in types and types & {"int", "double", "uint"}:
        return "a text and a number do not mix: quote the one or unquote the other"
    return ""


def _is_path(node: Node) -> bool:
    while isinstance(node, Select):
        node = node.operand
    return isinstance(node, Identifier)
