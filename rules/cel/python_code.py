"""Python source for an expression: its value, or an EvaluationError.

`ValueWriter.write` gives Python source in which `e` is the event, whose attributes are the fields. Everything it
calls is in `ValueWriter.names`, the globals for that source. Static types, where the checker found them, let plain
Python operators stand in for the general ones; without them the general ones decide while evaluating.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rules.cel import containers, semantics
from rules.cel.functions import Extension
from rules.cel.messages import message
from rules.cel.standard import LIBRARY, MEMBER_ONLY, TYPES
from rules.cel.tree import (
    Call,
    Comprehension,
    Constant,
    Identifier,
    ListOf,
    MapOf,
    Message,
    Node,
    Select,
    Tree,
)
from rules.cel.values import NULL, EvaluationError, Uint, Value, adapt, duration_of, timestamp_of

_DEEP = 40
"""Nested brackets from which on a part becomes a function of its own: Python's parser stops at 200."""

_MARKS = frozenset("«»‹›⟨⟩")
"""What marks places to fill in, in the source of formulas: a text that holds one is never written out there."""

_DIRECT = frozenset(("int", "double", "string", "bool", "uint"))
_COMPARISONS = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_WHOLE = {"_+_": "+", "_-_": "-", "_*_": "*"}
_METHODS = {"startsWith": "startswith", "endsWith": "endswith"}


@dataclass(frozen=True, slots=True)
class Code:
    """Python source and how deep its brackets nest."""

    text: str
    depth: int = 0


Scope = dict[str, tuple[str, str]]
"""What a comprehension's variables are in Python: name → (source that reads it, parameter)."""


class ValueWriter:
    """Writes expressions that share their constants and helper functions.

    `names` are the globals the source needs; `lines` are functions that must be defined before it.
    """

    def __init__(self, fields: Mapping[str, str], extensions: Mapping[str, Extension]) -> None:
        self.fields = fields
        self.extensions = extensions
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(_RUNTIME)
        self._constants: dict[tuple[type, Value], str] = {}
        self._counter = 0
        self._tree: Tree = Tree(Constant(0, None))

    def fresh(self, prefix: str) -> str:
        """A name that nothing else has."""
        self._counter += 1
        return f"{prefix}{self._counter}"

    def bind(self, prefix: str, value: Any) -> str:
        """A global name for a Python object."""
        name = self.fresh(prefix)
        self.names[name] = value
        return name

    def write(self, tree: Tree, node: Node | None = None) -> str:
        """The source of a node of the tree, or of the whole."""
        self._tree = tree
        return self._node(tree.root if node is None else node, {}).text

    def type_of(self, node: Node) -> str:
        """The static type of a node of the tree being written."""
        return self._tree.types.get(node.id, "dyn") if self._tree.checked else "dyn"

    # --- nodes ---------------------------------------------------------------------------------------------

    def _node(self, node: Node, scope: Scope) -> Code:
        match node:
            case Constant():
                code = Code(self.constant(node.value))
            case Identifier() | Select():
                code = self._name_or_select(node, scope)
            case Call():
                code = self._call(node, scope)
            case ListOf():
                code = self._list(node, scope)
            case MapOf():
                code = self._map(node, scope)
            case Comprehension():
                code = self._comprehension(node, scope)
            case Message():
                code = self._message(node, scope)
        return code if code.depth < _DEEP else self._apart(code, scope)

    def _apart(self, code: Code, scope: Scope) -> Code:
        name = self.fresh("part")
        parameters = ", ".join(["e", *(parameter for _, parameter in scope.values())])
        self.lines.append(f"def {name}({parameters}):\n    return {code.text}")
        return Code(f"{name}({parameters})", 1)

    def _failure(self, message: str) -> Code:
        return Code(f"failed({message!r})", 1)

    def constant(self, value: Value) -> str:
        """Source for a constant."""
        plain = type(value) in (bool, int, bytes, type(None)) or (type(value) is str and not _MARKS & set(value))
        if plain or (type(value) is float and math.isfinite(value)):
            text = repr(value)
            return f"({text})" if text.startswith("-") else text
        key = (type(value), value)
        if key not in self._constants:
            self._constants[key] = self.bind("k", value)
        return self._constants[key]

    def _name_or_select(self, node: Identifier | Select, scope: Scope) -> Code:
        qualified = self._qualified(node, scope)
        if qualified is not None:
            if qualified in self.fields:
                return Code(self._field(qualified), 2)
            if qualified in TYPES:
                return Code(self.constant(TYPES[qualified]))
        if isinstance(node, Identifier):
            name = node.name.removeprefix(".")
            if node.name in scope:
                return Code(scope[node.name][0], 1)
            return Code(f"missing({name!r})", 1)
        function = "has" if node.test else "select"
        return _called(function, self._node(node.operand, scope), Code(repr(node.name)))

    def _qualified(self, node: Node, scope: Scope) -> str | None:
        """The dotted name that a chain of selections spells, if it cannot start at a comprehension's variable."""
        parts: list[str] = []
        current = node
        while isinstance(current, Select) and not current.test:
            parts.append(current.name)
            current = current.operand
        if not isinstance(current, Identifier) or current.name in scope:
            return None
        return ".".join([current.name.removeprefix("."), *reversed(parts)])

    def _field(self, name: str) -> str:
        read = attribute(name)
        kind = self.fields[name]
        if kind == "timestamp":
            return f"moment({read}, {name!r})"
        if kind == "duration":
            return f"span({read}, {name!r})"
        if kind == "double":
            return f"float({read} if {read} is not None else missing({name!r}))"
        if kind == "uint":
            return f"Uint({read} if {read} is not None else missing({name!r}))"
        if kind in ("dyn", "null"):
            return f"anything({read}, {name!r})"
        return f"({read} if {read} is not None else missing({name!r}))"

    def _list(self, node: ListOf, scope: Scope) -> Code:
        elements = [self._node(each, scope) for each in node.elements]
        if not node.optional:
            return _bracketed("[", elements, "]")
        parts = [
            _called("optional_part", each) if place in node.optional else _bracketed("(", [each], ",)")
            for place, each in enumerate(elements)
        ]
        return _called("make_list", *parts)

    def _map(self, node: MapOf, scope: Scope) -> Code:
        if any(entry.optional for entry in node.entries):
            rows = [
                [self._node(entry.key, scope), self._node(entry.value, scope), Code(repr(entry.optional))]
                for entry in node.entries
            ]
            return _called("make_optional_map", *(_bracketed("(", row, ")") for row in rows))
        pairs = [
            _bracketed("(", [self._node(entry.key, scope), self._node(entry.value, scope)], ")")
            for entry in node.entries
        ]
        return _called("make_map", *pairs)

    def _message(self, node: Message, scope: Scope) -> Code:
        name = self._tree.names.get(node.id, node.name)
        fields = [_bracketed("(", [Code(repr(field)), self._node(value, scope)], ")") for field, value in node.fields]
        return _called("message", Code(repr(name)), *fields)

    def _comprehension(self, node: Comprehension, scope: Scope) -> Code:
        first, second, held = self.fresh("x"), self.fresh("y"), self.fresh("a")
        accumulating = {**scope, node.accumulator: (f"{held}()", held)}
        inner = {**accumulating, node.variable: (first, first)}
        if node.second_variable:
            inner[node.second_variable] = (second, second)
        # Hoisted parts take every parameter in scope, so that an unused one is in scope as well.
        each = f"{first}, {second}, {held}"
        return _called(
            "fold",
            self._node(node.range, scope),
            _lambda("", self._node(node.start, scope)),
            _lambda(each, self._node(node.condition, inner)),
            _lambda(each, self._node(node.step, inner)),
            _lambda(held, self._node(node.result, accumulating)),
            Code(repr(bool(node.second_variable))),
        )

    # --- calls ---------------------------------------------------------------------------------------------

    def _call(self, node: Call, scope: Scope) -> Code:
        name = node.function
        if name == "_&&_":
            return _called("conjunction", *self._operands(node, name, scope))
        if name == "_||_":
            return _called("disjunction", *self._operands(node, name, scope))
        if name == "@not_strictly_false":
            return _called("not_strictly_false", _lambda("", self._node(node.arguments[0], scope)))
        if name == "_?_:_":
            return self._choice(node, scope)
        if name == "present" and name in self.extensions:
            return _called("is_present", _lambda("", self._node(node.arguments[0], scope)))
        arguments = [self._node(each, scope) for each in node.arguments]
        if node.target is None:
            return self._native(node, arguments) or self._function(name, arguments, target=False)
        if self._namespaced(node, scope) is not None:
            return self._function(self._namespaced(node, scope) or "", arguments, target=False)
        if name in ("or", "orValue") and len(arguments) == 1:
            return _called(f"optional_{name}", self._node(node.target, scope), _lambda("", arguments[0]))
        arguments.insert(0, self._node(node.target, scope))
        return self._native(node, arguments) or self._function(name, arguments, target=True)

    def _namespaced(self, node: Call, scope: Scope) -> str | None:
        """`math.abs(x)` parses as a method of a variable `math`: the qualified name, if there is that function."""
        prefix = self._qualified(node.target, scope) if node.target is not None else None
        full = f"{prefix}.{node.function}"
        return full if prefix is not None and (full in LIBRARY or full in self.extensions) else None

    def _operands(self, node: Call, name: str, scope: Scope) -> list[Code]:
        """The operands of a chain of the same operator, however it is bracketed, as lambdas."""
        return [_lambda("", self._node(each, scope)) for each in flattened(node, name)]

    def _choice(self, node: Call, scope: Scope) -> Code:
        condition, then, otherwise = (self._node(each, scope) for each in node.arguments)
        depth = max(condition.depth + 1, then.depth, otherwise.depth) + 1
        return Code(f"({then.text} if truth({condition.text}) else {otherwise.text})", depth)

    def _function(self, name: str, arguments: list[Code], target: bool) -> Code:
        if name in self.extensions and not target:
            extension = self.extensions[name]
            if len(arguments) == len(extension.parameters):
                key = f"f_{name}"
                self.names[key] = extension.implementation
                return _called(key, *arguments)
        if name in LIBRARY and (target or name not in MEMBER_ONLY):
            key = f"f_{''.join(c if c.isalnum() else f'_{ord(c)}_' for c in name)}"
            self.names[key] = LIBRARY[name]
            return _called(key, *arguments)
        return self._failure(f"there is no function {name}()")

    def _native(self, node: Call, arguments: list[Code]) -> Code | None:
        """A plain Python operator, where the static types make it mean the same."""
        operands = ([node.target] if node.target is not None else []) + list(node.arguments)
        kinds = [self.type_of(each) for each in operands if each is not None]
        name = node.function
        if name in _COMPARISONS and kinds[0] == kinds[1] and kinds[0] in _DIRECT:
            return _infix(_COMPARISONS[name], arguments)
        if name in _WHOLE and kinds in (["int", "int"], ["double", "double"]):
            result = _infix(_WHOLE[name], arguments)
            return _called("int_in_range", result) if kinds[0] == "int" else result
        if name == "_+_" and kinds == ["string", "string"]:
            return _infix("+", arguments)
        if name in _METHODS and kinds == ["string", "string"]:
            return _infix(f".{_METHODS[name]}", arguments)
        if name == "contains" and kinds == ["string", "string"]:
            return _infix("in", arguments[::-1])
        if name == "size" and kinds[0] in ("string", "bytes"):
            return _called("len", arguments[0])
        return None


def attribute(name: str) -> str:
    """Source that reads a field of the event; a dotted field is an attribute of that very name."""
    if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__"):
        return f"e.{name}"
    return f"getattr(e, {name!r})"


def flattened(node: Node, function: str) -> list[Node]:
    """The operands of nested calls of one operator, left to right."""
    found: list[Node] = []
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, Call) and current.function == function:
            waiting.extend(reversed(current.arguments))
        else:
            found.append(current)
    return found


def _called(function: str, *arguments: Code) -> Code:
    return _bracketed(f"{function}(", list(arguments), ")")


def _bracketed(opening: str, parts: list[Code], closing: str) -> Code:
    depth = max((each.depth for each in parts), default=0) + 1
    return Code(f"{opening}{', '.join(each.text for each in parts)}{closing}", depth)


def _lambda(parameters: str, body: Code) -> Code:
    return Code(f"lambda {parameters}: {body.text}".replace("lambda :", "lambda:"), body.depth)


def _infix(sign: str, arguments: list[Code]) -> Code:
    left, right = arguments
    depth = max(left.depth, right.depth) + 1
    if sign.startswith("."):
        return Code(f"{left.text}{sign}({right.text})", depth)
    return Code(f"({left.text} {sign} {right.text})", depth)


def _anything(value: Any, name: str) -> Value:
    if value is None:
        semantics.missing(name)
    return None if value is NULL else adapt(value)


def _moment(value: Any, name: str) -> Value:
    return semantics.missing(name) if value is None else timestamp_of(value)


def _span(value: Any, name: str) -> Value:
    return semantics.missing(name) if value is None else duration_of(value)


def _is_present(compute: Callable[[], Value]) -> bool:
    try:
        return compute() is not None
    except EvaluationError:
        return False


_RUNTIME: dict[str, Any] = {
    "Uint": Uint,
    "EvaluationError": EvaluationError,
    "anything": _anything,
    "moment": _moment,
    "span": _span,
    "is_present": _is_present,
    "missing": semantics.missing,
    "failed": semantics.failed,
    "message": message,
    "select": containers.select,
    "has": containers.has,
    "conjunction": semantics.conjunction,
    "disjunction": semantics.disjunction,
    "not_strictly_false": semantics.not_strictly_false,
    "truth": semantics.truth,
    "fold": containers.fold,
    "make_map": containers.make_map,
    "make_list": containers.make_list,
    "make_optional_map": containers.make_optional_map,
    "optional_or": containers.optional_or,
    "optional_orValue": containers.optional_or_value,
    "optional_part": containers.optional_part,
    "int_in_range": semantics.int_in_range,
}
