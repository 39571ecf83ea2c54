"""Header names that are not text.

Kafka takes any bytes as the name of a header, and aiokafka raises an error over a whole fetch when they are not UTF-8:
the same record would come again and end one worker after the other. Here such a batch is read once more, and what is
not UTF-8 in a name is written as `\\xNN`: a name that nobody knows, like any other. It must not know Faust.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

log = logging.getLogger(__name__)

_LENGTH_AT: Final = 8  # of a batch, after its offset: four bytes, which do not count themselves or what is before them
_LENGTH_END: Final = 12


def take_any_name() -> None:
    """From now on every consumer that fetches in this process takes header names of any bytes."""
    fetcher.MemoryRecords = KeptRecords
    fetcher.PartitionRecords = PatientRecords


class KeptRecords:
    """The batches of one fetch, as aiokafka reads them, of which the last one can be asked for again."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = fetched
        self._batches = MemoryRecords(fetched)
        self._start = self._end = 0  # of the batch that was taken last
        self._asked_again = -1  # where the batch starts that was

    def size_in_bytes(self) -> int:
        """Of all."""
        return int(self._batches.size_in_bytes())

    def has_next(self) -> bool:
        """Whether there is one more."""
        return self._asked_again == self._end or bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """The next one."""
        start = self._start = self._end
        length = int.from_bytes(self._fetched[start + _LENGTH_AT : start + _LENGTH_END], "big")
        self._end = start + _LENGTH_END + length
        if self._asked_again == start:
            return PatientBatch(self._fetched[start : self._end])
        return self._batches.next_batch()

    def again(self) -> bool:
        """Let the batch that was taken last come once more, read patiently. False when it has been already."""
        if self._asked_again == self._start:
            return False
        self._asked_again = self._end = self._start
        return True


class PatientRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped here
    """The records of one fetch of a partition."""

    def _unpack_records(self) -> Iterator[Any]:
        while True:
            try:
                yield from super()._unpack_records()
            except UnicodeDecodeError as error:
                if not self._records.again():
                    raise
                log.warning("%s: a header of a record has a name that is not UTF-8: %s", self._tp, error)
            else:
                return


class PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka is untyped here
    """A batch of which every header has a name."""

    _buffer: bytearray

    def __iter__(self) -> PatientBatch:
        super().__iter__()
        self._buffer = _Patient(self._buffer)
        return self


class _Patient(bytearray):
    """Bytes of which any part is text, one way or another."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Patient(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
