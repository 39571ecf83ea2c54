"""Macros over two variables (an index or a key, and the element), which Google's parser leaves as plain calls.

`expanded` turns them into the comprehensions that they stand for. Only for expressions that are not type-checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rules.cel.tree import Call, Comprehension, Constant, Entry, Identifier, ListOf, MapOf, Message, Node, Select

_ACCUMULATOR = "@result"
_RESULT = Identifier(0, _ACCUMULATOR)
_TRUE, _FALSE = Constant(0, True), Constant(0, False)
_EMPTY_LIST, _EMPTY_MAP = ListOf(0, (), frozenset()), MapOf(0, ())


def _call(function: str, *arguments: Node) -> Call:
    return Call(0, function, None, arguments)


def expanded(node: Node) -> Node:
    """The node with all macros over two variables in it written out."""
    match node:
        case Select():
            return replace(node, operand=expanded(node.operand))
        case ListOf():
            return replace(node, elements=tuple(map(expanded, node.elements)))
        case MapOf():
            rows = (replace(row, key=expanded(row.key), value=expanded(row.value)) for row in node.entries)
            return replace(node, entries=tuple(rows))
        case Message():
            return replace(node, fields=tuple((name, expanded(value)) for name, value in node.fields))
        case Comprehension():
            return replace(
                node,
                range=expanded(node.range),
                start=expanded(node.start),
                condition=expanded(node.condition),
                step=expanded(node.step),
                result=expanded(node.result),
            )
        case Call():
            target = None if node.target is None else expanded(node.target)
            call = replace(node, target=target, arguments=tuple(map(expanded, node.arguments)))
            return _macro(call) or call
    return node


def _macro(call: Call) -> Node | None:
    if call.function == "existsOne" and call.target is not None and len(call.arguments) == 2:
        # The newer name of exists_one, which the parser knows only by the older.
        variable, test = call.arguments
        if isinstance(variable, Identifier):
            return Comprehension(call.id, variable.name, "", call.target, _ACCUMULATOR, *_exists_one(test))
    write = _MACROS.get((call.function, len(call.arguments)))
    if write is None or call.target is None:
        return None
    first, second, *rest = call.arguments
    if not isinstance(first, Identifier) or not isinstance(second, Identifier) or first.name == second.name:
        return None
    if call.function == "transformMap":
        # Like transformMapEntry with the key unchanged.
        rest = [*rest[:-1], MapOf(0, (Entry(first, rest[-1], False),))]
    start, condition, step, result = write(*rest)
    return Comprehension(call.id, first.name, second.name, call.target, _ACCUMULATOR, start, condition, step, result)


_Fold = tuple[Node, Node, Node, Node]


def _all(test: Node) -> _Fold:
    return _TRUE, _call("@not_strictly_false", _RESULT), _call("_&&_", _RESULT, test), _RESULT


def _exists(test: Node) -> _Fold:
    going_on = _call("@not_strictly_false", _call("!_", _RESULT))
    return _FALSE, going_on, _call("_||_", _RESULT, test), _RESULT


def _exists_one(test: Node) -> _Fold:
    one = Constant(0, 1)
    step = _call("_?_:_", test, _call("_+_", _RESULT, one), _RESULT)
    return Constant(0, 0), _TRUE, step, _call("_==_", _RESULT, one)


def _transform_list(*parts: Node) -> _Fold:
    *tests, value = parts
    step: Node = _call("_+_", _RESULT, ListOf(0, (value,), frozenset()))
    return _EMPTY_LIST, _TRUE, _filtered(tests, step), _RESULT


def _transform_entry(*parts: Node) -> _Fold:
    *tests, entry = parts
    return _EMPTY_MAP, _TRUE, _filtered(tests, _call("@put", _RESULT, entry)), _RESULT


def _filtered(tests: list[Node], step: Node) -> Node:
    return _call("_?_:_", tests[0], step, _RESULT) if tests else step


_MACROS: dict[tuple[str, int], Callable[..., _Fold]] = {
    ("all", 3): _all,
    ("exists", 3): _exists,
    ("existsOne", 3): _exists_one,
    ("exists_one", 3): _exists_one,
    ("transformList", 3): _transform_list,
    ("transformList", 4): _transform_list,
    ("transformMap", 3): _transform_entry,
    ("transformMap", 4): _transform_entry,
    ("transformMapEntry", 3): _transform_entry,
    ("transformMapEntry", 4): _transform_entry,
}
