"""How rows travel between the stages: MessagePack arrays, many rows in one record.

One record on an internal topic is a frame: a version byte, then the rows. Rows are the NamedTuples of the domain, so
a frame is decoded and validated in one pass. What a large run leaves for the store travels as columns, Arrow's IPC
streams by table. Knows nothing of brokers.

While workers are restarted one by one, versions read each other's frames, and after it a new one reads what an old one
left behind. So a field is added at the end of its row and has a default. An older version drops the fields, columns and
tables that it does not know; a newer one takes the default for those that are missing. Any other change needs another
version byte, and a decoder that still reads the old one. `tests/streams/golden` has a frame of every format that was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
import pyarrow as pa

from jianguan.columns import ROWS, Columns, fitted
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import Fact, FactRun, runs_of
from jianguan.domain.trace import TABLES, Records
from jianguan.errors import InputError

VERSION: Final = b"\x01"
COLUMNS_VERSION: Final = b"\x02"
MAX_COLUMNS: Final = 3_000_000  # bytes of the columns in a frame, before compression; our topics take 4 MiB
MAX_FRAME: Final = 900_000  # of several rows; a single row may be larger, our topics take 4 MiB

_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4")
_RAW_ROWS: Final = msgspec.msgpack.Decoder(list[list[msgspec.Raw]]).decode
_RAW_TABLES: Final = msgspec.msgpack.Decoder(dict[str, list[list[msgspec.Raw]]]).decode
_ENCODE: Final = msgspec.msgpack.Encoder().encode
Row = TypeVar("Row")


class Codec(Generic[Row]):
    """Frames of one kind of row."""

    def __init__(self, row: Any) -> None:
        self._encode = msgspec.msgpack.Encoder(enc_hook=list).encode  # columns that are no lists
        self._decode = msgspec.msgpack.Decoder(list[row]).decode
        self._width = len(row.__annotations__)

    def encode(self, rows: Sequence[Row]) -> list[bytes]:
        """`rows` in one frame, or in several if one would be too large for the broker."""
        return list(self._frames(rows))

    def decode(self, frame: bytes | None) -> list[Row]:
        """The rows of a frame. InputError when it is not one."""
        try:
            body = _body(frame)
            try:
                rows: list[Row] = self._decode(body)
            except msgspec.ValidationError:
                rows = self._decode_other(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError("bad-frame", f"not a frame of such rows: {error}") from None
        return rows

    def _decode_other(self, body: memoryview) -> list[Row]:
        """The rows of a newer version, without the fields that it added."""
        rows: list[Row] = self._decode(_ENCODE(_narrowed(_RAW_ROWS(body), self._width)))
        return rows

    def _frames(self, rows: Sequence[Row]) -> Iterator[bytes]:
        frame = VERSION + self._encode(rows)
        halves = self._halves(rows) if len(frame) > MAX_FRAME else None
        if halves is None:
            yield frame
            return
        for half in halves:
            yield from self._frames(half)

    def _halves(self, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]] | None:
        """`rows` in two parts, or None when they are as few as can be."""
        middle = len(rows) // 2
        return (rows[:middle], rows[middle:]) if middle else None


class FactsCodec(Codec[FactRun]):
    """Frames of facts, by rule; those of a single rule may be too many for one frame."""

    def __init__(self) -> None:
        super().__init__(FactRun)
        self._decode_facts = msgspec.msgpack.Decoder(list[Fact]).decode

    def _decode_other(self, body: memoryview) -> list[FactRun]:
        """The runs of facts that travelled one by one. Of a run, the fields that a newer version added never matter."""
        try:
            return runs_of(self._decode_facts(body))
        except InputError as error:
            raise msgspec.ValidationError(str(error)) from None

    def _halves(self, rows: Sequence[FactRun]) -> tuple[Sequence[FactRun], Sequence[FactRun]] | None:
        if len(rows) != 1:
            return super()._halves(rows)
        (run,) = rows
        middle = len(run) // 2
        return ([run.take(range(middle))], [run.take(range(middle, len(run)))]) if middle else None


class RecordsCodec:
    """Frames of Records, and of Columns: those of a large run, which are made once and stored as they are."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Records).decode
        self._decode_tables = msgspec.msgpack.Decoder(dict[str, bytes]).decode

    def encode(self, records: Records | Columns) -> list[bytes]:
        """`records` in as few frames as the broker's limit allows."""
        if isinstance(records, Columns):
            return [
                COLUMNS_VERSION + self._encode({name: _to_ipc(table) for name, table in part.tables.items()})
                for part in records.cut(MAX_COLUMNS)
            ]
        frame = VERSION + self._encode(records)
        if len(frame) <= MAX_FRAME:
            return [frame]
        if len(records) == 1:
            return [frame]  # a single large row, such as a quarantined record: the limit of our topics is higher
        first, second = halves(records)
        return [*self.encode(first), *self.encode(second)]

    def decode(self, frame: bytes | None) -> Records | Columns:
        """The records of a frame. InputError when it is not one."""
        try:
            if frame is not None and frame[:1] == COLUMNS_VERSION:
                tables = self._decode_tables(memoryview(frame)[1:])
                return Columns({name: _from_ipc(name, data) for name, data in tables.items() if name in TABLES})
            body = _body(frame)
            try:
                return self._decode(body)
            except msgspec.ValidationError:  # a newer version's, perhaps, with fields that it added
                rows = _RAW_TABLES(body)
                return self._decode(
                    _ENCODE({name: _narrowed(rows[name], len(ROWS[name]._fields)) for name in TABLES if name in rows})
                )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, pa.ArrowInvalid, OSError) as error:
            raise InputError("bad-frame", f"not a frame of records: {error}") from None


def _to_ipc(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _from_ipc(name: str, data: bytes) -> Any:
    return fitted(name, pa.ipc.open_stream(data).read_all())


def _narrowed(rows: list[list[msgspec.Raw]], width: int) -> list[list[msgspec.Raw]]:
    return [row[:width] for row in rows]


def _body(frame: bytes | None) -> memoryview:
    if not frame or frame[:1] != VERSION:
        raise InputError("bad-frame", "not a frame of this version; was another program writing to an internal topic?")
    return memoryview(frame)[1:]


def halves(records: Records) -> tuple[Records, Records]:
    """`records` in two parts of nearly the same number of rows, the first of which is to be written first."""
    first, second = Records(), Records()
    half = len(records) // 2
    taken = 0
    for table, rows in records.in_order():
        cut = max(0, min(len(rows), half - taken))
        taken += len(rows)
        getattr(first, table).extend(rows[:cut])
        getattr(second, table).extend(rows[cut:])
    return first, second


FACTS: Final = FactsCodec()
ALERTS: Final[Codec[Alert]] = Codec(Alert)
COMMANDS: Final[Codec[Command]] = Codec(Command)
NOTICES: Final[Codec[Notice]] = Codec(Notice)
RECORDS: Final = RecordsCodec()
