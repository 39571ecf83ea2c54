"""Runs and their cutting: pure."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.transport.run import PlainRecord, Run, cut, size_in_bytes


def records_of(sizes: list[int]) -> list[PlainRecord]:
    return [PlainRecord(b"x" * size, offset) for offset, size in enumerate(sizes)]


@example([1, 0], 2, 1)
@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 20), st.integers(1, 50))
def test_cutting_loses_and_reorders_nothing_and_keeps_to_its_limits(
    sizes: list[int], limit: int, limit_bytes: int
) -> None:
    records = records_of(sizes)
    parts = list(cut(records, limit, limit_bytes))
    assert [record for part in parts for record in part] == records
    for part in parts:
        assert 1 <= len(part) <= limit
        # Without its last record a slice is under the limit.
        assert len(part) == 1 or size_in_bytes(part[:-1]) < limit_bytes


def test_a_run_knows_its_place_and_reads_like_a_list() -> None:
    records = [PlainRecord(b"a", 7), PlainRecord(None, 9)]
    run = Run("t", 3, records)
    assert (run.topic, run.partition, run.first_offset, run.last_offset, len(run)) == ("t", 3, 7, 9, 2)
    assert list(run) == records
    assert run[1].value is None
    assert list(run[:1]) == records[:1]


def test_an_empty_run_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Run("t", 0, [])


def test_a_record_without_a_value_weighs_nothing() -> None:
    assert size_in_bytes([PlainRecord(None, 0), PlainRecord(b"abc", 1)]) == 3
