"""What an agent of a batch topic receives: a run, the records of one partition that were fetched together.

Pure data. It must not know Faust or a broker, so that agents' logic can be tested with plain lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, overload


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Record(Protocol):
    """One record as it lies in the log. aiokafka's ConsumerRecord has this shape, so nothing is copied."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z, set by the producer or by the broker."""

    @property
    def offset(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PlainRecord:
    """A record made by hand: for tests, and for folds over records that come from a store."""

    value: bytes | None
    offset: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


class Run(Sequence[Record]):
    """Records of one partition in the order of the log, at least one, with rising offsets.

    Offsets may have gaps (compaction, transactions). `records` is the list itself: read it, do not change it.
    """

    __slots__ = ("partition", "records", "topic")

    def __init__(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        if not records:
            raise ValueError("a run has at least one record")
        self.topic = topic
        self.partition = partition
        self.records = records

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition)

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        return self.records[-1].offset

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self.records[index]

    def __repr__(self) -> str:
        return f"<Run {self.topic}-{self.partition} {self.first_offset}..{self.last_offset} ({len(self)})>"


def size_in_bytes(records: Sequence[Record]) -> int:
    """Bytes of the values; keys and headers are small beside them and are not counted."""
    return sum([len(record.value or b"") for record in records])


def cut(records: Sequence[Record], limit: int, limit_bytes: int) -> Iterator[Sequence[Record]]:
    """`records` in slices of at most `limit` records and about `limit_bytes`, in order, none empty.

    A slice goes over `limit_bytes` by less than one record, and a larger record is a slice of its own.
    """
    for start in range(0, len(records), limit):
        part = records[start : start + limit]
        if size_in_bytes(part) < limit_bytes:
            yield part
            continue
        begin, size = 0, 0
        for index, record in enumerate(part):
            size += len(record.value or b"")
            if size >= limit_bytes:
                yield part[begin : index + 1]
                begin, size = index + 1, 0
        if begin < len(part):
            yield part[begin:]
