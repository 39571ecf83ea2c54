"""The commit position of runs, against a reference that looks at every run every time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types.tuples import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.consumer import BatchConsumer
from streams.transport.ledger import RunLedger
from streams.transport.run import PlainRecord


class Reference:
    """All runs ever handed out, and which of them are finished."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int]] = []
        self.finished: set[int] = set()

    @property
    def position(self) -> int | None:
        position = None
        for _, last, _ in self.runs:
            if last not in self.finished:
                break
            position = last + 1
        return position

    @property
    def in_flight(self) -> int:
        return sum(count for _, last, count in self.runs if last not in self.finished)


# A step is (gap before the run, its length) to hand one out, or an index to finish some run.
steps = st.lists(
    st.one_of(st.tuples(st.integers(0, 5), st.integers(1, 6)), st.integers(0, 40)), min_size=1, max_size=80
)


@given(start=st.integers(0, 10), script=steps)
def test_the_position_is_that_of_the_reference_after_every_step(
    start: int, script: list[tuple[int, int] | int]
) -> None:
    ledger, reference, following = RunLedger(), Reference(), start
    before: int | None = None
    for step in script:
        if isinstance(step, tuple):
            first = following + step[0]
            last = first + step[1] - 1
            ledger.hand_out(first, last, step[1], step[1] * 10)
            reference.runs.append((first, last, step[1]))
            following = last + 1
        elif reference.runs:
            last = reference.runs[step % len(reference.runs)][1]
            assert ledger.finish(last) == (last not in reference.finished)
            reference.finished.add(last)
        assert ledger.position == reference.position
        assert ledger.in_flight_records == reference.in_flight
        assert ledger.in_flight_bytes == reference.in_flight * 10
        if before is not None:
            assert ledger.position is not None
            assert ledger.position >= before
        before = ledger.position


@given(st.permutations(range(8)))
def test_finishing_all_in_any_order_ends_at_the_end(order: list[int]) -> None:
    ledger = RunLedger()
    for number in range(8):
        ledger.hand_out(number * 10, number * 10 + 4)
    for number in order:
        assert ledger.finish(number * 10 + 4)
    assert ledger.position == 75


def test_a_run_that_is_not_finished_holds_back_those_behind_it() -> None:
    ledger = RunLedger()
    ledger.hand_out(0, 4)
    ledger.hand_out(5, 9)
    ledger.hand_out(10, 14)
    ledger.finish(4)
    ledger.finish(14)
    assert ledger.position == 5


def test_offsets_that_do_not_exist_are_no_gap() -> None:
    ledger = RunLedger()
    ledger.hand_out(7, 9)
    ledger.hand_out(100, 120)
    ledger.finish(9)
    assert ledger.position == 10
    ledger.finish(120)
    assert ledger.position == 121


def test_nothing_finished_is_no_position() -> None:
    ledger = RunLedger()
    ledger.hand_out(0, 4)
    ledger.hand_out(5, 9)
    ledger.finish(9)
    assert ledger.position is None


def test_an_end_that_was_never_handed_out_does_not_count() -> None:
    ledger = RunLedger()
    ledger.hand_out(0, 4)
    assert not ledger.finish(3)
    assert ledger.position is None


@pytest.mark.parametrize("first", [0, 4])
def test_a_rewind_is_refused(first: int) -> None:
    ledger = RunLedger()
    ledger.hand_out(0, 4)
    with pytest.raises(ValueError, match="after 4"):
        ledger.hand_out(first, 9)


def test_a_run_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="before it begins"):
        RunLedger().hand_out(5, 4)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_record_that_is_read_again_begins_a_new_ledger_and_one_that_follows_does_not(first: int) -> None:
    place = TP("facts", 0)
    consumer = cast(
        Any, SimpleNamespace(_read_offset={place: None}, _ledgers={}, app=SimpleNamespace(consumer_generation_id=1))
    )

    def hand_out(offset: int) -> RunLedger:
        BatchConsumer._run_message(consumer, place, [PlainRecord(b"", offset)])
        return cast(RunLedger, consumer._ledgers[place])

    ledger = hand_out(first)
    assert hand_out(first + 1) is ledger
    again = hand_out(first)
    assert again is not ledger
    assert hand_out(first) is not again
