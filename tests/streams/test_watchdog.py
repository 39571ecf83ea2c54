"""When a partition counts as stuck: against a reference over all observations, and on a real app."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.exceptions import ConsumerNotStarted
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge

from jianguan.clock import VirtualClock
from jianguan.errors import ConfigurationError
from streams import watchdog as module
from streams.transport.batch import batch_topic, each_run
from streams.transport.run import Place
from streams.watchdog import Progress, Standstill, Stuck, Watchdog, sample
from tests.streams.support import make_app, make_topic, running, send, unique, until

ONE, TWO = Place("facts", 0), Place("facts", 1)


class Meters:
    """A registry of its own for a test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stuck = Counter("stuck", "", ["topic"], registry=self.registry)
        self.lag = Gauge("lag", "", ["topic"], registry=self.registry)

    def value(self, name: str, topic: str) -> float | None:
        return self.registry.get_sample_value(name, {"topic": topic})


# An observation: seconds since the one before, and (committed, lag) or None for "not assigned".
observations = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2))), max_size=30
)


@given(observations, st.integers(1, 6))
def test_stuck_is_what_looking_back_over_all_observations_says(
    script: list[tuple[int, tuple[int, int] | None]], patience: int
) -> None:
    standstill, now = Standstill(patience), 0
    history: list[tuple[int, tuple[int, int] | None]] = []
    for delay, state in script:
        now += delay
        history.append((now, state))
        seen = {} if state is None else {ONE: Progress(state[0], sum(state))}
        since = now
        for at, earlier in reversed(history):
            if earlier is None or state is None or earlier[0] != state[0] or earlier[1] == 0:
                break
            since = at
        expected = state is not None and state[1] > 0 and now - since >= patience
        assert bool(standstill.observe(now, seen)) == expected


def test_each_partition_has_its_own_time() -> None:
    standstill = Standstill(10)
    standstill.observe(0, {ONE: Progress(5, 9), TWO: Progress(0, 1)})
    standstill.observe(6, {ONE: Progress(5, 9), TWO: Progress(1, 2)})
    assert standstill.observe(12, {ONE: Progress(5, 20), TWO: Progress(1, 2)}) == [Stuck(ONE, 5, 15, 12)]


def test_a_patience_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Standstill(0)


def test_a_standstill_is_reported_once_and_again_after_it_had_moved() -> None:
    clock, meters = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), Meters()
    reports: list[Sequence[Stuck]] = []
    watchdog = Watchdog(None, clock, reports.append, meters.stuck, meters.lag, patience=10)

    def after(seconds: int, committed: int) -> None:
        clock.advance(timedelta(seconds=seconds))
        watchdog.consider({ONE: Progress(committed, 9)})

    after(0, 5)
    after(10, 5)
    after(10, 5)
    assert [len(report) for report in reports] == [1]
    assert meters.value("stuck_total", "facts") == 1
    assert meters.value("lag", "facts") == 4
    after(1, 6)
    assert meters.value("lag", "facts") == 3
    after(10, 6)
    assert [report[0].committed for report in reports] == [5, 6]
    assert "facts-0 stands at 6" in str(reports[1][0])


def test_records_of_partitions_that_were_taken_away_wait_no_more_here() -> None:
    clock, meters = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), Meters()
    watchdog = Watchdog(None, clock, lambda stuck: None, meters.stuck, meters.lag, patience=10)
    watchdog.consider({ONE: Progress(5, 9), Place("alerts", 0): Progress(0, 2)})
    watchdog.consider({Place("alerts", 0): Progress(1, 2)})
    assert (meters.value("lag", "facts"), meters.value("lag", "alerts")) == (0, 1)
    watchdog.consider({})
    assert (meters.value("lag", "facts"), meters.value("lag", "alerts")) == (0, 0)


def test_a_partition_whose_turn_it_is_not_does_not_stand_still_but_its_records_count_as_waiting() -> None:
    clock, meters = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), Meters()
    reports: list[Sequence[Stuck]] = []
    held = {ONE}
    watchdog = Watchdog(None, clock, reports.append, meters.stuck, meters.lag, patience=10, held=lambda: held)
    for _ in range(3):
        watchdog.consider({ONE: Progress(5, 9)})
        clock.advance(timedelta(seconds=10))
    assert reports == []
    assert meters.value("lag", "facts") == 4
    held.clear()
    for _ in range(2):
        watchdog.consider({ONE: Progress(5, 9)})
        clock.advance(timedelta(seconds=10))
    assert [report[0].place for report in reports] == [ONE]


@pytest.mark.parametrize(
    "error", [KafkaTimeoutError("20 s"), ConsumerNotStarted(), ConnectionResetError(), TimeoutError()]
)
async def test_a_broker_that_does_not_answer_for_a_while_ends_no_watch_and_no_standstill(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, meters = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), Meters()
    reports: list[Sequence[Stuck]] = []
    answers: list[Exception | dict[Place, Progress]] = [{ONE: Progress(5, 9)}, error, error, {ONE: Progress(5, 9)}]
    over = asyncio.Event()

    async def ask(_: object) -> dict[Place, Progress]:
        if not answers:
            over.set()
            await asyncio.Event().wait()
        clock.advance(timedelta(seconds=4))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "sample", ask)
    watchdog = Watchdog(None, clock, reports.append, meters.stuck, meters.lag, patience=10, interval=0)
    watching = asyncio.create_task(watchdog.run())
    await until(lambda: watching.done() or over.is_set())
    assert not watching.done()
    assert [[str(one) for one in report] for report in reports] == [
        ["facts-0 stands at 5 for 12 s with 4 records waiting"]
    ]
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


@pytest.mark.broker
async def test_a_stuck_agent_is_seen_in_a_real_app_and_a_working_one_is_not(broker: str, tmp_path: Path) -> None:
    good, bad = await make_topic(broker), await make_topic(broker)
    app = make_app(broker, tmp_path, unique("app"))
    taken = asyncio.Event()

    @app.agent(batch_topic(app, good, partitions=1))  # type: ignore[untyped-decorator]
    async def works(stream: object) -> None:
        async for _ in each_run(stream):
            pass

    @app.agent(batch_topic(app, bad, partitions=1))  # type: ignore[untyped-decorator]
    async def sticks(stream: object) -> None:
        async for _ in each_run(stream):
            taken.set()
            await asyncio.Event().wait()

    await send(broker, good, [b"x"] * 30)
    await send(broker, bad, [b"x"] * 20)
    assert await sample(app) == {}
    clock, meters = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), Meters()
    reports: list[Sequence[Stuck]] = []
    watchdog = Watchdog(app, clock, reports.append, meters.stuck, meters.lag, patience=10, interval=0.01)
    async with running(app):
        await taken.wait()

        async def good_is_committed() -> bool:
            await app.consumer.commit()
            return (await sample(app))[Place(good, 0)] == Progress(30, 30)

        await until(good_is_committed)
        watching = asyncio.create_task(watchdog.run())
        await until(lambda: meters.value("lag", bad) == 20)
        clock.advance(timedelta(seconds=11))
        await until(lambda: bool(reports))
        watching.cancel()
    assert [(one.place, one.committed, one.lag) for one in reports[0]] == [(Place(bad, 0), 0, 20)]
