"""The stream is a function of its seed, and says of each record what the pure judge says too."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.clock import to_millis
from jianguan.domain.admission import Reference as Codes
from tests.chaos.oracle import Kept, judge
from tests.chaos.stream import Sent, closing, stream
from tests.rules.support import reference

START = datetime(2026, 6, 1, 4, tzinfo=UTC)
seeds = st.integers(0, 2**32)


def kept(records: list[Sent]) -> list[Kept]:
    """As the topics have them: each door and topic a partition."""
    return [
        Kept(each.topic, f"{each.topic}/{each.door}/{place}", (), to_millis(START) + int(each.at * 1_000), each.value)
        for place, each in enumerate(records)
    ]


def codes() -> Codes:
    return Codes(reference().regions, reference().industries, b"k" * 32)


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_a_seed_gives_the_same_stream_every_time(seed: int) -> None:
    assert stream(seed, 20, 20, START) == stream(seed, 20, 20, START)


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_every_record_says_what_becomes_of_it(seed: int) -> None:
    records = stream(seed, 20, 20, START)
    judged = judge(kept(records), codes())
    assert [one.outcome for one in judged] == [each.outcome for each in records]


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_what_becomes_of_a_record_does_not_depend_on_other_doors_and_topics(seed: int) -> None:
    records = stream(seed, 20, 20, START)
    apart = sorted(records, key=lambda each: (each.door, each.topic, each.at))  # stable: the order of each is kept
    assert [one.outcome for one in judge(kept(apart), codes())] == [each.outcome for each in apart]


def test_a_stream_has_some_of_everything() -> None:
    records = stream(1, 40, 50, START)
    found = Counter((each.door, each.outcome) for each in records)
    assert len(records) > 2_000
    assert all(
        found[door, outcome] > 10
        for door in ("http", "kafka")
        for outcome in ("accepted", "duplicate", "late", "quarantined")
    )
    assert {each.topic for each in records} == {"complaints", "violations"}


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_nothing_comes_from_the_future(seed: int) -> None:
    for one in judge(kept(stream(seed, 20, 20, START)), codes()):
        assert one.event is None or one.event.occurred_at <= one.event.received_at


@pytest.mark.parametrize("rules", [0, 3])
def test_each_added_rule_has_two_records_in_the_end(rules: int, tmp_path: Path) -> None:
    records = closing(rules, START)
    assert len({each.key for each in records}) == len(records) == 2 * rules
    assert {one.outcome for one in judge(kept(records), codes())} <= {"accepted"}
