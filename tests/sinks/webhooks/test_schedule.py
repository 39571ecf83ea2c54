"""The schedule of deliveries, by example."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from jianguan.clock import to_millis
from jianguan.errors import InputError
from sinks.webhooks.retry import Outcome, OutcomeKind, RetryPolicy
from sinks.webhooks.schedule import DeliveryRow, DeliverySchedule, TransitionKind

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OK = Outcome(OutcomeKind.DELIVERED, 200)
FAIL = Outcome(OutcomeKind.RETRY, 500, "answered 500")
GONE = Outcome(OutcomeKind.GONE, 410, "answered 410")


def schedule(remember: int = 100, *delays: int) -> DeliverySchedule:
    policy = RetryPolicy(tuple(timedelta(seconds=delay) for delay in delays or (10, 20)), jitter=0)
    return DeliverySchedule(policy, random.Random(0), remember)


def ids(pending: DeliverySchedule, now: datetime = NOW, per: int = 2, limit: int | None = None) -> list[str]:
    return [item.delivery_id for item in pending.due(now, per, limit)]


def test_a_delivery_is_due_at_its_time_and_taken_once() -> None:
    pending = schedule()
    assert pending.add("d1", "r", NOW + SECOND, "body")
    assert pending.next_due(2) == NOW + SECOND
    assert ids(pending) == []
    (item,) = pending.due(NOW + SECOND, 2)
    assert (item.delivery_id, item.receiver_id, item.attempt, item.body) == ("d1", "r", 1, "body")
    assert ids(pending, NOW + SECOND) == []
    assert pending.next_due(2) is None
    assert pending.in_flight() == {"r": 1}
    assert pending.row("d1").state == "pending"


def test_adding_a_known_id_changes_nothing() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "one")
    assert not pending.add("d1", "r", NOW - SECOND, "two")
    (item,) = pending.due(NOW, 2)
    assert item.body == "one"
    assert not pending.add("d1", "r", NOW, "one")
    pending.record("d1", OK, NOW)
    assert not pending.add("d1", "r", NOW, "one")
    assert ids(pending) == []
    assert len(pending) == 0


def test_an_id_cannot_move_to_another_receiver() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    with pytest.raises(InputError, match="another receiver"):
        pending.add("d1", "other", NOW, "")


def test_success_ends_a_delivery() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    ids(pending)
    done = pending.record("d1", OK, NOW)
    assert done.kind is TransitionKind.DELIVERED
    assert done.row == DeliveryRow("d1", "r", "delivered", 1, to_millis(NOW), 200, "")
    assert pending.next_due(2) is None


def test_failures_follow_the_policy_until_the_letter_is_dead() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    now = NOW
    for attempt, delay in ((1, 10), (2, 20)):
        assert [item.attempt for item in pending.due(now, 2)] == [attempt]
        again = pending.record("d1", FAIL, now)
        now += delay * SECOND
        assert again.kind is TransitionKind.RESCHEDULED
        assert again.row == DeliveryRow("d1", "r", "pending", attempt, to_millis(now), 500, "answered 500")
        assert ids(pending, now - SECOND) == []
        assert pending.next_due(2) == now
    assert ids(pending, now) == ["d1"]
    dead = pending.record("d1", FAIL, now)
    assert (dead.kind, dead.row.state, dead.row.attempt) == (TransitionKind.DEAD, "dead", 3)
    assert pending.next_due(2) is None


def test_an_outcome_that_is_reported_twice_counts_once() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    ids(pending)
    pending.record("d1", FAIL, NOW)
    assert pending.record("d1", FAIL, NOW).kind is TransitionKind.UNCHANGED
    assert pending.row("d1").attempt == 1
    assert pending.in_flight() == {}


def test_an_outcome_for_nobody_is_an_error() -> None:
    with pytest.raises(InputError, match="no delivery"):
        schedule().record("d1", OK, NOW)


def test_a_receiver_has_at_most_its_number_in_flight() -> None:
    pending = schedule()
    for name in ("d1", "d2", "d3"):
        pending.add(name, "r", NOW, "")
    assert ids(pending) == ["d1", "d2"]
    assert ids(pending) == []
    assert pending.next_due(2) is None
    pending.record("d1", OK, NOW)
    assert pending.next_due(2) == NOW
    assert ids(pending) == ["d3"]


def test_receivers_take_turns_whatever_the_length_of_their_queues() -> None:
    pending = schedule()
    for number in range(100):
        pending.add(f"a{number:02}", "a", NOW - SECOND, "")
    pending.add("b0", "b", NOW, "")
    pending.add("c0", "c", NOW, "")
    assert ids(pending, per=50, limit=4) == ["a00", "b0", "c0", "a01"]
    pending.add("b1", "b", NOW, "")
    assert ids(pending, per=50, limit=1) == ["b1"]
    assert ids(pending, per=50, limit=1) == ["a02"]


def test_a_receiver_that_fails_and_fails_is_probed_one_at_a_time_until_it_answers() -> None:
    pending = schedule(100, 1, 1, 1)
    for number in range(12):
        pending.add(f"d{number:02}", "r", NOW, "")
    for name in ids(pending, per=5):
        pending.record(name, FAIL, NOW)
    assert len(ids(pending, per=5)) == 1
    assert pending.next_due(5) is None
    pending.record("d05", OK, NOW)
    assert len(ids(pending, per=5)) == 5


def test_retry_after_holds_the_whole_receiver_and_nobody_else() -> None:
    pending = schedule()
    for name, receiver in (("d1", "r"), ("d2", "r"), ("e1", "s")):
        pending.add(name, receiver, NOW, "")
    assert ids(pending, limit=1) == ["d1"]
    asked = Outcome(OutcomeKind.RETRY, 429, retry_after=timedelta(seconds=60))
    pending.record("d1", asked, NOW)
    assert ids(pending) == ["e1"]
    assert pending.next_due(2) == NOW + 60 * SECOND
    assert ids(pending, NOW + 60 * SECOND) == ["d2", "d1"]


def test_gone_disables_the_receiver_and_loses_nothing() -> None:
    pending = schedule()
    for name, receiver in (("d1", "r"), ("d2", "r"), ("e1", "s")):
        pending.add(name, receiver, NOW, "")
    assert ids(pending, limit=1) == ["d1"]
    gone = pending.record("d1", GONE, NOW)
    assert gone.kind is TransitionKind.RECEIVER_DISABLED
    assert (gone.row.state, gone.row.last_status) == ("disabled", 410)
    assert [(row.delivery_id, row.state) for row in gone.held] == [("d2", "disabled")]
    assert pending.is_disabled("r")
    pending.add("d3", "r", NOW, "")
    assert pending.row("d3").state == "disabled"
    assert ids(pending) == ["e1"]
    assert pending.next_due(2) is None
    assert [row.state for row in pending.enable("r")] == ["pending"] * 3
    assert ids(pending, per=9) == ["d2", "d1", "d3"]


def test_a_delivery_in_flight_when_its_receiver_is_disabled_still_ends() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    ids(pending)
    pending.disable("r")
    assert pending.record("d1", OK, NOW).row.state == "delivered"


def test_what_was_taken_but_not_tried_is_given_back_without_counting() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    ids(pending)
    assert pending.release("d1").attempt == 0
    assert pending.in_flight() == {}
    assert ids(pending) == ["d1"]


def test_a_dead_letter_can_be_sent_again_with_all_its_attempts() -> None:
    pending = schedule(100, 10)
    pending.add("d1", "r", NOW, "body")
    for moment in (NOW, NOW + 10 * SECOND):
        ids(pending, moment)
        pending.record("d1", FAIL, moment)
    assert pending.row("d1").state == "dead"
    later = NOW + 60 * SECOND
    assert pending.redeliver("d1", later).attempt == 0
    (item,) = pending.due(later, 2)
    assert (item.attempt, item.body) == (1, "body")


def test_a_delivered_one_is_sent_again_once_its_body_is_back() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "body")
    ids(pending)
    pending.record("d1", OK, NOW)
    pending.redeliver("d1", NOW)
    assert ids(pending) == []
    pending.add("d1", "r", NOW, "body")
    assert ids(pending) == ["d1"]
    pending.record("d1", OK, NOW)
    pending.redeliver("d1", NOW, "body")
    assert ids(pending) == ["d1"]


def test_redelivering_brings_a_waiting_one_forward_and_leaves_one_in_flight_alone() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW + 60 * SECOND, "")
    pending.redeliver("d1", NOW)
    pending.redeliver("d1", NOW)
    assert ids(pending) == ["d1"]
    pending.redeliver("d1", NOW)
    assert ids(pending) == []
    pending.record("d1", OK, NOW)
    assert ids(pending, NOW + 60 * SECOND) == []


def test_the_time_that_a_redelivery_replaced_counts_no_more() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW + 5 * SECOND, "")
    pending.redeliver("d1", NOW)
    ids(pending, per=1)
    pending.record("d1", FAIL, NOW)
    assert pending.next_due(1) == NOW + 10 * SECOND
    assert ids(pending, NOW + 5 * SECOND) == []
    assert ids(pending, NOW + 10 * SECOND) == ["d1"]


def test_redelivering_an_overdue_one_keeps_its_place() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW - SECOND, "old")
    assert pending.redeliver("d1", NOW, "new").due_at_ms == to_millis(NOW - SECOND)
    (item,) = pending.due(NOW, 2)
    assert item.body == "new"


def test_finished_deliveries_are_forgotten_beyond_the_bound_oldest_first() -> None:
    pending = schedule(2)
    for number in range(3):
        pending.add(f"d{number}", "r", NOW, "")
        ids(pending)
        pending.record(f"d{number}", OK, NOW)
    assert "d0" not in pending
    assert "d1" in pending
    assert "d2" in pending


def test_after_a_restart_rows_and_bodies_together_give_the_same_schedule() -> None:
    rows = [
        DeliveryRow("d1", "r", "pending", 0, to_millis(NOW)),
        DeliveryRow("d1", "r", "pending", 1, to_millis(NOW + 10 * SECOND), 500, "answered 500"),
        DeliveryRow("d2", "r", "delivered", 1, to_millis(NOW), 200),
        DeliveryRow("d3", "r", "dead", 3, to_millis(NOW), 500),
        DeliveryRow("e1", "s", "disabled", 0, to_millis(NOW)),
        DeliveryRow("t1", "t", "disabled", 0, to_millis(NOW)),
    ]
    pending = schedule()
    pending.restore(rows, disabled=["s"])
    assert ids(pending, NOW + 60 * SECOND) == []
    for row in rows:
        assert not pending.add(row.delivery_id, row.receiver_id, NOW, "body")
    assert ids(pending) == ["t1"]
    (item,) = pending.due(NOW + 10 * SECOND, 2)
    assert (item.delivery_id, item.attempt) == ("d1", 2)
    assert (pending.row("d2").state, pending.row("d3").state) == ("delivered", "dead")
    assert pending.row("e1").state == "disabled"
    assert len(pending) == 3


def test_a_body_that_comes_twice_after_a_restart_is_sent_once() -> None:
    pending = schedule()
    pending.restore([DeliveryRow("d1", "r", "pending", 0, to_millis(NOW))])
    pending.add("d1", "r", NOW, "")
    pending.add("d1", "r", NOW, "")
    assert ids(pending) == ["d1"]
    assert ids(pending) == []


def test_only_an_empty_schedule_is_restored() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "")
    with pytest.raises(ValueError, match="before anything"):
        pending.restore([])


def test_a_body_is_not_in_a_repr() -> None:
    pending = schedule()
    pending.add("d1", "r", NOW, "personal")
    assert "personal" not in repr(pending.due(NOW, 1))
