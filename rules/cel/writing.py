"""Writes a tree as CEL again: one line, one spelling for what means the same, so that parts of conditions can be shown
and compared. The text of a condition itself is what its author wrote; this is for its parts.

It must not know what an expression is for.
"""

from __future__ import annotations

import json
from typing import Final

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
)
from rules.cel.values import Uint

_BINARY: Final = {
    "_||_": ("||", 1), "_&&_": ("&&", 2), "_==_": ("==", 3), "_!=_": ("!=", 3), "_<_": ("<", 3), "_<=_": ("<=", 3),
    "_>_": (">", 3), "_>=_": (">=", 3), "@in": ("in", 3), "_+_": ("+", 4), "_-_": ("-", 4), "_*_": ("*", 5),
    "_/_": ("/", 5), "_%_": ("%", 5),
}  # fmt: skip
_CHOICE: Final = 0
_UNARY: Final = 6
_TIGHTEST: Final = 8


def text_of(node: Node) -> str:
    """The expression as text. What macros became is written as the macro again."""
    return _write(node)[0]


def _write(node: Node) -> tuple[str, int]:
    """Text, and how tightly its outermost operator binds."""
    match node:
        case Constant():
            text = _constant(node)
            return text, _UNARY - 1 if text.startswith("-") else _TIGHTEST
        case Identifier():
            return node.name.removeprefix("."), _TIGHTEST
        case Select():
            path = f"{_inside(node.operand, _TIGHTEST)}.{node.name}"
            return (f"has({path})" if node.test else path), _TIGHTEST
        case Call():
            return _call(node)
        case ListOf():
            return f"[{', '.join(map(text_of, node.elements))}]", _TIGHTEST
        case MapOf():
            entries = [f"{text_of(each.key)}: {text_of(each.value)}" for each in node.entries]
            return f"{{{', '.join(entries)}}}", _TIGHTEST
        case Message():
            given = ", ".join(f"{name}: {text_of(value)}" for name, value in node.fields)
            return f"{node.name}{{{given}}}", _TIGHTEST
        case Comprehension():
            return _macro(node), _TIGHTEST


def _inside(node: Node, least: int) -> str:
    text, binding = _write(node)
    return text if binding >= least else f"({text})"


def _constant(node: Constant) -> str:
    value = node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Uint):
        return f"{int(value)}u"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return "b" + json.dumps(value.decode("latin-1"))
    return "null" if value is None else repr(value)


def _call(node: Call) -> tuple[str, int]:
    name, arguments = node.function, node.arguments
    if name in _BINARY and len(arguments) == 2:
        sign, binding = _BINARY[name]
        # Comparisons do not chain and arithmetic leans to the left: the right side needs one more.
        right = binding if name in ("_||_", "_&&_") else binding + 1
        left = binding + 1 if binding == _BINARY["@in"][1] else binding
        return f"{_inside(arguments[0], left)} {sign} {_inside(arguments[1], right)}", binding
    if name == "_?_:_":
        condition, then, otherwise = arguments
        return f"{_inside(condition, 1)} ? {_inside(then, 1)} : {_inside(otherwise, _CHOICE)}", _CHOICE
    if name in ("!_", "-_"):
        # A sign on a sign stays in parentheses: the parser takes two of them away.
        return f"{name[0]}{_inside(arguments[0], _UNARY + 1)}", _UNARY
    if name == "_[_]":
        return f"{_inside(arguments[0], _TIGHTEST)}[{text_of(arguments[1])}]", _TIGHTEST
    given = ", ".join(map(text_of, arguments))
    before = "" if node.target is None else f"{_inside(node.target, _TIGHTEST)}."
    return f"{before}{name}({given})", _TIGHTEST


def _macro(node: Comprehension) -> str:
    step, variable = node.step, node.variable
    subject = _inside(node.range, _TIGHTEST)
    if isinstance(step, Call):
        if step.function in ("_&&_", "_||_"):
            name = "all" if step.function == "_&&_" else "exists"
            return f"{subject}.{name}({variable}, {text_of(step.arguments[1])})"
        if step.function == "_+_":
            return f"{subject}.map({variable}, {_added(step)})"
        if step.function == "_?_:_":
            condition, then, _ = step.arguments
            added = _added(then) if isinstance(then, Call) else ""
            if isinstance(node.start, Constant):
                return f"{subject}.exists_one({variable}, {text_of(condition)})"
            if added == variable:
                return f"{subject}.filter({variable}, {text_of(condition)})"
            return f"{subject}.map({variable}, {text_of(condition)}, {added})"
    return f"{subject}.fold({variable}, {text_of(step)})"


def _added(step: Call) -> str:
    """What a step of `map` or `filter` puts behind the list."""
    last = step.arguments[1]
    return text_of(last.elements[0]) if isinstance(last, ListOf) and last.elements else text_of(last)
