"""Bytes of the native protocol: numbers, texts, and the compressed frames around blocks. Knows no packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clickhouse_cityhash.cityhash import CityHash128
from lz4 import block as lz4

_LZ4: Final = 0x82
_FRAME_HEADER: Final = 9  # method, size with this header, size of the content
_FRAME_CONTENT: Final = 1 << 20
_LARGEST_FRAME: Final = 1 << 30


class ProtocolError(Exception):
    """The other side says what this server does not understand: the connection cannot go on."""


class Reader:
    """Bytes that arrive in pieces. `more` gives the next piece, and raises EOFError when there is none.

    `data` and `at`, the place of the next unread byte, are open to those who walk over many values quickly.
    """

    __slots__ = ("_more", "at", "data")

    def __init__(self, more: Callable[[], bytes], data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.at = 0
        self._more = more

    def need(self, count: int) -> None:
        """Wait until `count` unread bytes are here."""
        while len(self.data) - self.at < count:
            self.data += self._more()

    def forget(self) -> None:
        """Give back the memory of what was read."""
        del self.data[: self.at]
        self.at = 0

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        self.need(count)
        self.at += count

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        self.skip(count)
        return bytes(self.data[self.at - count : self.at])

    def since(self, start: int) -> bytes:
        """What was read from the place `start` on."""
        return bytes(self.data[start : self.at])

    def integer(self, size: int) -> int:
        """An unsigned little-endian number of `size` bytes."""
        return int.from_bytes(self.read(size), "little")

    def varint(self) -> int:
        """A number in groups of seven bits, the lowest first."""
        value = shift = 0
        while True:
            self.need(1)
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ProtocolError("a number of more than 64 bits")

    def text(self) -> str:
        """A text with its length before it."""
        return self.read(self.varint()).decode("utf-8", "surrogateescape")

    def skip_texts(self, count: int) -> None:
        """Pass over `count` texts. In one function, because blocks have millions of them."""
        data, at = self.data, self.at
        while count:
            try:
                while count:
                    length = data[at]
                    if length < 0x80:
                        at += length + 1
                    else:
                        self.at = at
                        length = self.varint()
                        at = self.at + length
                    count -= 1
            except IndexError:
                # The last text may reach beyond what is here: `at` is then ahead of it.
                self.at = len(data)
                self.need(at + 1 - len(data))
        self.at = min(at, len(data))
        self.skip(at - self.at)


def finished() -> bytes:
    """For a Reader whose data is all there is."""
    raise EOFError("the bytes end in the middle of a value")


def varint(value: int) -> bytes:
    """A number in groups of seven bits."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def text(value: str) -> bytes:
    """A text with its length before it."""
    encoded = value.encode("utf-8", "surrogateescape")
    return varint(len(encoded)) + encoded


def compressed(content: bytes) -> bytes:
    """`content` as frames, each with its checksum."""
    frames = bytearray()
    for start in range(0, len(content), _FRAME_CONTENT):
        piece = content[start : start + _FRAME_CONTENT]
        packed = lz4.compress(piece, store_size=False)
        header = bytes([_LZ4]) + (_FRAME_HEADER + len(packed)).to_bytes(4, "little") + len(piece).to_bytes(4, "little")
        frames += _checksum(header + packed) + header + packed
    return bytes(frames)


def read_frame(source: Reader) -> bytes:
    """The content of the next frame. ProtocolError when its checksum or its method is wrong."""
    checksum, header = source.read(16), source.read(_FRAME_HEADER)
    method = header[0]
    size, content_size = int.from_bytes(header[1:5], "little"), int.from_bytes(header[5:9], "little")
    if not _FRAME_HEADER <= size <= _LARGEST_FRAME or content_size > _LARGEST_FRAME:
        raise ProtocolError(f"a frame of {size} bytes with {content_size} in it")
    packed = source.read(size - _FRAME_HEADER)
    if _checksum(header + packed) != checksum:
        raise ProtocolError("a frame's checksum is wrong")
    if method != _LZ4:
        raise ProtocolError(f"a frame is compressed by the method {method:#x}, which is not LZ4")
    content: bytes = lz4.decompress(packed, uncompressed_size=content_size)
    return content


def _checksum(frame: bytes) -> bytes:
    high, low = divmod(int(CityHash128(frame)), 1 << 64)
    return high.to_bytes(8, "little") + low.to_bytes(8, "little")
