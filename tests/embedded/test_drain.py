"""A mark is through only when all that came from the entries before it is."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.embedded.drain import CHAIN, Drain
from streams.topics import TopicName
from streams.topology import HANDED


def test_the_chain_has_every_topic_that_a_stage_reads_and_what_is_handed_over() -> None:
    read = {*map(str, set(TopicName) - {TopicName.QUARANTINE}), HANDED[0]}
    assert sorted(topic for stage in CHAIN for topic in stage) == sorted(read)


def test_a_mark_waits_for_records_that_were_handed_to_the_record_stage() -> None:
    drain = Drain()
    drain.begin(3, {("complaints", 0): 1, HANDED: 4})
    assert drain.observe({("complaints", 0): 1, HANDED: 4}, {("complaints", 0): 1, HANDED: 5}) is None
    assert drain.observe({("complaints", 0): 1, HANDED: 5}, {("complaints", 0): 9, HANDED: 9}) == 3


def test_a_mark_waits_for_each_stage_in_turn() -> None:
    drain = Drain([["a"], ["b"]])
    drain.begin(7, {("a", 0): 2})
    assert drain.busy
    assert drain.observe({("a", 0): 1}, {("a", 0): 5}) is None
    assert drain.observe({("a", 0): 2}, {("a", 0): 5, ("b", 0): 3}) is None
    assert drain.observe({("a", 0): 2, ("b", 0): 3}, {("a", 0): 9, ("b", 0): 9}) == 7
    assert not drain.busy


def test_one_mark_at_a_time() -> None:
    drain = Drain([["a"]])
    drain.begin(7, {("a", 0): 1})
    drain.begin(9, {})
    assert drain.observe({("a", 0): 1}, {}) == 7


def test_a_reset_forgets_the_mark() -> None:
    drain = Drain([["a"]])
    drain.begin(7, {("a", 0): 1})
    drain.reset()
    assert not drain.busy
    assert drain.observe({("a", 0): 1}, {}) is None


def test_an_empty_system_lets_a_mark_through_at_once() -> None:
    drain = Drain()
    drain.begin(0, {})
    assert drain.observe({}, {}) == 0


class Flow:
    """A chain of stages over logs. A record is the journal entry that it comes from."""

    def __init__(self, fan_out: list[int]) -> None:
        self.logs: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.done: dict[tuple[str, int], int] = defaultdict(int)
        self.entries = 0
        self._fan_out = fan_out

    def ends(self) -> dict[tuple[str, int], int]:
        return {place: len(log) for place, log in self.logs.items()}

    def enter(self, topic: int, partition: int) -> None:
        sources = CHAIN[0]
        self.logs[(sources[topic % len(sources)], partition)].append(self.entries)
        self.entries += 1

    def step(self, stage: int, choice: int, count: int) -> None:
        """Some stage processes some records of one partition: sends first, acknowledges afterwards."""
        places = [place for place in self.logs if place[0] in CHAIN[stage]]
        if not places:
            return
        place = places[choice % len(places)]
        for entry in self.logs[place][self.done[place] : self.done[place] + count]:
            for later in range(stage + 1, len(CHAIN)):
                if later == len(CHAIN) - 1 or self._fan_out[later] > entry % 3:
                    self.logs[(CHAIN[later][0], (entry + choice) % 2)].append(entry)
            self.done[place] += 1

    def unfinished(self) -> set[int]:
        """Entries of which something is not processed yet."""
        return {entry for place, log in self.logs.items() for entry in log[self.done[place] :]}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(0, 3), st.integers(0, 1)),
            st.tuples(st.just("step"), st.integers(0, 4), st.integers(0, 7), st.integers(1, 9)),
            st.tuples(st.just("begin")),
            st.tuples(st.just("observe")),
            st.tuples(st.just("finish")),
        ),
        max_size=60,
    ),
)
def test_a_mark_that_is_through_leaves_nothing_unfinished_before_it(
    fan_out: list[int], actions: list[tuple[object, ...]]
) -> None:
    flow, drain = Flow(fan_out), Drain()
    for name, *arguments in actions:
        numbers = [int(str(each)) for each in arguments]
        if name == "enter":
            flow.enter(numbers[0], numbers[1])
        elif name == "step":
            flow.step(numbers[0], numbers[1], numbers[2])
        elif name == "finish":
            for stage in range(len(CHAIN)):
                for choice in range(8):
                    flow.step(stage, choice, 10_000)
        elif name == "begin":
            drain.begin(flow.entries, flow.ends())
        mark = drain.observe(flow.done, flow.ends())
        if mark is not None:
            assert all(entry >= mark for entry in flow.unfinished())
    if drain.busy:  # nothing comes any more: then every mark gets through
        for stage in range(len(CHAIN)):
            for choice in range(16):
                flow.step(stage, choice, 10_000)
        assert flow.unfinished() == set()
        assert drain.observe(flow.done, flow.ends()) is not None
