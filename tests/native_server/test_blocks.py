"""Blocks pass over the wire and back unchanged, whatever the types of their columns."""

from __future__ import annotations

import pytest

from tests.native_server.blocks import UnknownTypeError, from_wire, header, layout, to_wire
from tests.native_server.wire import ProtocolError, Reader, finished, text, varint


def test_a_block_goes_to_the_wire_and_back() -> None:
    # Two rows: a number, a list of words of a dictionary, and a text that may be missing.
    native = varint(3) + varint(2)
    native += text("n") + text("UInt16") + b"\x01\x00\x02\x00"
    native += text("words") + text("Array(LowCardinality(String))")
    native += (1).to_bytes(8, "little") + (0).to_bytes(8, "little") + (3).to_bytes(8, "little")
    native += (0x600).to_bytes(8, "little") + (2).to_bytes(8, "little") + text("") + text("x" * 200)
    native += (3).to_bytes(8, "little") + b"\x00\x01\x01"
    native += text("t") + text("Nullable(String)") + b"\x00\x01" + text("a") + text("")
    (block, rows), *others = to_wire(native)
    assert rows == 2
    assert others == []
    assert from_wire(Reader(finished, block)) == (native, 3, 2)


def test_several_blocks_in_one_piece_are_told_apart() -> None:
    one = varint(1) + varint(1) + text("n") + text("UInt8") + b"\x07"
    assert [rows for _, rows in to_wire(one * 3)] == [1, 1, 1]


def test_a_header_is_a_block_without_rows() -> None:
    source = Reader(finished, header([("a", "String"), ("b", "Map(String, Float64)")]))
    assert from_wire(source)[1:] == (2, 0)
    assert source.at == len(source.data)


def test_a_block_that_is_written_in_a_way_unknown_here_is_refused() -> None:
    ((block, _),) = to_wire(varint(1) + varint(1) + text("n") + text("UInt8") + b"\x07")
    special = block[:-2] + b"\x01\x07"
    with pytest.raises(ProtocolError, match="column n"):
        from_wire(Reader(finished, special))
    with pytest.raises(ProtocolError, match="header field 3"):
        from_wire(Reader(finished, b"\x03" + block))


@pytest.mark.parametrize(
    "kind", ["JSON", "Dynamic", "Variant(String, UInt8)", "AggregateFunction(sum, UInt8)", "?", ""]
)
def test_a_type_that_cannot_be_passed_on_is_named(kind: str) -> None:
    with pytest.raises(UnknownTypeError):
        layout(kind)
