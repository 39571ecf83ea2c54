"""The turns of a worker's source partitions, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.clock import VirtualClock, to_millis
from streams.alignment import FAR_MS, FEW, NEAR_MS, PATIENCE, TOGETHER, Alignment, allowed
from streams.transport.run import Place, PlainRecord, Run

NOW = datetime(2026, 11, 1, tzinfo=UTC)
START = to_millis(NOW) - 30 * 24 * 3_600_000
A = Place("a", 0)
B = Place("b", 0)


def records(times: list[int], first: int = 0) -> list[PlainRecord]:
    return [PlainRecord(b"", first + number, timestamp=START + time) for number, time in enumerate(times)]


class Group:
    """Partitions that are read: one agent for each topic. The clock stands still until it is moved."""

    def __init__(self, logs: Mapping[Place, list[int]]) -> None:
        self.logs = {place: records(times) for place, times in logs.items()}
        self.unread = {place: bool(found) for place, found in self.logs.items()}
        self.left = {place: len(found) for place, found in self.logs.items()}
        self.clock = VirtualClock(NOW)
        self.generation = 1
        self.asked = 0
        self._told = asyncio.Event()
        self.together = Alignment(self.clock, self.tell_unread, lambda: self.generation)
        self.worked: list[tuple[Place, int]] = []  # and the time of each record, in the order of the work
        self.turns: list[list[tuple[Place, int]]] = []  # the parts of each, and how many records they had
        self.acknowledged: list[tuple[Place, int]] = []  # and the last offset of each run
        self.arriving: dict[str, asyncio.Queue[Run | None]] = {}
        self.hold = asyncio.Event()  # work goes on while it is set
        self.hold.set()
        self._grown = asyncio.Event()

    def tell_unread(self) -> Mapping[Place, bool]:
        self.asked += 1
        assert self.asked < 100_000, "the agents ask again and again, and let nobody else work"
        self._told.set()
        return self.unread

    async def until_asked(self, times: int) -> None:
        """Until the agents have looked so often what there is to read."""
        async with asyncio.timeout(5):
            while self.asked < times:
                self._told.clear()
                await self._told.wait()

    def queue(self, topic: str) -> asyncio.Queue[Run | None]:
        return self.arriving.setdefault(topic, asyncio.Queue())

    def arrive(self, place: Place, start: int = 0, size: int | None = None) -> None:
        """Hand a part of a partition's log to the agent of its topic."""
        part = self.logs[place][start : None if size is None else start + size]
        self.queue(place[0]).put_nowait(Run(*place, part))

    async def source(self, topic: str) -> AsyncIterator[tuple[Run, Callable[[], None]]]:
        while (run := await self.queue(topic).get()) is not None:
            ended = (Place(run.topic, run.partition), run.last_offset)
            yield run, partial(self.acknowledge, *ended, len(run))

    def acknowledge(self, place: Place, last: int, count: int) -> None:
        self.acknowledged.append((place, last))
        self.left[place] -= count
        self.unread[place] = self.left[place] > 0

    async def agent(self, topic: str) -> None:
        async with aclosing(self.together.in_turn(self.source(topic))) as parts:
            async for turn, _ in parts:
                await asyncio.sleep(0)  # as when a stage waits for the broker
                await self.hold.wait()
                self.turns.append([(part.place, len(part)) for part in turn])
                self.worked += [(part.place, record.timestamp - START) for part in turn for record in part]
                self._grown.set()

    async def until(self, count: int) -> None:
        """Until so many records are worked."""
        async with asyncio.timeout(5):
            while len(self.worked) < count:
                self._grown.clear()
                await self._grown.wait()

    async def read_all(self, size: int) -> None:
        """Everything arrives in runs of `size`, one partition after the other."""
        for place, log in self.logs.items():
            for start in range(0, len(log), size):
                self.arrive(place, start, size)
        await self.end()

    async def end(self) -> None:
        """Let the agents work until nothing comes any more."""
        topics = {topic for topic, _ in self.logs}
        for topic in topics:
            self.queue(topic).put_nowait(None)
        async with asyncio.timeout(20):
            await asyncio.gather(*[self.agent(topic) for topic in topics])

    async def settle(self) -> None:
        """Until the agents do nothing more by themselves."""
        before = -1
        while before != len(self.worked):
            before = len(self.worked)
            for _ in range(50):
                await asyncio.sleep(0)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("times", "others", "expected"),
    [
        ([0, 1, NEAR_MS, NEAR_MS + 1], [0], 4),  # few enough, though one is further ahead
        ([0] * FEW + [NEAR_MS + 1], [0], FEW),
        ([0] * (FEW + 7) + [NEAR_MS + 1], [0], FEW + 7),
        ([0, FAR_MS, FAR_MS + 1], [0], 2),
        ([FAR_MS + 1], [0], 0),
        ([FAR_MS + 1], [5, 0, 9], 0),
        ([0], [None], 0),
        ([0], [0, None], 0),
        ([FAR_MS + 1] * 3, [], 3),
    ],
)
def test_a_partition_may_be_ahead_by_little(times: list[int], others: list[int | None], expected: int) -> None:
    known = [None if each is None else START + each for each in others]
    assert allowed(records(times), 0, known, to_millis(NOW)) == expected


@pytest.mark.parametrize(("reached", "expected"), [(NEAR_MS, FEW + 1), (FAR_MS, FEW), (FAR_MS + 1, 0)])
def test_a_record_from_the_future_is_held_up_no_longer_than_one_of_now(reached: int, expected: int) -> None:
    future = records([10**12] * (FEW + 1))
    assert allowed(future, 0, [to_millis(NOW) - reached], to_millis(NOW)) == expected


async def test_a_partition_with_few_records_is_not_read_to_its_end_before_the_others() -> None:
    week = 7 * 24 * 3_600_000
    same_topic = Place("a", 1)
    sparse = list(range(0, week, week // 400))
    group = Group({A: list(range(0, week, week // 20_000)), B: sparse, same_topic: sparse})
    await group.read_all(2_000)
    reached = dict.fromkeys(group.logs, 0)
    widest = 0
    for place, time in group.worked:
        reached[place] = time
        widest = max(widest, reached[A] - reached[B], reached[A] - reached[same_topic])
    assert len(group.worked) == 20_800
    assert widest <= FAR_MS + week // 400


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.builds(Place, st.sampled_from("abc"), st.integers(0, 2)),
        st.lists(st.integers(0, 3 * FAR_MS), max_size=3 * FEW).map(sorted),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 2 * FEW),
)
def test_every_record_is_worked_once_and_in_the_order_of_its_partition(logs: dict[Place, list[int]], size: int) -> None:
    group = Group(logs)
    asyncio.run(group.read_all(size))
    for place, times in logs.items():
        assert [time for worked, time in group.worked if worked == place] == times
        last = [offset for acknowledged, offset in group.acknowledged if acknowledged == place]
        assert last == [min(start + size, len(times)) - 1 for start in range(0, len(times), size)]
    done = dict.fromkeys(logs, 0)
    for place, time in group.worked:
        waiting = [log[done[other]] for other, log in logs.items() if done[other] < len(log)]
        assert time <= min(waiting) + FAR_MS
        done[place] += 1


async def test_short_runs_that_are_here_are_worked_together_in_the_order_of_their_times() -> None:
    places = [Place("a", number) for number in range(6)]
    group = Group({place: [place.partition, 10 + place.partition] for place in places})
    for place in places:
        for start in range(2):
            group.arrive(place, start, 1)
    await group.end()
    (turn,) = group.turns
    assert [time for _, time in group.worked] == [*range(6), *range(10, 16)]
    assert turn == [(place, 1) for place in (*places, *places)]
    assert len(group.acknowledged) == 12


async def test_runs_of_one_partition_that_follow_each_other_are_one_part() -> None:
    group = Group({A: list(range(30)), B: []})
    for start in range(0, 30, 10):
        group.arrive(A, start, 10)
    await group.end()
    assert group.turns == [[(A, 30)]]
    assert group.worked == [(A, time) for time in range(30)]
    assert group.acknowledged == [(A, 9), (A, 19), (A, 29)]


async def test_a_turn_that_is_large_gets_nothing_more() -> None:
    group = Group({A: list(range(3 * TOGETHER))})
    size = TOGETHER // 2 + 1
    await group.read_all(size)
    assert [sum(count for _, count in turn) for turn in group.turns] == [2 * size, 2 * size, 3 * TOGETHER - 4 * size]


async def test_a_turn_has_nothing_that_its_earlier_parts_would_hold_up() -> None:
    later = Place("a", 1)
    group = Group({A: [0, 1, 4 * FAR_MS], later: [2 * FAR_MS]})
    group.arrive(A)
    group.arrive(later)
    await group.end()
    assert group.turns == [[(A, 2), (later, 1)], [(A, 1)]]


async def test_a_partition_that_has_nothing_to_read_holds_up_nobody() -> None:
    group = Group({A: [0, 10 * FAR_MS]})
    group.unread[B] = False
    await group.read_all(10)
    assert len(group.worked) == 2


async def test_a_partition_of_which_nothing_has_come_yet_is_waited_for() -> None:
    group = Group({A: [5 * FAR_MS], B: [0]})
    group.arrive(A)
    working = asyncio.create_task(group.end())
    await group.settle()
    assert group.worked == []
    group.unread[B] = False
    await asyncio.wait_for(working, 5)
    assert group.worked == [(A, 5 * FAR_MS)]


async def test_a_partition_of_the_same_topic_that_comes_later_is_worked_first() -> None:
    late = Place("a", 1)
    group = Group({A: [5 * FAR_MS], late: [0]})
    group.arrive(A)
    working = asyncio.create_task(group.agent("a"))
    await group.settle()
    assert group.worked == []
    group.arrive(late)
    group.queue("a").put_nowait(None)
    await asyncio.wait_for(working, 5)
    assert group.worked == [(late, 0), (A, 5 * FAR_MS)]


async def test_one_that_had_nothing_to_read_for_long_is_waited_for_as_soon_as_it_has() -> None:
    group = Group({A: [0, 5 * FAR_MS], B: [0, FAR_MS]})
    group.arrive(A, 0, 1)
    group.arrive(B, 0, 1)
    agents = [asyncio.create_task(group.agent(topic)) for topic in "ab"]
    await group.until(2)
    group.pass_time(10 * PATIENCE)
    group.arrive(A, 1)
    await group.settle()
    assert len(group.worked) == 2
    group.arrive(B, 1)
    await group.until(4)
    assert group.worked[2:] == [(B, FAR_MS), (A, 5 * FAR_MS)]
    for agent in agents:
        agent.cancel()
    await asyncio.gather(*agents, return_exceptions=True)


async def test_one_that_was_waited_for_in_vain_is_waited_for_again_when_it_has_something_new() -> None:
    group = Group({A: [0, 1], B: [0]})
    group.arrive(A, 0, 1)
    working = asyncio.create_task(group.agent("a"))
    await group.settle()
    assert group.worked == []
    group.unread[B] = False  # as when what it had was too old to be kept
    await group.until(1)
    group.pass_time(10 * PATIENCE)
    group.unread[B] = True
    group.arrive(A, 1)
    await group.settle()
    assert len(group.worked) == 1
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_one_that_does_not_come_is_left_behind_until_it_does() -> None:
    group = Group({A: [0, 5 * FAR_MS, 6 * FAR_MS, 20 * FAR_MS], B: [0, 7 * FAR_MS]})
    group.arrive(A, 0, 3)
    group.arrive(B, 0, 1)  # it goes on, and nobody reads it
    agents = [asyncio.create_task(group.agent(topic)) for topic in "ab"]
    await group.settle()
    assert sorted(group.worked) == [(A, 0), (B, 0)]
    group.pass_time(PATIENCE)
    await group.until(4)
    # What it has left of its log now comes, while its agent is busy: it counts again.
    group.hold.clear()
    group.arrive(B, 1)
    group.arrive(A, 3)
    group.pass_time(PATIENCE)
    await group.settle()
    group.hold.set()
    for topic in "ab":
        group.queue(topic).put_nowait(None)
    await asyncio.wait_for(asyncio.gather(*agents), 5)
    assert group.worked[2:] == [(A, 5 * FAR_MS), (A, 6 * FAR_MS), (B, 7 * FAR_MS), (A, 20 * FAR_MS)]


async def test_one_whose_work_does_not_end_holds_up_the_others_for_a_while_only() -> None:
    group = Group({A: [5 * FAR_MS], B: [0]})
    group.hold.clear()
    group.arrive(B)
    group.arrive(A)
    stuck = asyncio.create_task(group.agent("b"))
    await group.settle()
    group.hold.set()
    stuck.cancel()  # its record is still in hand
    going_on = asyncio.create_task(group.agent("a"))
    group.pass_time(PATIENCE - 1)
    await group.settle()
    assert group.worked == []
    group.pass_time(1)
    await group.until(1)
    assert group.worked == [(A, 5 * FAR_MS)]
    going_on.cancel()
    await asyncio.gather(stuck, going_on, return_exceptions=True)


async def test_what_comes_while_a_partition_is_worked_lets_nobody_go_before_that_work() -> None:
    group = Group({A: [0, 100 * FAR_MS], B: [5 * FAR_MS]})
    group.hold.clear()
    group.arrive(B)
    group.arrive(A, 0, 1)
    agents = [asyncio.create_task(group.agent(topic)) for topic in "ab"]
    await group.settle()
    group.arrive(A, 1)
    await group.settle()
    assert group.together.held == {B}
    group.hold.set()
    for topic in "ab":
        group.queue(topic).put_nowait(None)
    await asyncio.wait_for(asyncio.gather(*agents), 5)
    assert group.worked == [(A, 0), (B, 5 * FAR_MS), (A, 100 * FAR_MS)]


async def test_those_that_wait_for_their_turn_are_held_and_the_one_that_is_worked_is_not() -> None:
    same_topic = Place("a", 1)
    group = Group({A: [0], same_topic: [2 * FAR_MS], B: [5 * FAR_MS]})
    group.hold.clear()
    for place in group.logs:
        group.arrive(place)
    working = asyncio.create_task(group.end())
    await group.settle()
    assert group.together.held == {same_topic, B}
    group.hold.set()
    await asyncio.wait_for(working, 5)
    assert group.together.held == set()


async def test_one_whose_turn_has_come_after_waiting_is_held_no_more() -> None:
    group = Group({A: [5 * FAR_MS], B: [0]})
    group.hold.clear()
    group.arrive(A)
    working = asyncio.create_task(group.agent("a"))
    await group.settle()
    assert group.together.held == {A}
    group.unread[B] = False
    group.queue("a").put_nowait(None)
    async with asyncio.timeout(5):
        while group.together.held:  # noqa: ASYNC110 - the agent looks again by the time of the day
            await asyncio.sleep(0.01)
    assert group.worked == []
    group.hold.set()
    await asyncio.wait_for(working, 5)
    assert group.worked == [(A, 5 * FAR_MS)]


async def test_a_partition_that_another_worker_has_now_is_not_waited_for() -> None:
    group = Group({A: [5 * FAR_MS], B: [0]})
    group.arrive(A)
    working = asyncio.create_task(group.end())
    await group.settle()
    assert group.worked == []
    del group.unread[B]
    await asyncio.wait_for(working, 5)
    assert group.worked == [(A, 5 * FAR_MS)]


async def test_one_that_is_gone_but_still_here_in_the_middle_of_a_rebalance_lets_others_work() -> None:
    group = Group({A: [5 * FAR_MS], B: [0]})
    del group.unread[A]  # and the generation is still the old one
    group.arrive(A)
    working = asyncio.create_task(group.agent("a"))
    await group.until_asked(3)
    assert group.worked == []
    assert not working.done()
    group.generation = 2
    group.queue("a").put_nowait(None)
    await asyncio.wait_for(working, 5)
    assert group.worked == []


async def test_what_came_under_an_older_assignment_is_dropped_for_what_comes_again() -> None:
    group = Group({A: [0, 5 * FAR_MS], B: [0, 1]})
    group.arrive(A)
    group.arrive(B, 0, 1)
    working = asyncio.gather(*[group.agent(topic) for topic in "ab"])
    await group.settle()
    assert sorted(group.worked) == [(A, 0), (B, 0)]
    group.generation = 2
    group.unread = {A: True}
    group.arrive(A)  # from where it was committed
    for topic in "ab":
        group.queue(topic).put_nowait(None)
    await asyncio.wait_for(working, 5)
    assert group.worked[2:] == [(A, 0), (A, 5 * FAR_MS)]
    # Both times, the first without effect: a run that nobody acknowledges would hold up the next rebalance.
    assert [place for place, _ in group.acknowledged].count(A) == 2


async def test_a_failure_of_the_source_is_the_agents_failure() -> None:
    async def broken() -> AsyncIterator[tuple[Run, Callable[[], None]]]:
        raise OSError("the stream broke")
        yield

    group = Group({A: [0]})
    with pytest.raises(OSError, match="the stream broke"):
        await asyncio.wait_for(anext(group.together.in_turn(broken())), 5)


async def test_nothing_goes_on_when_the_agent_ends_early() -> None:
    group = Group({A: [0, 1]})
    group.arrive(A)
    before = asyncio.all_tasks()
    async with aclosing(group.together.in_turn(group.source("a"))) as parts:
        async for _ in parts:
            break
    assert asyncio.all_tasks() == before
    assert group.acknowledged == []
