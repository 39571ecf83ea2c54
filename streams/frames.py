"""How rows travel between the stages: MessagePack arrays, many rows in one record.

One record on an internal topic is a frame: a version byte, then the rows. Rows are the NamedTuples of the domain, so
a frame is decoded and validated in one pass. Knows nothing of brokers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import Fact
from jianguan.domain.trace import TABLES, Records
from jianguan.errors import InputError

VERSION: Final = b"\x01"
MAX_FRAME: Final = 900_000  # of several rows; a single row may be larger, our topics take 4 MiB

Row = TypeVar("Row")


class Codec(Generic[Row]):
    """Frames of one kind of row."""

    def __init__(self, row: Any) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[row]).decode

    def encode(self, rows: Sequence[Row]) -> list[bytes]:
        """`rows` in one frame, or in several if one would be too large for the broker."""
        return list(_split(rows, self._encode))

    def decode(self, frame: bytes | None) -> list[Row]:
        """The rows of a frame. InputError when it is not one."""
        try:
            rows: list[Row] = self._decode(_body(frame))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError("bad-frame", f"not a frame of such rows: {error}") from None
        return rows


class RecordsCodec:
    """Frames of Records."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Records).decode

    def encode(self, records: Records) -> list[bytes]:
        """`records` in as few frames as the broker's limit allows."""
        frame = VERSION + self._encode(records)
        if len(frame) <= MAX_FRAME:
            return [frame]
        if len(records) == 1:
            return [frame]  # a single large row, such as a quarantined record: the limit of our topics is higher
        first, second = halves(records)
        return [*self.encode(first), *self.encode(second)]

    def decode(self, frame: bytes | None) -> Records:
        """The records of a frame. InputError when it is not one."""
        try:
            return self._decode(_body(frame))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError("bad-frame", f"not a frame of records: {error}") from None


def _body(frame: bytes | None) -> memoryview:
    if not frame or frame[:1] != VERSION:
        raise InputError("bad-frame", "not a frame of this version; was another program writing to an internal topic?")
    return memoryview(frame)[1:]


def _split(rows: Sequence[Row], encode: Any) -> Iterator[bytes]:
    frame = VERSION + encode(rows)
    if len(frame) <= MAX_FRAME or len(rows) == 1:
        yield frame
        return
    middle = len(rows) // 2
    yield from _split(rows[:middle], encode)
    yield from _split(rows[middle:], encode)


def halves(records: Records) -> tuple[Records, Records]:
    """`records` in two parts of nearly the same number of rows."""
    first, second = Records(), Records()
    half = len(records) // 2
    taken = 0
    for table in TABLES:
        rows = getattr(records, table)
        cut = max(0, min(len(rows), half - taken))
        taken += len(rows)
        setattr(first, table, rows[:cut])
        setattr(second, table, rows[cut:])
    return first, second


FACTS: Final[Codec[Fact]] = Codec(Fact)
ALERTS: Final[Codec[Alert]] = Codec(Alert)
COMMANDS: Final[Codec[Command]] = Codec(Command)
NOTICES: Final[Codec[Notice]] = Codec(Notice)
RECORDS: Final = RecordsCodec()
