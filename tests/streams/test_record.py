"""Nothing is acknowledged before the store has it, and no row can hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from jianguan.clock import SystemClock, VirtualClock
from jianguan.columns import Columns
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import Personal
from jianguan.domain.trace import Records, Step
from jianguan.errors import UnavailableError
from jianguan.metrics import Metrics
from streams import record as module
from streams.frames import RECORDS
from streams.record import MAX_REFUSED, MAX_REFUSED_RUNNING, Recorder
from streams.transport.run import PlainRecord, Run
from tests.streams.fakes import FakeStore, ids, until


def step(number: int) -> Step:
    return Step(f"st-{number}", "s", 0, 1, "x", "system", "", "", (), "")


def delivery(number: int, revision: int = 2) -> Delivery:
    return Delivery(f"dl-{number}", "n", "r", "d", "k", "a", None, "delivered", 1, 0, 0, 0, 0, 200, "", "", revision)


def run_of(*numbers: int, offset: int = 0) -> Run:
    frames = RECORDS.encode(Records(trace=[step(number) for number in numbers]))
    return Run("records", 0, [PlainRecord(frame, offset + place) for place, frame in enumerate(frames)])


@asynccontextmanager
async def recording(store: FakeStore, **changes: Any) -> AsyncIterator[Recorder]:
    options: dict[str, Any] = {"rows": 1_000, "linger": 0.005, **changes}
    recorder = Recorder(store, SystemClock(), Metrics(CollectorRegistry()), **options)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)


def refusing(*numbers: int) -> Callable[[Records], None]:
    bad = {f"st-{number}" for number in numbers}

    def refuse(records: Records) -> None:
        if any(row.id in bad for row in records.trace):
            raise ValueError("a value that must not be told: 13900001111")

    return refuse


async def test_runs_are_acknowledged_in_order_and_only_when_written() -> None:
    store, done = FakeStore(), []  # type: FakeStore, list[tuple[int, int]]

    def acknowledge(at: int) -> None:
        done.append((at, len(store.rows.trace)))

    async with recording(store) as recorder:
        for number in range(5):
            await recorder.put(run_of(number, offset=number), partial(acknowledge, number))
        await until(lambda: len(done) == 5)
    assert [at for at, _ in done] == list(range(5))
    assert all(stored > at for at, stored in done)
    assert ids(store.rows) == [f"st-{number}" for number in range(5)]
    assert store.writes == 1  # together, because they came together


async def test_a_store_that_is_away_is_asked_again_and_nothing_is_acknowledged_meanwhile() -> None:
    store, done = FakeStore(), []  # type: FakeStore, list[int]
    store.failures += [UnavailableError("away")] * 5
    async with recording(store) as recorder:
        await recorder.put(run_of(1), lambda: done.append(len(store.rows)))
        await until(lambda: recorder.failure)
        assert done == []
        await until(lambda: done)
        assert recorder.failure == ""
    assert done == [1]
    assert recorder._metrics.store_retries._value.get() == 5


async def test_one_refused_row_is_quarantined_and_the_rest_is_stored() -> None:
    store, done = FakeStore(refuse=refusing(13)), []  # type: FakeStore, list[int]
    async with recording(store) as recorder:
        await recorder.put(run_of(*range(40)), lambda: done.append(1))
        await recorder.put(run_of(50, offset=1), lambda: done.append(2))
        await until(lambda: len(done) == 2)
        assert recorder.failure == ""
    assert {row.id for row in store.rows.trace} == {f"st-{number}" for number in (*range(40), 50) if number != 13}
    (row,) = store.rows.quarantine
    assert (row.code, row.receipt) == ("store-refused", "trace/st-13")
    assert "13900001111" not in row.message
    assert RECORDS.decode(row.raw) == Records(trace=[step(13)])
    assert len(set(store.tokens)) == len(store.tokens)


@pytest.mark.parametrize("bad", ["st-0", "st-3", "st-6", "dl-0", "dl-5", "dl-7"])
async def test_of_a_batch_with_a_refused_row_the_steps_are_stored_between_deliveries_that_begin_and_others(
    bad: str,
) -> None:
    """The worker may be killed between two writes. A delivery that is finished is not sent and told again, and of what
    a step tells, those who were to hear of it do.
    """
    batch = Records(
        deliveries=[*(delivery(n) for n in range(6)), *(delivery(n, revision=1) for n in range(6, 9))],
        trace=[step(n) for n in range(7)],
    )
    rows = [f"dl-{n}" for n in range(6, 9)] + [f"st-{n}" for n in range(7)] + [f"dl-{n}" for n in range(6)]
    written: list[str] = []

    def refuse(records: Records) -> None:
        found = [row.id for _, rows in records.in_order() for row in rows]
        if bad in found:
            raise ValueError
        written.extend(found)

    tokens = []
    for _ in range(2):
        written.clear()
        store = FakeStore(refuse=refuse)
        async with recording(store) as recorder:
            assert await recorder.take(batch)
            await until(lambda: recorder.handed_stored)
        assert [row for row in written if not row.startswith("qu-")] == [row for row in rows if row != bad]
        tokens.append(store.tokens)
    assert tokens[0] == tokens[1]


async def test_the_same_refused_row_has_the_same_id_when_it_comes_again() -> None:
    store, done = FakeStore(refuse=refusing(1)), []  # type: FakeStore, list[int]
    async with recording(store) as recorder:
        for offset in range(2):
            await recorder.put(run_of(1, offset=offset), lambda: done.append(1))
            await until(done.copy)
            done.clear()
    assert len({row.id for row in store.rows.quarantine}) == 1


async def test_a_refused_row_without_id_is_named_by_its_event() -> None:
    def refuse(records: Records) -> None:
        if records.personal:
            raise ValueError

    store, done = FakeStore(refuse=refuse), []  # type: FakeStore, list[int]
    frame = RECORDS.encode(Records(personal=[Personal("ev-1", 0, None, None, None, None, "字")], trace=[step(1)]))[0]
    async with recording(store) as recorder:
        await recorder.put(Run("records", 0, [PlainRecord(frame, 0)]), lambda: done.append(1))
        await until(lambda: done)
    assert [row.receipt for row in store.rows.quarantine] == ["personal/ev-1"]
    assert len(store.rows.trace) == 1


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 59), max_size=MAX_REFUSED), st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_every_row_is_either_stored_or_quarantined(bad: set[int], sizes: list[int]) -> None:
    async def body() -> None:
        store, done = FakeStore(refuse=refusing(*bad)), []  # type: FakeStore, list[int]
        start = 0
        async with recording(store, linger=0.0) as recorder:
            for size in sizes:
                await recorder.put(run_of(*range(start, start + size), offset=start), lambda: done.append(1))
                start += size
            await until(lambda: len(done) == len(sizes))
        sent = {f"st-{number}" for number in range(start)}
        refused = {f"st-{number}" for number in bad} & sent
        assert {row.id for row in store.rows.trace} == sent - refused
        assert {row.receipt for row in store.rows.quarantine} == {f"trace/{each}" for each in refused}

    asyncio.run(body())


async def test_a_store_that_refuses_many_rows_is_at_fault_itself_and_nothing_is_lost() -> None:
    store, done = FakeStore(refuse=refusing(*range(100))), []  # type: FakeStore, list[int]
    async with recording(store) as recorder:
        await recorder.put(run_of(*range(100)), lambda: done.append(1))
        await until(lambda: "refuses many rows" in recorder.failure)
        assert done == []
        assert store.rows.quarantine == []
        store.refuse = lambda records: None  # the schema is mended
        await until(lambda: done)
    assert {row.id for row in store.rows.trace} == {f"st-{number}" for number in range(100)}


async def test_a_store_that_refuses_row_after_row_is_at_fault_too() -> None:
    store, done = FakeStore(refuse=refusing(*range(1_000))), []  # type: FakeStore, list[int]
    async with recording(store, rows=1) as recorder:
        for number in range(MAX_REFUSED_RUNNING + 1):
            await recorder.put(run_of(number, offset=number), lambda: done.append(1))
        await until(lambda: recorder.failure)
        assert len(done) == len(store.rows.quarantine) == MAX_REFUSED_RUNNING


async def test_a_store_that_refuses_the_quarantine_too_is_asked_again() -> None:
    def refuse(records: Records) -> None:
        if records.quarantine or records.trace:
            raise ValueError

    store, done = FakeStore(refuse=refuse), []  # type: FakeStore, list[int]
    async with recording(store) as recorder:
        await recorder.put(run_of(1), lambda: done.append(1))
        await until(lambda: "their quarantine" in recorder.failure)
        assert done == []
        store.refuse = lambda records: None
        await until(lambda: done)
    assert ids(store.rows) == ["st-1"]


async def test_a_store_that_goes_away_while_rows_are_told_apart_is_asked_again() -> None:
    store, done = FakeStore(refuse=refusing(3)), []  # type: FakeStore, list[int]
    store.failures += [ValueError(), UnavailableError("away")]
    async with recording(store) as recorder:
        await recorder.put(run_of(*range(8)), lambda: done.append(1))
        await until(lambda: done)
    assert {row.id for row in store.rows.trace} == {f"st-{number}" for number in range(8) if number != 3}
    assert len(store.rows.quarantine) == 1


async def test_a_frame_that_cannot_be_read_is_quarantined() -> None:
    store, done = FakeStore(), []  # type: FakeStore, list[int]
    run = Run("records", 2, [PlainRecord(b"rubbish", 7), run_of(1, offset=8).records[0]])
    async with recording(store) as recorder:
        await recorder.put(run, lambda: done.append(1))
        await until(lambda: done)
    (row,) = store.rows.quarantine
    assert (row.code, row.receipt, row.raw) == ("bad-frame", "records/2/7", b"rubbish")
    assert len(store.rows.trace) == 1


async def test_a_run_whose_app_has_ended_does_not_stop_the_next() -> None:
    def ended() -> None:
        raise RuntimeError("the app has ended")

    store, done = FakeStore(), []  # type: FakeStore, list[int]
    async with recording(store) as recorder:
        await recorder.put(run_of(1), ended)
        await recorder.put(run_of(2, offset=1), lambda: done.append(1))
        await until(lambda: done)


async def test_what_was_stored_is_shown_to_the_observer() -> None:
    seen: list[Records] = []
    async with recording(FakeStore(), observe=seen.append) as recorder:
        await recorder.put(run_of(1), lambda: None)
        await until(lambda: seen)
    assert ids(seen[0]) == ["st-1"]


async def test_many_rows_are_waited_for_together_but_not_once_nothing_more_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BUSY_FACTOR", 10_000)  # two hours and a half: only the quiet can end it
    monkeypatch.setattr(module, "BUSY_ROWS", 20)
    store, done = FakeStore(), []  # type: FakeStore, list[int]
    async with recording(store, linger=1.0) as recorder:
        for number in range(0, 100, 10):
            await recorder.put(run_of(*range(number, number + 10), offset=number), lambda: done.append(1))
            await asyncio.sleep(0)
        await until(lambda: len(done) == 10)
    assert len(store.rows.trace) == 100


async def test_only_so_many_runs_wait_for_a_store_that_is_away() -> None:
    recorder = Recorder(
        FakeStore(),
        VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)),
        Metrics(CollectorRegistry()),
        rows=1,
        linger=0.0,
        bound=2,
    )
    for number in range(2):
        await recorder.put(run_of(number), lambda: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await recorder.put(run_of(3), lambda: None)


async def test_what_waits_for_a_store_that_is_away_is_bounded_in_rows_however_long_the_outage() -> None:
    store, done = FakeStore(), []  # type: FakeStore, list[int]
    away = asyncio.Event()
    store.refuse = lambda records: None if away.is_set() else _raise(UnavailableError("away"))
    taken = 0

    async def offer(recorder: Recorder) -> None:
        nonlocal taken
        for number in range(0, 2_000, 10):
            await recorder.put(run_of(*range(number, number + 10), offset=number), partial(done.append, number))
            taken += 10

    async with recording(store, rows=100) as recorder:
        offering = asyncio.create_task(offer(recorder))
        await until(lambda: taken == 200)
        tries = store.writes
        await until(lambda: store.writes > tries + 5)
        assert (taken, recorder.held, done) == (200, 200, [])
        away.set()
        await until(lambda: len(done) == 200)
        await offering
        assert recorder.held == 0
    assert done == list(range(0, 2_000, 10))
    assert ids(store.rows) == [f"st-{number}" for number in range(2_000)]


async def test_a_run_that_is_larger_than_the_room_is_taken_when_there_is_some() -> None:
    store, done = FakeStore(), []  # type: FakeStore, list[int]
    async with recording(store, rows=3) as recorder:
        for number in range(0, 100, 50):
            await recorder.put(run_of(*range(number, number + 50), offset=number), partial(done.append, number))
        await until(lambda: done == [0, 50])
    assert len(store.rows.trace) == 100


async def test_a_run_that_was_given_up_while_it_waited_takes_no_room() -> None:
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    recorder = Recorder(FakeStore(), clock, Metrics(CollectorRegistry()), rows=100, linger=0.0, bound=1)
    await recorder.put(run_of(1), lambda: None)
    for number in range(2, 300):
        putting = asyncio.create_task(recorder.put(run_of(number), lambda: None))
        await asyncio.sleep(0)
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
    assert recorder.held == 1


async def test_what_is_handed_over_is_stored_together_and_counted() -> None:
    store = FakeStore()
    async with recording(store) as recorder:
        for number in range(3):
            assert await recorder.take(Records(trace=[step(number)]))
        assert await recorder.take(Columns.of(Records(trace=[step(number) for number in range(3, 600)])))
        assert (recorder.handed, recorder.handed_stored) == (4, 0)
        await until(lambda: recorder.handed_stored == 4)
        assert recorder.held == 0
    assert sorted(ids(store.rows)) == sorted(f"st-{number}" for number in range(600))
    assert store.writes == 1  # together, because they came together


async def test_what_is_handed_over_and_what_comes_by_topic_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM_PATIENCE", 0.01)
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    recorder = Recorder(FakeStore(), clock, Metrics(CollectorRegistry()), rows=5, linger=0.0)
    await recorder.put(run_of(*range(6)), lambda: None)
    assert await recorder.take(Records(trace=[step(number) for number in range(4)]))
    assert not await recorder.take(Records(trace=[step(4)]))
    assert (recorder.held, recorder.handed) == (10, 1)


async def test_a_full_queue_takes_nothing_by_hand() -> None:
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    recorder = Recorder(FakeStore(), clock, Metrics(CollectorRegistry()), rows=100, linger=0.0, bound=2)
    taken = [await recorder.take(Records(trace=[step(number)])) for number in range(3)]
    assert taken == [True, True, False]


async def test_a_store_that_makes_room_in_time_is_waited_for() -> None:
    store, away = FakeStore(), asyncio.Event()
    writing = asyncio.Event()

    def slowly(records: Records) -> None:
        writing.set()
        if not away.is_set():
            raise UnavailableError("in the middle of something")

    store.refuse = slowly
    async with recording(store, rows=10, linger=0.0) as recorder:
        assert await recorder.take(Records(trace=[step(number) for number in range(20)]))
        taking = asyncio.create_task(recorder.take(Records(trace=[step(20)])))
        await until(writing.is_set)
        away.set()
        assert await asyncio.wait_for(taking, 5)
        await until(lambda: recorder.handed_stored == 2)
    assert ids(store.rows) == [f"st-{number}" for number in range(21)]


async def test_a_slow_store_is_waited_for_once_and_not_before_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    recorder = Recorder(FakeStore(), clock, Metrics(CollectorRegistry()), rows=1, linger=0.0)
    assert await recorder.take(Records(trace=[step(1), step(2)]))
    monkeypatch.setattr(module, "ROOM_PATIENCE", 0.01)
    assert not await recorder.take(Records(trace=[step(3)]))
    monkeypatch.setattr(module, "ROOM_PATIENCE", 3_600.0)
    assert not await asyncio.wait_for(recorder.take(Records(trace=[step(3)])), 5)
    writing = asyncio.create_task(recorder.run())
    await until(lambda: recorder.handed_stored == 1)
    assert await recorder.take(Records(trace=[step(3)]))
    await until(lambda: recorder.handed_stored == 2)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_at_the_end_all_that_is_held_is_written_without_lingering() -> None:
    store, done = FakeStore(), []  # type: FakeStore, list[int]
    async with recording(store, linger=3_600.0) as recorder:
        assert await recorder.take(Records(trace=[step(1)]))
        await asyncio.sleep(0)  # it lingers
        assert await recorder.take(Records(trace=[step(2)]))
        await recorder.put(run_of(3), lambda: done.append(3))
        await asyncio.wait_for(recorder.drain(3_600.0), 5)
        assert (recorder.held, recorder.handed_stored, done) == (0, 2, [3])
    assert ids(store.rows) == ["st-1", "st-2", "st-3"]


async def test_at_the_end_nothing_is_waited_for_when_nothing_is_held() -> None:
    async with recording(FakeStore(), linger=3_600.0) as recorder:
        await asyncio.wait_for(recorder.drain(3_600.0), 5)


async def test_at_the_end_a_store_that_is_away_is_not_waited_for_longer_than_was_said() -> None:
    store = FakeStore(refuse=lambda records: _raise(UnavailableError("away")))
    async with recording(store, linger=0.0) as recorder:
        assert await recorder.take(Records(trace=[step(1)]))
        await asyncio.wait_for(recorder.drain(0.01), 5)
        await asyncio.wait_for(recorder.drain(-1.0), 5)
        assert recorder.held == 1


async def test_at_the_end_a_full_queue_is_written_too() -> None:
    store = FakeStore()
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    recorder = Recorder(store, clock, Metrics(CollectorRegistry()), rows=100, linger=0.0, bound=2)
    for number in range(2):
        assert await recorder.take(Records(trace=[step(number)]))
    writing = asyncio.create_task(recorder.run())
    await asyncio.wait_for(recorder.drain(3_600.0), 5)
    assert ids(store.rows) == ["st-0", "st-1"]
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_a_store_that_is_away_is_handed_nothing_until_it_is_back() -> None:
    store = FakeStore()
    away = asyncio.Event()
    store.refuse = lambda records: None if away.is_set() else _raise(UnavailableError("away"))
    async with recording(store) as recorder:
        assert await recorder.take(Records(trace=[step(1)]))
        await until(lambda: recorder.failure)
        assert not await recorder.take(Records(trace=[step(2)]))
        assert recorder.handed_stored == 0
        away.set()
        await until(lambda: recorder.handed_stored == 1)
        assert await recorder.take(Records(trace=[step(3)]))
        await until(lambda: recorder.handed_stored == 2)
    assert ids(store.rows) == ["st-1", "st-3"]


def _raise(error: Exception) -> None:
    raise error
