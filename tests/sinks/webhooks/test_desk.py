"""Each attempt is recorded once, with a rising revision, and what is told again is neither lost nor sent twice."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import VirtualClock, to_millis
from jianguan.domain.delivery import Delivery, Notice
from jianguan.domain.trace import Records
from jianguan.errors import InputError, UnavailableError
from jianguan.metrics import Metrics
from sinks.webhooks.desk import DeliveryDesk
from sinks.webhooks.receivers import Receiver
from sinks.webhooks.retry import Outcome, OutcomeKind, RetryPolicy
from sinks.webhooks.schedule import DeliverySchedule
from sinks.webhooks.signing import generate_secret

START = datetime(2026, 11, 23, tzinfo=UTC)
NOW = to_millis(START)
GOOD = Outcome(OutcomeKind.DELIVERED, 204, duration_ms=5)
BAD = Outcome(OutcomeKind.RETRY, 500, "HTTP 500")
GONE = Outcome(OutcomeKind.GONE, 410, "HTTP 410")
CONFIGURED_OFF = Outcome(OutcomeKind.GONE, detail="the receiver is disabled in the configuration")


def receiver(name: str, department: str = "fire") -> Receiver:
    secret = generate_secret(random.Random(1).randbytes)
    return Receiver(id=name, department=department, url=f"https://{name}.example/", secrets=(secret,))


def notice(number: int = 1, department: str = "fire") -> Notice:
    return Notice(
        f"dl-{number}", department, "alert.raised", f"al-{number}", "ca-1", NOW, NOW - 500, f'{{"n":{number}}}'
    )


class FakeSender:
    """Answers from a list, then with success."""

    def __init__(self) -> None:
        self.answers: list[Outcome | Exception] = []
        self.sent: list[tuple[str, str]] = []

    async def send(self, receiver: Receiver, delivery_id: str, body: bytes) -> Outcome:
        self.sent.append((receiver.id, delivery_id))
        answer = self.answers.pop(0) if self.answers else GOOD
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    def __init__(self, *receivers: Receiver, attempts: int = 4) -> None:
        self.clock = VirtualClock(START)
        self.sender = FakeSender()
        self.told = Records()
        self.registry = CollectorRegistry()
        delays = (timedelta(seconds=10),) * (attempts - 1)
        schedule = DeliverySchedule(RetryPolicy(delays=delays, jitter=0.0), random.Random(1))
        metrics = Metrics(self.registry)
        self.owns = True
        self.desk = DeliveryDesk(receivers, schedule, self.sender, self.clock, self.emit, metrics)

    async def emit(self, records: Records) -> None:
        self.told.extend(records)

    def accept(self, *notices: Notice) -> Records:
        records = self.desk.accept(notices)
        self.told.extend(records)
        return records

    def history(self) -> list[tuple[str, int, int]]:
        return [(row.state, row.attempt, row.revision) for row in self.told.deliveries]

    def stored(self) -> dict[str, Delivery]:
        return {row.id: row for row in self.told.deliveries}

    def states(self) -> list[str]:
        return [row.state for row in self.stored().values()]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.desk.run(lambda: self.owns))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the condition is anything
                await asyncio.sleep(0.001)

    async def after(self, seconds: float, condition: Callable[[], object]) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.desk.accept([])  # wakes it
        await self.until(condition)


async def test_a_notice_is_sent_to_every_receiver_of_its_department_and_recorded() -> None:
    world = World(receiver("a"), receiver("b"), receiver("c", "health"))
    async with world.running():
        world.accept(notice())
        await world.until(lambda: len(world.told.deliveries) == 4)
    assert sorted(name for name, _ in world.sender.sent) == ["a", "b"]
    assert sorted(world.history()) == [("delivered", 1, 2)] * 2 + [("pending", 0, 1)] * 2
    assert {step.what for step in world.told.trace} == {"delivered"}
    assert len({step.id for step in world.told.trace}) == 2
    assert world.metric("jianguan_deliveries_total", outcome="delivered") == 2
    assert world.metric("jianguan_alert_latency_seconds_count") == 2
    assert len(world.desk) == 0


async def test_thirty_receivers_that_take_their_time_delay_nobody_else() -> None:
    slow_ones = [receiver(f"slow-{number}") for number in range(30)]
    world = World(*slow_ones, receiver("quick", "health"))
    answer = asyncio.Event()
    quick = world.sender.send

    async def send(receiver: Receiver, delivery_id: str, body: bytes) -> Outcome:
        if receiver.id != "quick":
            await answer.wait()
        return await quick(receiver, delivery_id, body)

    world.sender.send = send  # type: ignore[method-assign]
    world.accept(*[notice(number) for number in range(20)])
    async with world.running():
        world.accept(*[notice(number, "health") for number in range(100, 120)])
        await world.until(lambda: len(world.sender.sent) == 20)
        assert {name for name, _ in world.sender.sent} == {"quick"}
        answer.set()
        await world.until(lambda: len(world.desk) == 0)
    assert len(world.sender.sent) == 20 * 31


async def test_a_department_without_receiver_leaves_a_step() -> None:
    world = World(receiver("a"))
    world.accept(notice(department="nobody"))
    assert [(step.subject, step.what) for step in world.told.trace] == [("al-1", "no-receiver")]
    assert world.told.deliveries == []


async def test_each_outcome_is_recorded_once_with_a_rising_revision() -> None:
    world = World(receiver("a"))
    world.sender.answers += [BAD, BAD]
    async with world.running():
        world.accept(notice())
        await world.until(lambda: len(world.told.deliveries) == 2)
        await world.after(10, lambda: len(world.told.deliveries) == 3)
        await world.after(10, lambda: len(world.told.deliveries) == 4)
    assert world.history() == [("pending", 0, 1), ("pending", 1, 2), ("pending", 2, 3), ("delivered", 3, 4)]
    assert [step.what for step in world.told.trace] == ["delivery-failed", "delivery-failed", "delivered"]
    assert len({step.id for step in world.told.trace}) == 3
    assert len({row.id for row in world.told.deliveries}) == 1


async def test_a_delivery_that_always_fails_is_dead_after_the_last_attempt() -> None:
    world = World(receiver("a"), attempts=2)
    world.sender.answers += [BAD, BAD]
    async with world.running():
        world.accept(notice())
        await world.until(lambda: len(world.told.deliveries) == 2)
        await world.after(10, lambda: len(world.told.deliveries) == 3)
    assert world.history()[-1] == ("dead", 2, 3)
    assert world.told.trace[-1].what == "delivery-dead"
    assert world.metric("jianguan_dead_deliveries_total") == 1


@pytest.mark.parametrize("error", [UnavailableError("no route"), ZeroDivisionError()])
async def test_an_attempt_that_raises_counts_as_failed_and_comes_again(error: Exception) -> None:
    world = World(receiver("a"))
    world.sender.answers.append(error)
    async with world.running():
        world.accept(notice())
        await world.until(lambda: len(world.told.deliveries) == 2)
        await world.after(10, lambda: len(world.told.deliveries) == 3)
    assert [state for state, _, _ in world.history()] == ["pending", "pending", "delivered"]


async def test_a_receiver_that_is_gone_keeps_its_deliveries_and_all_are_recorded() -> None:
    world = World(receiver("a"))
    world.sender.answers += [GONE] * 8
    world.accept(*[notice(number) for number in range(12)])
    async with world.running():
        await world.until(lambda: {row.id for row in world.told.deliveries if row.state == "disabled"}.__len__() == 12)
    assert len(world.desk) == 12


async def gone_with_three(world: World) -> list[Delivery]:
    """What the store has after a receiver answered 410 to the first of three."""
    world.sender.answers.append(GONE)
    async with world.running():
        world.accept(notice(1))
        await world.until(lambda: world.states() == ["disabled"])
        world.accept(notice(2), notice(3))
    return list(world.stored().values())


async def test_what_is_told_of_for_a_disabled_receiver_is_recorded_as_held() -> None:
    world = World(receiver("a"))
    await gone_with_three(world)
    assert world.history() == [("pending", 0, 1), ("disabled", 1, 2), ("disabled", 0, 1), ("disabled", 0, 1)]
    assert len(world.sender.sent) == 1


@pytest.mark.parametrize("restart", [False, True])
async def test_sending_one_delivery_again_enables_its_receiver_and_records_and_sends_all_that_is_held(
    restart: bool,
) -> None:
    world = World(receiver("a"))
    rows = await gone_with_three(world)
    if restart:
        world = World(receiver("a"))
        world.desk.restore(rows)
    told = len(world.told.deliveries)
    await world.desk.redeliver(rows[1])
    again = {row.id: (row.state, row.revision) for row in world.told.deliveries[told:]}
    assert again == {row.id: ("pending", row.revision + 1) for row in rows}
    asked = [step.subject for step in world.told.trace if step.what == "redelivery-asked"]
    assert sorted(asked) == sorted(again)
    async with world.running():
        await world.until(lambda: world.states() == ["delivered"] * 3)
    assert {identifier for _, identifier in world.sender.sent} == set(again)


async def test_a_receiver_that_answered_410_stays_disabled_over_a_restart() -> None:
    rows = await gone_with_three(World(receiver("a")))
    world = World(receiver("a"), receiver("b", "police"))
    world.desk.restore([*rows, rows[0]._replace(id="dl-gone", receiver="no more")])
    assert len(world.desk) == 3
    async with world.running():
        world.accept(notice(4), notice(5, "police"))
        await world.until(lambda: "delivered" in world.states())
    assert [name for name, _ in world.sender.sent] == ["b"]
    assert world.states() == ["disabled", "delivered"]


async def test_what_was_held_by_the_configuration_is_sent_when_it_holds_its_receiver_no_more() -> None:
    world = World(replace(receiver("a"), disabled=True))
    world.sender.answers.append(CONFIGURED_OFF)
    async with world.running():
        world.accept(notice(1))
        await world.until(lambda: world.states() == ["disabled"])
        world.accept(notice(2))
    rows = list(world.stored().values())
    still = World(replace(receiver("a"), disabled=True), receiver("b", "police"))
    still.desk.restore(rows)
    async with still.running():
        still.accept(notice(3, "police"))
        await still.until(lambda: "delivered" in still.states())
    assert [name for name, _ in still.sender.sent] == ["b"]
    fresh = World(receiver("a"))
    fresh.desk.restore(rows)
    async with fresh.running():
        await fresh.until(lambda: fresh.states() == ["delivered"] * 2)


async def test_a_receiver_that_was_enabled_at_another_worker_is_enabled_when_it_comes_back() -> None:
    world = World(receiver("a"))
    await gone_with_three(world)
    world.desk.keep_only(lambda department: False)
    world.desk.restore([])
    async with world.running():
        world.accept(notice(4))
        await world.until(lambda: world.states()[-1] == "delivered")


async def test_a_410_for_a_department_that_went_disables_nothing_here() -> None:
    world = World(receiver("a"))
    world.accept(notice(1))
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> Outcome:
        started.set()
        await go_on.wait()
        return GONE if len(world.told.deliveries) == 1 else GOOD

    world.sender.send = slow  # type: ignore[method-assign, assignment]
    async with world.running():
        await started.wait()
        world.desk.keep_only(lambda department: False)
        go_on.set()
        await world.until(lambda: world.metric("jianguan_deliveries_total", outcome="gone"))
        world.accept(notice(2))
        await world.until(lambda: world.states()[-1] == "delivered")
    assert len(world.desk) == 0


async def test_a_notice_told_again_is_not_sent_again_but_its_delivery_is_recorded_again() -> None:
    world = World(receiver("a"))
    first = world.accept(notice())
    assert world.accept(notice()).deliveries == first.deliveries
    async with world.running():
        await world.until(lambda: len(world.desk) == 0 and world.told.deliveries[-1].state == "delivered")
        again = world.accept(notice())
    assert [(row.state, row.revision) for row in again.deliveries] == [("delivered", 2)]
    assert len(world.sender.sent) == 1


async def test_after_a_restart_what_is_pending_is_sent_when_it_is_due_with_its_id() -> None:
    world = World(receiver("a"))
    (row,) = world.accept(notice()).deliveries
    waits = row._replace(attempt=1, due_at=NOW + 5_000, revision=2)
    other = row._replace(id="dl-gone", receiver="no more")
    fresh = World(receiver("a"))
    fresh.desk.restore([waits, other])
    assert len(fresh.desk) == 1
    async with fresh.running():
        await fresh.after(1, lambda: True)
        assert fresh.sender.sent == []
        await fresh.after(5, lambda: fresh.told.deliveries)
    assert fresh.sender.sent == [("a", row.id)]
    assert fresh.history() == [("delivered", 2, 3)]


async def test_what_was_finished_before_a_restart_is_not_sent_again() -> None:
    world = World(receiver("a"))
    (row,) = world.accept(notice()).deliveries
    fresh = World(receiver("a"))
    fresh.desk.restore([], [(row.id, "a")])
    fresh.accept(notice())
    assert len(fresh.desk) == 0


async def test_a_redelivery_sends_the_same_id_again_with_a_higher_revision() -> None:
    world = World(receiver("a"))
    async with world.running():
        world.accept(notice())
        await world.until(lambda: world.told.deliveries[-1].state == "delivered")
        stale: Delivery = world.told.deliveries[0]  # the store may be behind
        await world.desk.redeliver(stale)
        await world.until(lambda: len(world.sender.sent) == 2 and world.told.deliveries[-1].state == "delivered")
    assert [revision for _, _, revision in world.history()] == [1, 2, 3, 4]
    assert len(set(world.sender.sent)) == 1
    with pytest.raises(InputError):
        await world.desk.redeliver(stale._replace(receiver="no more"))


async def test_a_dead_letter_that_is_sent_again_has_all_attempts_also_after_a_restart() -> None:
    world, fresh = World(receiver("a"), attempts=2), World(receiver("a"), attempts=2)
    world.sender.answers, fresh.sender.answers = [BAD, BAD], [BAD, BAD]
    async with world.running():
        world.accept(notice())
        await world.until(lambda: len(world.told.deliveries) == 2)
        await world.after(10, lambda: world.history()[-1] == ("dead", 2, 3))
    await world.desk.redeliver(world.told.deliveries[-1])
    assert world.history()[-1] == ("pending", 0, 4)
    fresh.desk.restore(world.told.deliveries[-1:])
    async with fresh.running():
        await fresh.after(10, lambda: fresh.history() == [("pending", 1, 5)])
        await fresh.after(10, lambda: fresh.history()[-1] == ("dead", 2, 6))


async def test_an_attempt_under_way_when_the_desk_stops_counts_as_not_made() -> None:
    world = World(receiver("a"))
    started = asyncio.Event()

    async def hang(*_: object) -> Outcome:
        started.set()
        await asyncio.Event().wait()
        return GOOD

    world.sender.send = hang  # type: ignore[method-assign, assignment]
    async with world.running():
        world.accept(notice())
        await started.wait()
    assert world.history() == [("pending", 0, 1)]
    assert len(world.desk) == 1


async def test_deliveries_of_a_department_that_is_not_ours_any_more_are_not_sent_from_here() -> None:
    world = World(receiver("a"), receiver("b", "police"))
    world.sender.answers = [BAD, BAD]
    world.accept(notice(1), notice(2, "police"))
    async with world.running():
        await world.until(lambda: len(world.history()) == 4)
        world.desk.keep_only(lambda department: department == "fire")
        assert len(world.desk) == 1
        await world.after(10, lambda: world.history()[-1][0] == "delivered")
        world.accept(notice(3))  # what is due goes out by turns: after this one nothing older waits
        await world.until(lambda: world.history()[-1][0] == "delivered" and len(world.history()) == 7)
    assert [name for name, _ in world.sender.sent].count("b") == 1
    assert [name for name, _ in world.sender.sent].count("a") == 3


async def test_an_attempt_under_way_when_its_department_went_is_not_told_and_not_repeated() -> None:
    world = World(receiver("a"))
    world.sender.answers = [BAD]
    world.accept(notice(1))
    started, go_on = asyncio.Event(), asyncio.Event()
    send = world.sender.send

    async def slow(receiver: Receiver, delivery_id: str, body: bytes) -> Outcome:
        started.set()
        await go_on.wait()
        return await send(receiver, delivery_id, body)

    world.sender.send = slow  # type: ignore[method-assign]
    async with world.running():
        await started.wait()
        world.desk.keep_only(lambda department: False)
        go_on.set()
        await world.until(lambda: len(world.sender.sent) == 1)
        world.accept(notice(2))
        await world.after(60, lambda: world.history()[-1][0] == "delivered")
    first, second = world.told.deliveries[0].id, world.told.deliveries[-1].id
    assert [identifier for _, identifier in world.sender.sent] == [first, second]
    assert [row.state for row in world.told.deliveries if row.id == first] == ["pending"]


async def test_nothing_is_sent_while_the_deliveries_may_be_another_workers() -> None:
    world = World(receiver("a"), receiver("b", "police"))
    world.owns = False
    world.accept(notice(1), notice(2, "police"))
    async with world.running():
        await asyncio.sleep(0)
        world.desk.keep_only(lambda department: department == "fire")
        world.owns = True
        world.accept()
        await world.until(lambda: "delivered" in world.states())
        world.accept(notice(3))  # what is due goes out by turns: after this one nothing older waits
        await world.until(lambda: world.states().count("delivered") == 2)
    assert [name for name, _ in world.sender.sent] == ["a", "a"]


@pytest.mark.parametrize("stays", [False, True])
async def test_what_became_of_an_attempt_is_told_by_who_has_the_delivery_when_that_is_known(stays: bool) -> None:
    world = World(receiver("a"))
    world.accept(notice(1))
    asked = asyncio.Event()

    async def slow(receiver: Receiver, delivery_id: str, body: bytes) -> Outcome:
        world.owns = False  # the worker was stopped meanwhile
        asked.set()
        return GOOD

    send = world.sender.send
    world.sender.send = slow  # type: ignore[method-assign]
    async with world.running():
        await asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.history() == [("pending", 0, 1)]
        world.sender.send = send  # type: ignore[method-assign]
        world.desk.keep_only(lambda department: stays)
        world.owns = True
        world.accept(notice(2))
        await world.until(lambda: len(world.desk) == 0)
    assert world.states() == (["delivered"] * 2 if stays else ["pending", "delivered"])
    assert len(world.sender.sent) == 1


async def test_what_the_broker_did_not_take_is_not_told_any_more_when_the_delivery_went_and_is_sent_if_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sinks.webhooks.desk.RETRY_PAUSE", 0.001)
    world = World(receiver("a"))
    (made,) = world.accept(notice(1)).deliveries
    refused = asyncio.Event()
    emit = world.emit

    async def away(records: Records) -> None:
        refused.set()
        world.owns = False
        raise UnavailableError("no broker")

    monkeypatch.setattr(world.desk, "_emit", away)
    async with world.running():
        await refused.wait()
        monkeypatch.setattr(world.desk, "_emit", emit)
        world.desk.keep_only(lambda department: False)
        newer = made._replace(attempt=2, revision=5)  # as another worker has told of it
        world.desk.restore([newer])
        world.owns = True
        await world.until(lambda: len(world.told.deliveries) == 2)
    assert world.history() == [("pending", 0, 1), ("delivered", 3, 6)]
    assert [identifier for _, identifier in world.sender.sent] == [made.id] * 2


async def test_what_another_worker_has_delivered_is_not_sent_when_it_is_told_of_here() -> None:
    away, here = World(receiver("a")), World(receiver("a"))
    (made,) = away.accept(notice(1)).deliveries
    here.desk.restore([], [(made.id, "a")])
    here.accept(notice(1))
    async with here.running():
        here.accept(notice(2))
        await here.until(lambda: here.history()[-1:] == [("delivered", 1, 2)])
    assert made.id not in [identifier for _, identifier in here.sender.sent]


async def test_what_was_finished_and_is_sent_again_is_taken_over_as_pending() -> None:
    away, here = World(receiver("a")), World(receiver("a"))
    (made,) = away.accept(notice(1)).deliveries
    here.desk.restore([made._replace(revision=3)], [(made.id, "a")])
    async with here.running():
        await here.until(lambda: here.history() == [("delivered", 1, 4)])


async def test_what_was_finished_here_and_redelivered_at_another_worker_is_sent_when_it_comes_back() -> None:
    here, away = World(receiver("a"), attempts=1), World(receiver("a"))
    here.sender.answers = [BAD]
    here.accept(notice())
    async with here.running():
        await here.until(lambda: here.history()[-1] == ("dead", 1, 2))
        dead = here.told.deliveries[-1]
        here.desk.keep_only(lambda department: False)
        await away.desk.redeliver(dead)
        here.desk.restore(away.told.deliveries, [(dead.id, dead.receiver)])
        await here.until(lambda: here.told.deliveries[-1].state == "delivered")
    assert here.told.deliveries[-1].revision == 4
    assert here.sender.sent == [("a", dead.id)] * 2
    assert len(here.desk) == 0


async def test_what_was_finished_here_is_not_sent_again_when_the_store_has_not_heard_of_it_yet() -> None:
    world = World(receiver("a"))
    (made,) = world.accept(notice(1)).deliveries
    async with world.running():
        await world.until(lambda: world.history()[-1] == ("delivered", 1, 2))
        world.desk.keep_only(lambda department: False)
        world.desk.restore([made])
        world.accept(notice(2))  # what is due goes out by turns: after this one nothing older waits
        await world.until(lambda: len(world.history()) == 4)
    assert [identifier for _, identifier in world.sender.sent].count(made.id) == 1
    assert len(world.desk) == 0


async def test_what_became_of_a_delivery_is_told_when_the_broker_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.webhooks.desk.RETRY_PAUSE", 0.01)
    world = World(receiver("a"))
    refused = 3

    async def emit(records: Records) -> None:
        nonlocal refused
        if refused:
            refused -= 1
            raise UnavailableError("no broker")
        world.told.extend(records)

    monkeypatch.setattr(world.desk, "_emit", emit)
    async with world.running():
        world.accept(notice())
        await world.until(lambda: len(world.told.deliveries) == 2)
    assert world.sender.sent == [("a", world.told.deliveries[0].id)]
    assert world.history()[-1] == ("delivered", 1, 2)


def test_a_body_that_waits_for_its_receiver_is_in_memory_once() -> None:
    world = World(receiver("fire-1"))
    body = '{"text":"' + "投诉处理" * 25_000 + '"}'
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        world.accept(notice()._replace(body=body))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < len(body) / 2


@pytest.mark.parametrize(
    ("answer", "state", "what"), [(GOOD, "delivered", "delivered"), (BAD, "pending", "delivery-failed")]
)
async def test_a_notice_told_again_while_the_outcome_waits_for_the_broker_tells_the_step_too(
    monkeypatch: pytest.MonkeyPatch, answer: Outcome, state: str, what: str
) -> None:
    """This process may end before the broker is back, and who takes over believes the row."""
    world = World(receiver("a"))
    world.sender.answers = [answer]
    refused = asyncio.Event()

    async def away(records: Records) -> None:
        refused.set()
        raise UnavailableError("no broker")

    monkeypatch.setattr(world.desk, "_emit", away)
    world.accept(notice())
    async with world.running():
        await refused.wait()
        again = world.accept(notice())
    assert [(row.state, row.revision) for row in again.deliveries] == [(state, 2)]
    assert [(step.subject, step.what) for step in again.trace] == [(again.deliveries[0].id, what)]


async def test_the_steps_of_attempts_that_follow_each_other_while_the_broker_is_away_are_all_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sinks.webhooks.desk.RETRY_PAUSE", 0.001)
    world = World(receiver("a"))
    world.sender.answers = [BAD, BAD]
    away = True
    refused: list[int] = []

    async def emit(records: Records) -> None:
        if away:
            refused.append(len(records.trace))
            raise UnavailableError("no broker")
        world.told.extend(records)

    monkeypatch.setattr(world.desk, "_emit", emit)
    world.accept(notice())
    async with world.running():
        for steps in (1, 2, 3):
            await world.after(11, lambda steps=steps: steps in refused)  # type: ignore[misc]
        away = False
        await world.until(lambda: world.history()[-1] == ("delivered", 3, 4))
    assert [step.what for step in world.told.trace] == ["delivery-failed", "delivery-failed", "delivered"]


@pytest.mark.parametrize(
    ("answer", "state", "what"), [(GOOD, "delivered", "delivered"), (BAD, "pending", "delivery-failed")]
)
async def test_a_notice_told_again_tells_the_step_with_the_state_also_when_both_were_handed_over(
    answer: Outcome, state: str, what: str
) -> None:
    """They may have gone with a broker that kept nothing, and this telling be stored."""
    world = World(receiver("a"))
    world.sender.answers = [answer]
    world.accept(notice())
    async with world.running():
        await world.until(lambda: world.history()[-1] == (state, 1, 2))
        again = world.accept(notice())
    assert [(row.state, row.revision) for row in again.deliveries] == [(state, 2)]
    assert [(step.subject, step.what) for step in again.trace] == [(again.deliveries[0].id, what)]


async def test_all_that_was_told_of_attempts_can_be_told_again_when_a_broker_has_gone_with_it() -> None:
    world = World(receiver("a"), attempts=2)
    world.sender.answers = [BAD, BAD, GOOD]
    world.accept(notice(1))
    async with world.running():
        await world.after(0, lambda: world.states() == ["pending"] and world.told.trace)
        await world.after(11, lambda: world.states() == ["dead"])
        await world.desk.redeliver(world.told.deliveries[-1])
        await world.until(lambda: world.states() == ["delivered"])
        world.owns = False
        world.accept(notice(2))  # nothing has become of it: its notice is read again
    again = world.desk.told()
    assert again.deliveries == [world.told.deliveries[-2]]
    assert again.trace == world.told.trace
    assert [step.what for step in again.trace] == ["delivery-failed", "delivery-dead", "redelivery-asked", "delivered"]


async def test_the_steps_of_deliveries_are_remembered_as_long_as_their_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.webhooks.desk.FINISHED", 2)
    world = World(receiver("a"))
    world.accept(*[notice(number) for number in range(5)])
    async with world.running():
        await world.until(lambda: world.states() == ["delivered"] * 5)
    assert len(world.desk.told().deliveries) == len(world.desk.told().trace) == 2
    world.sender.answers = [BAD] * 3
    world.accept(*[notice(number) for number in range(5, 8)])
    async with world.running():
        await world.until(lambda: len(world.told.trace) == 8)
    assert [row.state for row in world.desk.told().deliveries] == ["pending"] * 2  # many may wait for long
    world.desk.keep_only(lambda department: False)
    assert not world.desk.told()
