"""The way in: durable first, then the broker, then yes; never more waiting than is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.exceptions import ProducerSendError

from jianguan.clock import VirtualClock, to_millis
from jianguan.domain.case import Command
from jianguan.domain.ids import partition_of
from jianguan.embedded.journal import Journal
from jianguan.errors import InputError, UnavailableError
from jianguan.ports import RawEvent
from streams import gateway as module
from streams.elapsing import SETTLE_AFTER_MS
from streams.frames import COMMANDS
from streams.gateway import MAX_VALUE, WAITING_LIMIT, StreamGateway
from streams.headers import read_envelope
from streams.outbox import Outbox
from tests.streams.fakes import FakeApp, until

CLOCK = VirtualClock(datetime(2026, 11, 23, tzinfo=UTC))
NOW = to_millis(CLOCK.now())


class Diary:
    """A journal that only remembers, and can be told to fail."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.held: set[int] = set()
        self.failure: Exception | None = None
        self.next_sequence = 0

    async def append(self, records: Sequence[tuple[str, str, module.Headers, bytes, int]]) -> list[int]:
        if self.failure is not None:
            raise self.failure
        sequences = list(range(self.next_sequence, self.next_sequence + len(records)))
        self.next_sequence += len(records)
        self.held.update(sequences)
        self.log.append("journal")
        return sequences

    def release(self, sequences: Iterable[int]) -> None:
        self.held.difference_update(sequences)


def raw(number: int = 1, **changes: Any) -> RawEvent:
    values: dict[str, Any] = {
        "value": b"{}",
        "content_type": "application/json",
        "topic": "complaints",
        "key": f"key-{number}",
        **changes,
    }
    return RawEvent(**values)


def gateway(app: FakeApp, journal: Any = None, *, is_open: bool = True) -> StreamGateway:
    outbox = Outbox("p-", 4)
    outbox.attach(app)
    made = StreamGateway(outbox, CLOCK, 4, "process-1", journal)
    if is_open:
        made.open()
    return made


async def test_a_record_is_in_the_journal_before_the_broker_gets_it_and_held_until_the_broker_has_it() -> None:
    app, log = FakeApp(), []  # type: FakeApp, list[str]
    diary = Diary(log)
    app.producer.gate = asyncio.Event()
    task = asyncio.create_task(gateway(app, diary).submit([raw(1), raw(2)]))
    await until(lambda: log)
    assert app.producer.sent == []
    assert diary.held == {0, 1}
    app.producer.gate.set()
    receipts = await task
    assert diary.held == set()
    assert len(set(receipts)) == 2
    assert [read_envelope(sent.headers).receipt for sent in app.producer.sent] == receipts


async def test_a_record_carries_what_the_door_knows() -> None:
    app = FakeApp()
    event = raw(
        headers=(("ce_id", b"1"), ("cookie", b"x"), ("jg-receipt", b"forged")), submission="s-1", receipt="mine"
    )
    assert await gateway(app).submit([event]) == ["mine"]
    (sent,) = app.producer.sent
    assert sent.topic == "p-complaints"
    assert sent.partition == partition_of("key-1", 4)
    assert [name for name, _ in sent.headers] == ["ce_id", "content-type", "jg-receipt", "jg-received", "jg-submission"]
    assert read_envelope(sent.headers) == ("mine", NOW, "s-1", "application/json", False)


async def test_a_journal_that_refuses_keeps_the_record_from_the_broker() -> None:
    app, diary = FakeApp(), Diary([])
    diary.failure = UnavailableError("disk full")
    with pytest.raises(UnavailableError):
        await gateway(app, diary).submit([raw()])
    assert app.producer.sent == []


async def test_without_a_journal_a_refusing_broker_is_told_to_the_caller() -> None:
    app = FakeApp()
    app.producer.failures.append(KafkaTimeoutError())
    with pytest.raises(UnavailableError):
        await gateway(app).submit([raw()])


@pytest.mark.parametrize("at_once", [True, False])
async def test_without_a_journal_a_silent_broker_is_told_to_the_caller_when_patience_ends(
    monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Whether the client takes the record and the broker does not answer, or it does not even take it."""
    monkeypatch.setattr(module, "BROKER_PATIENCE", 0.01)
    app, never = FakeApp(), asyncio.Event()

    async def silent(*_: Any, **__: Any) -> Any:
        if at_once:
            await never.wait()
        return asyncio.get_running_loop().create_future()

    monkeypatch.setattr(app.producer, "send", silent)
    door = gateway(app)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="send them again"):
            await door.submit([raw()])
    assert door._waiting == 0


async def test_with_a_journal_a_refusing_broker_is_asked_again() -> None:
    app, diary = FakeApp(), Diary([])
    app.producer.failures += [KafkaTimeoutError(), KafkaTimeoutError()]
    app.producer.at_once += [ProducerSendError("its buffer is full")]
    await gateway(app, diary).submit([raw()])
    assert len(app.producer.sent) == 1
    assert diary.log == ["journal"]


async def test_a_shut_gateway_holds_records_and_refuses_when_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    app, diary = FakeApp(), Diary([])
    door = gateway(app, diary, is_open=False)
    task = asyncio.create_task(door.submit([raw()]))
    await asyncio.sleep(0)
    assert diary.log == []
    door.open()
    await task
    door.shut()
    monkeypatch.setattr(module, "BROKER_PATIENCE", 0.01)
    with pytest.raises(UnavailableError, match="not ready"):
        await door.submit([raw()])
    assert diary.log == ["journal"]


async def test_no_more_records_wait_than_the_limit() -> None:
    app = FakeApp()
    door = gateway(app, is_open=False)
    task = asyncio.create_task(door.submit([raw()] * WAITING_LIMIT))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too many"):
        await door.submit([raw()])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    door.open()
    assert len(await door.submit([raw()])) == 1


async def test_a_caller_that_goes_away_holds_nothing() -> None:
    app, diary = FakeApp(), Diary([])
    app.producer.gate = asyncio.Event()
    task = asyncio.create_task(gateway(app, diary).submit([raw()]))
    await until(lambda: diary.held)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert diary.held == set()


async def test_a_command_goes_to_the_partition_of_its_case() -> None:
    app = FakeApp()
    command = Command("cm-1", "case-key", "ta-1", "accept", "somebody", "", NOW)
    await gateway(app).command(command)
    (sent,) = app.producer.sent
    assert (sent.topic, sent.partition) == ("p-commands", partition_of("case-key", 4))
    assert COMMANDS.decode(sent.value) == [command]


async def test_a_record_that_no_broker_takes_is_refused_at_the_door() -> None:
    diary = Diary([])
    with pytest.raises(InputError, match="at most"):
        await gateway(FakeApp(), diary).submit([raw(value=b"x" * (MAX_VALUE + 1))])
    assert diary.log == []


async def test_text_that_is_no_unicode_is_refused_or_replaced_before_it_reaches_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    door = gateway(FakeApp(), journal)
    assert len(await door.submit([raw(key="\ud800")])) == 1
    with pytest.raises(InputError):
        await door.command(Command("cm-1", "k", "ta-1", "report", "a", "\ud800", NOW))
    assert [entry.key for entry in journal.entries()] == ["?"]
    journal.close()


async def test_receipts_differ_between_processes() -> None:
    outbox = Outbox("", 1)
    outbox.attach(FakeApp())
    doors = [StreamGateway(outbox, CLOCK, 1, unique) for unique in ("a", "b")]
    for door in doors:
        door.open()
    receipts = [receipt for door in doors for receipt in await door.submit([raw()] * 50)]
    assert len(set(receipts)) == 100


async def test_the_outbox_knows_where_topics_end_by_what_was_acknowledged() -> None:
    outbox = Outbox("p-", 2)
    app = FakeApp()
    outbox.attach(app)
    door = StreamGateway(outbox, CLOCK, 2, "x")
    door.open()
    await door.submit([raw(number) for number in range(10)])
    assert sum(outbox.ends.values()) == 10
    assert {topic for topic, _ in outbox.ends} == {"complaints"}
    outbox.attach(None)
    assert outbox.ends == {}
    with pytest.raises(UnavailableError):
        await door.submit([raw()])


async def test_whoever_settles_hears_of_a_failing_broker_as_unavailable() -> None:
    app = FakeApp()
    outbox = Outbox("", 1)
    outbox.attach(app)
    door = StreamGateway(outbox, CLOCK, 1, "x")
    app.producer.failures.append(KafkaTimeoutError())
    queued = [await door.replay("complaints", "k", (), b"{}") for _ in range(2)]
    with pytest.raises(UnavailableError):
        await outbox.settle(queued)


async def test_the_clock_hears_of_what_waits_at_a_shut_door_until_the_stages_had_time_for_it() -> None:
    clock = VirtualClock(CLOCK.now())
    outbox = Outbox("", 1)
    outbox.attach(FakeApp())
    door = StreamGateway(outbox, clock, 1, "x", Diary([]))
    assert door.oldest_waiting() is None
    first = asyncio.create_task(door.submit([raw(1)]))
    await asyncio.sleep(0)
    clock.advance(timedelta(seconds=3))
    second = asyncio.create_task(door.submit([raw(2)]))
    await asyncio.sleep(0)
    clock.advance(timedelta(seconds=7))
    assert door.oldest_waiting() == NOW
    door.open()
    await asyncio.gather(first, second)
    clock.advance(timedelta(milliseconds=SETTLE_AFTER_MS - 1))
    assert door.oldest_waiting() == NOW
    clock.advance(timedelta(milliseconds=2))
    assert door.oldest_waiting() is None
    await door.submit([raw(3)])  # at once
    assert door.oldest_waiting() is None


async def test_what_the_broker_does_not_take_yet_waits_too_and_so_does_a_command() -> None:
    clock, app = VirtualClock(CLOCK.now()), FakeApp()
    app.producer.gate = asyncio.Event()
    outbox = Outbox("", 1)
    outbox.attach(app)
    door = StreamGateway(outbox, clock, 1, "x")
    door.open()
    task = asyncio.create_task(door.command(Command("cm-1", "case-key", "ta-1", "accept", "somebody", "", 7)))
    await asyncio.sleep(0)
    assert door.oldest_waiting() == NOW
    clock.advance(timedelta(seconds=60))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert door.oldest_waiting() == NOW


async def test_what_had_to_wait_is_not_kept_for_ever_where_nobody_asks() -> None:
    clock = VirtualClock(CLOCK.now())
    outbox = Outbox("", 1)
    outbox.attach(FakeApp())
    door = StreamGateway(outbox, clock, 1, "x", Diary([]))
    for number in range(20):
        door.shut()
        waiting = asyncio.create_task(door.submit([raw(number)]))
        await asyncio.sleep(0)
        clock.advance(timedelta(milliseconds=SETTLE_AFTER_MS))
        door.open()
        await waiting
    assert len(door._lately) == 1
