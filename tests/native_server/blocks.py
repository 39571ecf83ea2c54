"""Blocks of columns: where each column of a block ends, and the two forms that a block has.

The engine writes and reads the format Native. On the wire a block has a header before it, and before the values of each
column a byte that says whether they are written in a special way; here they never are. To put that byte in or to take
it out one has to know where a column ends, which nothing but its type says. The values themselves pass unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from tests.native_server.wire import ProtocolError, Reader, finished, text, varint

Column = tuple[str, str]  # name, type

# Field 1: no overflow row. Field 2: no bucket. 0: no more fields.
_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_ORDINARY: Final = b"\x00"
EMPTY: Final = _INFO + b"\x00\x00"

_TYPE: Final = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_NAMED: Final = re.compile(r"\s*(?:\w+|`(?:[^`\\]|\\.)*`)\s+(?=\w)")
_WIDTHS: Final = {
    "Int8 UInt8 Bool Enum8 Nothing": 1,
    "Int16 UInt16 Enum16 Date BFloat16": 2,
    "Int32 UInt32 Float32 Date32 DateTime IPv4 Decimal32": 4,
    "Int64 UInt64 Float64 DateTime64 Decimal64": 8,
    "Int128 UInt128 UUID IPv6 Decimal128": 16,
    "Int256 UInt256 Decimal256": 32,
}
_WIDTH: Final = {name: width for names, width in _WIDTHS.items() for name in names.split()}
_MORE_KEYS: Final = 1 << 9  # of a dictionary, in the block itself


class UnknownTypeError(Exception):
    """A type whose values this server cannot pass on."""


class Layout(NamedTuple):
    """How to pass over the values of a type: first what stands before all values, then so many values."""

    prefix: Callable[[Reader], None]
    values: Callable[[Reader, int], None]


@lru_cache(maxsize=1024)
def layout(kind: str) -> Layout:
    """The layout of the type that `kind` spells. UnknownTypeError when it is one of those that are not known here."""
    parsed = _TYPE.fullmatch(kind)
    if parsed is None:
        raise UnknownTypeError(f"{kind!r} is no type")
    name, inside = parsed[1], parsed[2] or ""
    if name == "String":
        return Layout(_nothing, Reader.skip_texts)
    if name in _WIDTH:
        return _fixed(_WIDTH[name])
    if name.startswith("Interval"):
        return _fixed(8)
    if name == "FixedString":
        return _fixed(int(inside))
    if name == "Decimal":
        return _fixed(_decimal_width(int(inside.split(",")[0])))
    members = _members(inside)
    if name == "Nullable":
        return _nullable(layout(members[0]))
    if name == "LowCardinality":
        return _dictionary(members[0])
    if name == "Array":
        return _array(layout(members[0]))
    if name == "Map":
        return _array(_tuple([layout(each) for each in members]))
    if name == "Tuple":
        return _tuple([layout(_NAMED.sub("", each, count=1)) for each in members])
    if name == "SimpleAggregateFunction":
        return layout(members[-1])
    raise UnknownTypeError(f"this server cannot pass on values of the type {kind}")


def to_wire(native: bytes) -> Iterator[tuple[bytes, int]]:
    """The blocks in `native`, which is what the engine wrote, as they go over the wire, and how many rows each has."""
    source = Reader(finished, native)
    while source.at < len(source.data):
        copy, _, rows = _copied(source, False)
        yield _INFO + copy, rows


def header(columns: list[Column]) -> bytes:
    """A block without rows, as it goes over the wire."""
    described = b"".join(text(name) + text(kind) + _ORDINARY for name, kind in columns)
    return _INFO + varint(len(columns)) + b"\x00" + described


def from_wire(source: Reader) -> tuple[bytes, int, int]:
    """The next block from the wire as the engine reads it, how many columns it has, and how many rows."""
    while field := source.varint():
        source.skip({1: 1, 2: 4}[field] if field in (1, 2) else _unknown_field(field))
    return _copied(source, True)


def _unknown_field(field: int) -> int:
    raise ProtocolError(f"a block has the unknown header field {field}")


def _copied(source: Reader, from_wire: bool) -> tuple[bytes, int, int]:
    """The next block in the other form."""
    columns, rows = source.varint(), source.varint()
    copy = bytearray(varint(columns) + varint(rows))
    for _ in range(columns):
        name, kind = source.text(), source.text()
        copy += text(name) + text(kind)
        if not from_wire:
            copy += _ORDINARY
        elif source.read(1) != _ORDINARY:
            raise ProtocolError(f"the column {name} is written in a special way")
        if rows:
            source_layout, start = layout(kind), source.at
            source_layout.prefix(source)
            source_layout.values(source, rows)
            copy += source.since(start)
    return bytes(copy), columns, rows


def _nothing(source: Reader) -> None:
    """Before the values of most types stands nothing."""


def _fixed(width: int) -> Layout:
    return Layout(_nothing, lambda source, rows: source.skip(width * rows))


def _decimal_width(precision: int) -> int:
    return next(width for most, width in ((9, 4), (18, 8), (38, 16), (76, 32)) if precision <= most)


def _nullable(inner: Layout) -> Layout:
    def values(source: Reader, rows: int) -> None:
        source.skip(rows)  # which of them are NULL
        inner.values(source, rows)

    return Layout(inner.prefix, values)


def _dictionary(kind: str) -> Layout:
    # NULL is the first key of the dictionary, not a mark beside it.
    keys = layout(kind[len("Nullable(") : -1] if kind.startswith("Nullable(") else kind)

    def values(source: Reader, rows: int) -> None:
        while rows > 0:
            form = source.integer(8)
            if form & _MORE_KEYS:
                keys.values(source, source.integer(8))
            count = source.integer(8)
            source.skip(count << (form & 0xFF))
            rows -= count

    return Layout(lambda source: source.skip(8), values)


def _array(inner: Layout) -> Layout:
    def values(source: Reader, rows: int) -> None:
        if rows:
            source.skip(8 * rows)  # where each ends; the last end is how many members there are
            inner.values(source, int.from_bytes(source.data[source.at - 8 : source.at], "little"))

    return Layout(inner.prefix, values)


def _tuple(inner: list[Layout]) -> Layout:
    def prefix(source: Reader) -> None:
        for each in inner:
            each.prefix(source)

    def values(source: Reader, rows: int) -> None:
        for each in inner:
            each.values(source, rows)
        if not inner:
            source.skip(rows)

    return Layout(prefix, values)


def _members(inside: str) -> list[str]:
    """What stands between the commas of `inside` that are in no brackets and no quotes."""
    members, depth, start, quote, at = [], 0, 0, "", 0
    while at < len(inside):
        character = inside[at]
        if quote:
            at += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'`":
            quote = character
        elif character == "," and not depth:
            members.append(inside[start:at].strip())
            start = at + 1
        depth += (character == "(") - (character == ")") if not quote else 0
        at += 1
    last = inside[start:].strip()
    return [*members, last] if last else members
