"""Numbers, texts and frames, however few bytes arrive at a time, and the driver's checksums."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from clickhouse_driver.compression import get_decompressor_cls
from clickhouse_driver.reader import read_binary_uint8, read_binary_uint128
from hypothesis import given
from hypothesis import strategies as st

from tests.native_server import wire
from tests.native_server.wire import ProtocolError, Reader, finished


def in_pieces(data: bytes, size: int) -> Callable[[], bytes]:
    """Gives `data`, so many bytes at a time."""
    left = BytesIO(data)

    def more() -> bytes:
        return left.read(size) or finished()

    return more


@given(st.lists(st.integers(0, 2**63)), st.integers(1, 9))
def test_numbers_come_back_however_few_bytes_arrive_at_a_time(numbers: list[int], size: int) -> None:
    source = Reader(in_pieces(b"".join(map(wire.varint, numbers)), size))
    assert [source.varint() for _ in numbers] == numbers


@given(st.lists(st.text(max_size=300)), st.integers(1, 200))
def test_texts_are_passed_over_exactly_however_few_bytes_arrive_at_a_time(texts: list[str], size: int) -> None:
    source = Reader(in_pieces(b"".join(map(wire.text, [*texts, "next"])), size))
    source.skip_texts(len(texts))
    assert source.text() == "next"


def test_a_value_that_is_cut_off_is_an_end_of_file() -> None:
    for cut in (wire.text("abc")[:-1], b"\x80"):
        with pytest.raises(EOFError):
            Reader(finished, cut).text()
    with pytest.raises(EOFError):
        Reader(finished, wire.text("abc")[:-1]).skip_texts(1)


def test_a_number_without_an_end_is_refused() -> None:
    with pytest.raises(ProtocolError, match="64 bits"):
        Reader(finished, b"\xff" * 20).varint()


@pytest.mark.parametrize("content", [b"", b"x", bytes(3_000_000), bytes(range(256)) * 9_000])
def test_the_driver_reads_the_frames_and_they_read_back(content: bytes) -> None:
    frames = wire.compressed(content)
    source, back = Reader(finished, frames), b""
    raw, driven = BytesIO(frames), b""
    while len(back) < len(content):
        back += wire.read_frame(source)
        checksum, method = read_binary_uint128(raw), read_binary_uint8(raw)
        driven += get_decompressor_cls(method)(raw).get_decompressed_data(method, checksum, 1)
    assert back == driven == content


@pytest.mark.parametrize("damaged", [0, 15, 16, 30, -1])
def test_a_damaged_frame_is_refused(damaged: int) -> None:
    frame = bytearray(wire.compressed(b"some content" * 9))
    frame[damaged] ^= 0x7F
    with pytest.raises(ProtocolError, match="checksum"):
        wire.read_frame(Reader(finished, bytes(frame)))


@pytest.mark.parametrize("size", [0, 8, 2**32 - 1])
def test_a_frame_of_a_size_that_cannot_be_is_refused(size: int) -> None:
    frame = bytearray(wire.compressed(b"some content" * 9))
    frame[17:21] = size.to_bytes(4, "little")
    with pytest.raises(ProtocolError, match=f"a frame of {size} bytes"):
        wire.read_frame(Reader(finished, bytes(frame)))
