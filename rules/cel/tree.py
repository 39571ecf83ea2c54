"""The checked expression tree, decoded from the protobuf that Google's checker serialises.

The wire format is read directly. The binding ships no Python classes for `cel.expr.CheckedExpr`, and the
protobuf runtime refuses messages nested deeper than 100 levels, which a chain of fifty `&&` already is.
Field numbers are those of cel-spec's `cel/expr/syntax.proto` and `checked.proto`.

It must not know how a tree is evaluated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from rules.cel.values import Uint, Value

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Constant:
    id: int
    value: Value


@dataclass(frozen=True, slots=True)
class Identifier:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.name`, or `has(operand.name)` if `test` is set."""

    id: int
    operand: Node
    name: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`, or `target.function(arguments)`. Operators are calls: `_&&_`, `_[_]`, `!_`."""

    id: int
    function: str
    target: Node | None
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list literal; the elements at `optional` places are left out when they are empty optionals."""

    id: int
    elements: tuple[Node, ...]
    optional: frozenset[int]


@dataclass(frozen=True, slots=True)
class Entry:
    key: Node
    value: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class MapOf:
    id: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A message literal: the fields that it sets."""

    id: int
    name: str
    fields: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Comprehension:
    """A fold: what the macros `all`, `exists`, `exists_one`, `map` and `filter` become."""

    id: int
    variable: str
    second_variable: str
    range: Node
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node


Node: TypeAlias = Constant | Identifier | Select | Call | ListOf | MapOf | Message | Comprehension


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole expression. `types` holds the static type of each node id, as `string`, `list(int)`, `dyn`;
    `names` the qualified name that a node id was resolved to; `positions` code point offsets in the text.
    `checked` is False for an expression that was only parsed: then there are no types and no names."""

    root: Node
    types: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    checked: bool = True


def decode(serialized: bytes) -> Tree:
    """The tree in what `Expression.serialize()` gave: a `google.protobuf.Any` of a checked or parsed expression."""
    envelope = _fields(serialized)
    kind = _text(envelope, 1)
    body = _fields(_raw(envelope, 2))
    if not kind.endswith("CheckedExpr"):
        return Tree(_node(_raw(body, 2)), positions=_positions(_raw(body, 3)), checked=False)
    names = {key: _text(_fields(value), 1) for key, value in _map_entries(body, 2)}
    return Tree(
        root=_node(_raw(body, 4)),
        types={key: _type(value) for key, value in _map_entries(body, 3)},
        names={key: name for key, name in names.items() if name},
        positions=_positions(_raw(body, 5)),
    )


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node."""
    match node:
        case Select():
            yield node.operand
        case Call():
            if node.target is not None:
                yield node.target
            yield from node.arguments
        case ListOf():
            yield from node.elements
        case MapOf():
            for entry in node.entries:
                yield entry.key
                yield entry.value
        case Message():
            yield from (value for _, value in node.fields)
        case Comprehension():
            yield from (node.range, node.start, node.condition, node.step, node.result)
        case _:
            return


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, parents first."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(list(children(current))))


_Fields: TypeAlias = dict[int, list[int | bytes]]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def _fields(data: bytes) -> _Fields:
    found: _Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            size = 8 if kind == _FIXED64 else 4
            if kind == _BYTES:
                size, at = _varint(data, at)
            elif kind not in (_FIXED64, _FIXED32):
                raise ValueError(f"wire type {kind} is not one of protobuf's")
            value = data[at : at + size]
            at += size
        found.setdefault(number, []).append(value)
    return found


def _raw(fields: _Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    assert isinstance(value, bytes)
    return value


def _all_raw(fields: _Fields, number: int) -> list[bytes]:
    return [value for value in fields.get(number, []) if isinstance(value, bytes)]


def _text(fields: _Fields, number: int) -> str:
    return _raw(fields, number).decode()


def _int(fields: _Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    assert isinstance(value, int)
    return value - (1 << 64) if value >= 1 << 63 else value


def _map_entries(fields: _Fields, number: int) -> Iterator[tuple[int, bytes]]:
    for entry in map(_fields, _all_raw(fields, number)):
        yield _int(entry, 1), _raw(entry, 2)


def _positions(source_info: bytes) -> dict[int, int]:
    entries = map(_fields, _all_raw(_fields(source_info), 4))
    return {_int(entry, 1): _int(entry, 2) for entry in entries}


_PRIMITIVE = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "dyn", 2: "timestamp", 3: "duration"}


def _type(data: bytes) -> str:
    fields = _fields(data)
    if 3 in fields:
        return _PRIMITIVE.get(_int(fields, 3), "dyn")
    if 5 in fields:
        return _WELL_KNOWN.get(_int(fields, 5), "dyn")
    if 2 in fields:
        return "null"
    if 6 in fields:
        return f"list({_type(_raw(_fields(_raw(fields, 6)), 1))})"
    if 7 in fields:
        pair = _fields(_raw(fields, 7))
        return f"map({_type(_raw(pair, 1))}, {_type(_raw(pair, 2))})"
    return "type" if 11 in fields else "dyn"


def _constant(data: bytes) -> Value:
    fields = _fields(data)
    for number in fields:
        match number:
            case 2:
                return bool(_int(fields, 2))
            case 3:
                return _int(fields, 3)
            case 4:
                return Uint(_int(fields, 4) & 0xFFFF_FFFF_FFFF_FFFF)
            case 5:
                value: float = struct.unpack("<d", _raw(fields, 5))[0]
                return value
            case 6:
                return _text(fields, 6)
            case 7:
                return _raw(fields, 7)
            case _:
                return None
    return None


def _node(data: bytes) -> Node:
    fields = _fields(data)
    id_ = _int(fields, 2)
    for number in fields:
        inner = _fields(_raw(fields, number)) if number != 2 else {}
        match number:
            case 3:
                return Constant(id_, _constant(_raw(fields, 3)))
            case 4:
                return Identifier(id_, _text(inner, 1))
            case 5:
                return Select(id_, _node(_raw(inner, 1)), _text(inner, 2), bool(_int(inner, 3)))
            case 6:
                target = _node(_raw(inner, 1)) if 1 in inner else None
                arguments = tuple(map(_node, _all_raw(inner, 3)))
                return Call(id_, _text(inner, 2), target, arguments)
            case 7:
                return ListOf(id_, tuple(map(_node, _all_raw(inner, 1))), _optional_indices(inner))
            case 8:
                return _struct(id_, inner)
            case 9:
                return _comprehension(id_, inner)
    raise ValueError(f"expression node {id_} has no kind")


def _optional_indices(inner: _Fields) -> frozenset[int]:
    found: set[int] = set()
    for value in inner.get(2, []):
        if isinstance(value, int):
            found.add(value)
            continue
        at = 0
        while at < len(value):
            index, at = _varint(value, at)
            found.add(index)
    return frozenset(found)


def _struct(id_: int, inner: _Fields) -> MapOf | Message:
    name = _text(inner, 1)
    rows = [_fields(row) for row in _all_raw(inner, 2)]
    if name:
        return Message(id_, name, tuple((_text(row, 2), _node(_raw(row, 4))) for row in rows))
    return MapOf(id_, tuple(Entry(_node(_raw(row, 3)), _node(_raw(row, 4)), bool(_int(row, 5))) for row in rows))


def _comprehension(id_: int, inner: _Fields) -> Comprehension:
    return Comprehension(
        id_,
        variable=_text(inner, 1),
        second_variable=_text(inner, 8),
        range=_node(_raw(inner, 2)),
        accumulator=_text(inner, 3),
        start=_node(_raw(inner, 4)),
        condition=_node(_raw(inner, 5)),
        step=_node(_raw(inner, 6)),
        result=_node(_raw(inner, 7)),
    )
