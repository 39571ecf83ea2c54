"""The live feed: rates, the ring, subscribers, waiters."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.live import MAX_BURST, LiveFeed, RateMeter, Ring
from jianguan.clock import VirtualClock
from jianguan.domain.trace import Records, Step
from jianguan.errors import UnavailableError
from tests.dashboards.conftest import Site


def feed(**options: Any) -> tuple[LiveFeed, VirtualClock]:
    clock = VirtualClock(datetime(2026, 11, 23, tzinfo=UTC))
    return LiveFeed(clock, **options), clock


def step(link: str, what: str = "task-accepted") -> Records:
    return Records(trace=[Step(f"st-{what}", "ta-1", 0, 3, what, "x", "", "", ("ca-1", link), "{}")])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=40), st.integers(0, 15))
def test_the_rate_counts_what_a_plain_count_counts(steps: list[tuple[int, int]], wait: int) -> None:
    meter = RateMeter(10)
    second = 1000
    counted: dict[int, int] = {}
    for advance, count in steps:
        second += advance
        meter.add(second, count)
        counted[second] = counted.get(second, 0) + count
    second += wait
    assert meter.series(second) == [counted.get(each, 0) for each in range(second - 9, second)]


def test_the_rate_goes_on_when_the_clock_has_been_set_back_by_more_than_it_shows() -> None:
    meter = RateMeter(10)
    meter.add(1000, 7)
    for second in (500, 501):
        meter.add(second, 3)
    assert meter.series(502) == [0] * 7 + [3, 3]


@given(st.integers(0, 30), st.integers(1, 8), st.integers(-2, 40))
def test_the_ring_gives_all_that_was_missed_or_says_that_it_cannot(sent: int, size: int, seen: int) -> None:
    ring = Ring(size)
    for _ in range(sent):
        ring.append("refresh", None)
    missed = ring.since(seen)
    expected = list(range(seen + 1, sent + 1))
    if 0 <= seen <= sent and len(expected) <= size:
        assert missed is not None
        assert [message.sequence for message in missed] == expected
    else:
        assert missed is None


async def test_a_waiter_gets_the_step_that_links_to_its_command() -> None:
    live, _ = feed()
    with live.expect("cm-1") as expectation:
        live.observe(step("cm-2"))
        assert not expectation.future.done()
        live.observe(step("cm-1"))
        outcome = await expectation.outcome(1)
    assert outcome is not None
    assert outcome.step.links == ("ca-1", "cm-1")


async def test_a_waiter_that_waits_in_vain_gets_none() -> None:
    live, _ = feed()
    assert await live.wait_for("cm-1", 0.01) is None
    live.observe(step("cm-1"))


async def test_a_slow_subscriber_is_dropped_and_the_others_are_not() -> None:
    live, _ = feed(queue=2)
    slow, quick = live.subscribe(), live.subscribe()
    for number in range(4):
        live.observe(Records(tasks=[_task(number)]))
        message = await quick.next(1)
        assert message is not None
    assert (slow.lost, quick.lost) == (True, False)
    assert (live.clients, live.dropped) == (1, 1)


async def test_there_are_at_most_so_many_subscribers() -> None:
    live, _ = feed(max_clients=1)
    with live.subscribe(), pytest.raises(UnavailableError):
        live.subscribe()
    with live.subscribe():
        assert live.clients == 1


async def test_closing_wakes_everybody() -> None:
    live, _ = feed()
    subscription = live.subscribe()
    waiting = asyncio.create_task(subscription.next(60))
    await asyncio.sleep(0)
    live.close()
    assert await waiting is None
    assert subscription.ended
    with pytest.raises(UnavailableError):
        live.subscribe()


async def test_a_flood_is_told_as_one_refresh_at_its_end() -> None:
    live, _ = feed(ring=1000, queue=1000)
    subscription = live.subscribe()
    live.observe(Records(tasks=[_task(number) for number in range(MAX_BURST * 3)]))
    kinds = []
    while not subscription.queue.empty():
        message = await subscription.next(1)
        assert message is not None
        kinds.append(message.kind)
    assert kinds == ["task"] * MAX_BURST + ["refresh"]


async def test_the_rate_is_a_mean_of_finished_seconds(filled: Site) -> None:
    live, clock = feed()
    events = [summary.event for summary in filled.world.events.values()][:10]
    live.observe(Records(events=events))
    assert live.rate() == 0
    clock.advance(timedelta(seconds=1))
    assert live.rate() == 2
    assert live.totals().events == 10
    clock.advance(timedelta(seconds=200))
    assert (live.rate(), sum(live.series())) == (0, 0)


def _task(number: int) -> Any:
    from jianguan.domain.case import Task

    return Task(f"ta-{number}", "ca-1", "k", "d", "lead", "assigned", 0, None, None, None, None, False, "system", "", 1)
