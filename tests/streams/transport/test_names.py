"""A record whose header has a name that is not text is read like any other, and holds nobody up."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBase, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.headers import NO_ENVELOPE, read_envelope
from streams.transport.names import KeptRecords, PatientRecords, take_any_name

PLACE: Final = TopicPartition("complaints", 0)
GOOD: Final = ((), (("jg-receipt", b"r-1"),))
MARK: Final = "NoText"  # stands for bytes of a name that are not UTF-8: no builder writes those
NO_TEXT: Final = b"caf\xe9\xff\x00"

Headers = Sequence[tuple[str, bytes | None]]


def batch(first: int, *headers: Headers, codec: int = DefaultRecordBase.CODEC_NONE) -> bytes:
    """A batch as a broker stores it, with one record for each of `headers`."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1_000_000,
    )  # fmt: skip
    for number, each in enumerate(headers):
        builder.append(number, timestamp=1_000 + number, key=b"k", value=b"NoText %d" % number, headers=list(each))
    builder._buffer[:] = builder._buffer.replace(MARK.encode() + b"\x02", NO_TEXT + b"\x02")
    data = builder.build()
    struct.pack_into(">q", data, 0, first)
    return bytes(data)


def fetched(*batches: bytes, since: int = 0) -> Any:
    take_any_name()
    return fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(b"".join(batches)), [], since, None, None, True, 0)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    monkeypatch.setattr(fetcher, "PartitionRecords", PartitionRecords)


BAD: Final = ((MARK, b"1"), ("jg-receipt", b"r-2"))


def test_without_it_aiokafka_reads_the_fetch_no_further() -> None:
    records = PartitionRecords(PLACE, MemoryRecords(batch(0, *GOOD, BAD, *GOOD)), [], 0, None, None, True, 0)
    assert [next(records).offset, next(records).offset] == [0, 1]
    with pytest.raises(UnicodeDecodeError):
        next(records)


@pytest.mark.parametrize("codec", [DefaultRecordBase.CODEC_NONE, DefaultRecordBase.CODEC_GZIP])
def test_all_records_come_once_with_all_that_is_in_them(codec: int) -> None:
    batches = [batch(0, *GOOD), batch(2, *GOOD, BAD, *GOOD, codec=codec), batch(7, BAD), batch(8, *GOOD)]
    records = list(fetched(*batches))
    assert [each.offset for each in records] == list(range(10))
    assert [each.value for each in records[2:7]] == [b"NoText %d" % number for number in range(5)]
    odd = records[4]
    assert odd.headers == (("caf\\xe9\\xff\x00", b"1"), ("jg-receipt", b"r-2"))
    assert (odd.key, odd.timestamp) == (b"k", 1_002)
    assert read_envelope(odd.headers) == NO_ENVELOPE._replace(receipt="r-2")


def test_a_header_without_a_value_is_read() -> None:
    (record,) = fetched(batch(0, [("jg-receipt", None), ("other", None)]))
    assert record.headers == (("jg-receipt", None), ("other", None))
    assert read_envelope(record.headers) == NO_ENVELOPE


def test_reading_goes_on_in_the_middle_of_a_batch() -> None:
    records = fetched(batch(2, *GOOD, BAD, BAD), since=4)
    assert [each.offset for each in records] == [4, 5]
    assert records.next_fetch_offset == 6


def test_what_is_taken_part_by_part_is_the_same() -> None:
    class State:
        position, paused = 0, False

        def consumed_to(self, offset: int) -> None:
            self.position = offset

    class Assignment:
        active, state = True, State()

        def state_value(self, place: TopicPartition) -> State:
            return self.state

    given = fetched(batch(0, *GOOD, BAD, *GOOD), batch(5, BAD, *GOOD))
    result = FetchResult(PLACE, assignment=Assignment(), partition_records=given, backoff=0)
    offsets = []
    while result.has_more():
        offsets.append([each.offset for each in result.getall(3)])
    assert offsets == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert Assignment.state.position == 8


def test_a_batch_that_is_damaged_on_its_way_is_still_found_out() -> None:
    damaged = bytearray(batch(0, BAD))
    damaged[-1] ^= 1
    with pytest.raises(Exception, match="CRC"):
        list(fetched(bytes(damaged)))


def test_an_error_over_something_else_is_not_tried_for_ever() -> None:
    def read(value: bytes) -> str:
        return b"\xff".decode()

    records = PatientRecords(PLACE, KeptRecords(batch(0, *GOOD)), [], 0, None, read, True, 0)
    with pytest.raises(UnicodeDecodeError):
        list(records)


def test_what_a_fetch_has_is_told_as_before() -> None:
    whole, part = batch(0, *GOOD), batch(0, *GOOD)[:-1]
    for given in (whole, part, b""):
        assert KeptRecords(given).has_next() == MemoryRecords(given).has_next()
        assert KeptRecords(given).size_in_bytes() == MemoryRecords(given).size_in_bytes()
