"""The schedule against a naive one: nothing is lost, nothing is sent twice at once, restarts included."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jianguan.clock import from_millis, to_millis
from sinks.webhooks.retry import Outcome, OutcomeKind, RetryPolicy
from sinks.webhooks.schedule import FAILURES_BEFORE_PROBING, DeliverySchedule

START = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetryPolicy((timedelta(seconds=3), timedelta(seconds=7)), jitter=0, retry_after_max=timedelta(seconds=20))
RECEIVERS = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(list(OutcomeKind))


@dataclass
class Naive:
    """One delivery as a person would write it down."""

    receiver: str
    due: int
    attempt: int = 0
    state: str = "pending"
    flying: bool = False
    body: str | None = ""


class ScheduleMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.schedule = DeliverySchedule(POLICY, random.Random(0), 10_000)
        self.naive: dict[str, Naive] = {}
        self.now = START
        self.disabled: set[str] = set()
        self.failures = dict.fromkeys("abc", 0)
        self.wait = dict.fromkeys("abc", 0)

    def waiting(self, receiver: str) -> list[int]:
        """Due times, sorted, of what this receiver's lane may take."""
        return sorted(
            item.due
            for item in self.naive.values()
            if item.receiver == receiver and item.state == "pending" and not item.flying and item.body is not None
        )

    def allowance(self, receiver: str, limit: int) -> int:
        flying = sum(item.flying for item in self.naive.values() if item.receiver == receiver)
        cap = 1 if self.failures[receiver] >= FAILURES_BEFORE_PROBING else limit
        return 0 if receiver in self.disabled else max(0, min(cap, limit) - flying)

    @rule(number=st.integers(0, 25), receiver=RECEIVERS, delay=st.integers(-5, 15))
    def add(self, number: int, receiver: str, delay: int) -> None:
        name = f"{receiver}{number}"
        due = self.now + timedelta(seconds=delay)
        fresh = self.schedule.add(name, receiver, due, name)
        assert fresh == (name not in self.naive)
        if fresh:
            self.naive[name] = Naive(receiver, to_millis(due), body=name)
        elif self.naive[name].state == "pending" and self.naive[name].body is None:
            self.naive[name].body = name

    @rule(seconds=st.integers(0, 30))
    def advance(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(per=st.integers(1, 3), limit=st.none() | st.integers(0, 5))
    def take(self, per: int, limit: int | None) -> None:
        now = to_millis(self.now)
        possible = {
            receiver: [due for due in self.waiting(receiver) if due <= now and self.wait[receiver] <= now][
                : self.allowance(receiver, per)
            ]
            for receiver in "abc"
        }
        taken = self.schedule.due(self.now, per, limit)
        total = sum(map(len, possible.values()))
        assert len(taken) == (total if limit is None else min(total, limit))
        counts = {receiver: [t for t in taken if t.receiver_id == receiver] for receiver in "abc"}
        for receiver, items in counts.items():
            dues = [self.naive[item.delivery_id].due for item in items]
            assert dues == possible[receiver][: len(dues)]
            # Fair: nobody gets two more than a receiver that still had something to take.
            for other, others in counts.items():
                if len(others) < len(possible[other]):
                    assert len(items) <= len(others) + 1
        for item in taken:
            known = self.naive[item.delivery_id]
            assert not known.flying
            assert item.attempt == known.attempt + 1
            assert item.body == item.delivery_id
            known.flying = True

    @precondition(lambda self: any(item.flying for item in self.naive.values()))
    @rule(data=st.data(), kind=KINDS, retry_after=st.none() | st.integers(0, 40))
    def outcome(self, data: st.DataObject, kind: OutcomeKind, retry_after: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, item in self.naive.items() if item.flying)))
        asked = None if retry_after is None else timedelta(seconds=retry_after)
        transition = self.schedule.record(name, Outcome(kind, 0, "", asked), self.now)
        item = self.naive[name]
        item.flying = False
        item.attempt += 1
        if kind is OutcomeKind.DELIVERED:
            item.state, item.body = "delivered", None
            self.failures[item.receiver] = 0
        elif kind is OutcomeKind.GONE:
            item.due = to_millis(self.now)
            self.disabled.add(item.receiver)
        else:
            self.failures[item.receiver] += 1
            bounded = min(retry_after or 0, 20)
            if retry_after is not None:
                until = to_millis(self.now) + bounded * 1000
                self.wait[item.receiver] = max(self.wait[item.receiver], until)
            if item.attempt > len(POLICY.delays):
                item.state = "dead"
            else:
                item.due = to_millis(self.now) + max((3, 7)[item.attempt - 1], bounded) * 1000
        assert transition.row == self.schedule.row(name)

    @precondition(lambda self: bool(self.naive))
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.naive)))
        self.schedule.redeliver(name, self.now)
        item = self.naive[name]
        if item.flying:
            return
        if item.state == "pending":
            item.due = min(item.due, to_millis(self.now))
        else:
            item.state, item.attempt, item.due = "pending", 0, to_millis(self.now)

    @precondition(lambda self: any(item.flying for item in self.naive.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, item in self.naive.items() if item.flying)))
        self.schedule.release(name)
        self.naive[name].flying = False

    @rule(receiver=RECEIVERS)
    def enable(self, receiver: str) -> None:
        self.schedule.enable(receiver)
        self.disabled.discard(receiver)
        self.failures[receiver] = self.wait[receiver] = 0

    @rule()
    def restart(self) -> None:
        rows = [self.schedule.row(name) for name in self.naive]
        self.schedule = DeliverySchedule(POLICY, random.Random(0), 10_000)
        self.schedule.restore(rows, self.disabled)
        for item in self.naive.values():
            item.flying, item.body = False, None
        self.failures, self.wait = dict.fromkeys("abc", 0), dict.fromkeys("abc", 0)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.schedule) == sum(item.state == "pending" for item in self.naive.values())
        for name, item in self.naive.items():
            row = self.schedule.row(name)
            state = "disabled" if item.state == "pending" and item.receiver in self.disabled else item.state
            assert (row.state, row.attempt, row.due_at_ms) == (state, item.attempt, item.due)

    @invariant()
    def the_timer_knows_the_next_moment(self) -> None:
        moments = [
            max(self.waiting(receiver)[0], self.wait[receiver])
            for receiver in "abc"
            if self.waiting(receiver) and self.allowance(receiver, 2)
        ]
        expected = from_millis(min(moments)) if moments else None
        assert self.schedule.next_due(2) == expected

    def teardown(self) -> None:
        """With receivers that take everything, all that was added is delivered or dead in the end."""
        for receiver in "abc":
            self.schedule.enable(receiver)
        for name in [n for n, item in self.naive.items() if item.flying]:
            self.schedule.release(name)
        for name, item in self.naive.items():
            self.schedule.add(name, item.receiver, self.now, name)
        while (moment := self.schedule.next_due(2)) is not None:
            self.now = max(self.now, moment)
            for taken in self.schedule.due(self.now, 2):
                self.schedule.record(taken.delivery_id, Outcome(OutcomeKind.DELIVERED, 200), self.now)
        assert all(self.schedule.row(name).state in ("delivered", "dead") for name in self.naive)
        assert len(self.schedule) == 0


TestScheduleAgainstNaive = ScheduleMachine.TestCase
TestScheduleAgainstNaive.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
