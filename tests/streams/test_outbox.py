"""Records go by hand where they are taken, and over the topic where they are not; nothing goes both ways."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from faust.exceptions import NotReady, ProducerSendError

from jianguan.columns import Columns
from jianguan.domain.trace import Records, Step
from jianguan.errors import UnavailableError
from streams.frames import RECORDS
from streams.outbox import Outbox
from streams.topics import TopicName
from tests.streams.fakes import FakeApp

ROW = Step("st-1", "s", 0, 1, "x", "system", "", "", (), "")


class Hand:
    """The record stage of the same process."""

    def __init__(self, takes: bool) -> None:
        self.takes = takes
        self.taken: list[Records | Columns] = []

    async def take(self, records: Records | Columns) -> bool:
        if self.takes:
            self.taken.append(records)
        return self.takes


@pytest.fixture
def app() -> FakeApp:
    return FakeApp()


def outbox(app: FakeApp, hand: Hand | None = None) -> Outbox:
    made = Outbox("p-", 2, None if hand is None else hand.take)
    made.attach(app)
    return made


@pytest.mark.parametrize("records", [Records(trace=[ROW]), Columns.of(Records(trace=[ROW]))])
async def test_what_is_taken_by_hand_goes_over_no_topic(app: FakeApp, records: Records | Columns) -> None:
    hand = Hand(takes=True)
    out = outbox(app, hand)
    await out.settle(await out.records(records))
    assert hand.taken == [records]
    assert app.producer.sent == []
    assert out.ends == {}


@pytest.mark.parametrize("hand", [None, Hand(takes=False)])
async def test_what_is_not_taken_by_hand_is_spread_over_the_topic(app: FakeApp, hand: Hand | None) -> None:
    out, row = outbox(app, hand), Records(trace=[ROW])
    for _ in range(3):
        await out.settle(await out.records(row))
    await out.settle(await out.records(Columns.of(row)))
    assert [sent.topic for sent in app.producer.sent] == ["p-records"] * 4
    assert [sent.partition for sent in app.producer.sent] == [1, 0, 1, 0]
    found = [RECORDS.decode(sent.value) for sent in app.producer.sent]
    assert [each.records() if isinstance(each, Columns) else each for each in found] == [row] * 4
    assert out.ends == {("records", 0): 2, ("records", 1): 2}


async def test_nothing_is_neither_handed_over_nor_sent(app: FakeApp) -> None:
    hand = Hand(takes=True)
    out = outbox(app, hand)
    assert await out.records(Records()) == []
    assert await out.records(Columns({})) == []
    await out.emit(Records())
    assert hand.taken == []
    assert app.producer.sent == []


async def test_records_are_taken_by_hand_while_there_is_no_broker() -> None:
    hand = Hand(takes=True)
    out = Outbox("", 1, hand.take)
    await out.emit(Records(trace=[ROW]))
    assert hand.taken == [Records(trace=[ROW])]
    hand.takes = False
    with pytest.raises(UnavailableError, match="the broker is being restarted"):
        await out.emit(Records(trace=[ROW]))


async def test_a_broker_that_does_not_take_a_record_is_named(app: FakeApp) -> None:
    app.producer.failures.append(KafkaConnectionError())
    with pytest.raises(UnavailableError, match="the broker did not take a record: KafkaConnectionError"):
        await outbox(app).emit(Records(trace=[ROW]))


@pytest.mark.parametrize("error", [ProducerSendError("after 40 s"), NotReady(), KafkaTimeoutError()])
async def test_a_record_that_cannot_even_be_queued_is_one_that_the_broker_did_not_take(
    app: FakeApp, error: Exception
) -> None:
    app.producer.at_once += [error] * 2
    with pytest.raises(UnavailableError, match="the broker did not take a record: "):
        await outbox(app).emit(Records(trace=[ROW]))
    with pytest.raises(UnavailableError, match="the broker did not take a record: "):
        await outbox(app).raw(TopicName.FACTS, "k", b"", (), 0)
