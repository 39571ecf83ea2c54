"""Runs deliveries: takes notices, sends what is due, and tells what became of it as records.

Ties the schedule (what is due) to the sender (one attempt). It must not know topics or the store: rows leave through
`emit`, and come back through `restore` after a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final, Protocol

import msgspec

from jianguan.clock import Clock, from_millis, to_millis
from jianguan.domain.delivery import Delivery, Notice
from jianguan.domain.ids import make_id
from jianguan.domain.trace import STAGES, Records, Step
from jianguan.errors import InputError, JianguanError, UnavailableError
from jianguan.metrics import Metrics
from sinks.webhooks.receivers import Receiver
from sinks.webhooks.retry import GONE_STATUS, Outcome, OutcomeKind
from sinks.webhooks.schedule import DeliveryRow, DeliverySchedule, DueDelivery, TransitionKind

log = logging.getLogger(__name__)

REDELIVER: Final = "redeliver"  # kind of a notice that asks for a known delivery, which is its body as JSON
PER_RECEIVER: Final = 8
IN_FLIGHT: Final = 256  # so many that thirty receivers that take their time hold up nobody else
FINISHED: Final = 10_000  # deliveries that can be told again once they are through
RETRY_PAUSE: Final = 1.0  # seconds
IDLE: Final = 0.5  # seconds; also how late a changed schedule is noticed when nobody wakes the desk
POLL: Final = 0.05  # seconds; while it is not known whether what is here is still this worker's


def _always() -> bool:
    return True


class Sender(Protocol):
    """One attempt."""

    async def send(self, receiver: Receiver, delivery_id: str, body: bytes) -> Outcome: ...


class DeliveryDesk:
    """All deliveries of this worker. Use it from one event loop."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        schedule: DeliverySchedule,
        sender: Sender,
        clock: Clock,
        emit: Callable[[Records], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._receivers = {receiver.id: receiver for receiver in receivers}
        self._schedule = schedule
        self._sender = sender
        self._clock = clock
        self._emit = emit
        self._metrics = metrics
        self._open: dict[str, Delivery] = {}
        self._finished: dict[str, Delivery] = {}  # the last ones, oldest first
        # What became of those of both that changed lately: who is told the state is told how it came about.
        self._steps: dict[str, list[Step]] = {}
        self._untold: dict[str, Records] = {}  # what became of these, which is being handed over
        self._owns = _always
        self._wake = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._open)

    def restore(self, deliveries: Iterable[Delivery], finished: Iterable[tuple[str, str]] = ()) -> None:
        """Take up what the store says is not finished; due times hold, so a restart shortens no back-off.

        A receiver that answered 410 stays disabled, and so does one that the configuration disables. What was held only
        because the configuration did so before is sent. What is for a receiver that is configured no more is left out.
        `finished` are (delivery, receiver) of recent ones that are: told of again, they are not sent again.
        """
        deliveries = list(deliveries)
        pending = {delivery.id for delivery in deliveries}  # also one that was finished before and is sent again
        for identifier, receiver_id in finished:
            if identifier not in pending:
                self._schedule.remember(identifier, receiver_id)
        for delivery in deliveries:
            receiver = self._receivers.get(delivery.receiver)
            if receiver is not None and delivery.id not in self._open:
                finished_here = self._finished.get(delivery.id)
                if finished_here is not None and finished_here.revision > delivery.revision:
                    continue  # that it is finished is still being told
                self._finished.pop(delivery.id, None)
                self._steps.pop(delivery.id, None)
                self._open[delivery.id] = delivery
                self._schedule.forget(delivery.id)  # known as finished here, and asked for again elsewhere since
                self._schedule.add(
                    delivery.id,
                    delivery.receiver,
                    from_millis(delivery.due_at),
                    delivery.body,
                    delivery.attempt,
                )
                if delivery.state == "disabled" and (receiver.disabled or delivery.last_status == GONE_STATUS):
                    self._schedule.disable(receiver.id)
        self._wake.set()

    def keep_only(self, ours: Callable[[str], bool]) -> None:
        """Give up the deliveries of departments that are not `ours` any more: another worker has restored them. An
        attempt under way ends, and nothing is told of it, nor of one that ended and that nobody has taken down yet."""
        for delivery in [each for each in self._open.values() if not ours(each.department)]:
            del self._open[delivery.id]
            self._steps.pop(delivery.id, None)
            self._schedule.forget(delivery.id)
        for identifier, records in list(self._untold.items()):
            if not ours(records.deliveries[0].department):  # all are for one receiver
                del self._untold[identifier]
                if self._finished.pop(identifier, None) is not None:
                    self._steps.pop(identifier, None)
                    self._schedule.forget(identifier)
        for receiver in self._receivers.values():
            if not ours(receiver.department):
                self._schedule.enable(receiver.id)  # whether it is disabled is told with what is restored next time

    def accept(self, notices: Iterable[Notice]) -> Records:
        """Schedule each notice for the receivers of its department; what is to be recorded of that."""
        records = Records()
        now = to_millis(self._clock.now())
        for notice in notices:
            if notice.kind == REDELIVER:
                self._again(msgspec.json.decode(notice.body, type=Delivery), now, records)
                continue
            receivers = [each for each in self._receivers.values() if each.department == notice.department]
            if not receivers:
                detail = json.dumps({"department": notice.department, "kind": notice.kind}, separators=(",", ":"))
                records.trace.append(_step(notice.about, "no-receiver", now, notice.id, (), detail))
            for receiver in receivers:
                self._accept(notice, receiver, now, records)
        self._wake.set()
        return records

    def told(self) -> Records:
        """What was told lately of attempts and redeliveries, to be told again when a broker has gone with what the
        store did not have: nothing that is read again leads to it."""
        records = Records()
        for identifier in self._steps:
            if identifier not in self._untold:  # else it is being told
                self._tell_again(identifier, records)
        return records

    async def redeliver(self, known: Delivery) -> None:
        """Send `known` (as the store has it) again, now, with its old id, and all that is held for its receiver if that
        is disabled. InputError when its receiver is not configured any more."""
        if known.receiver not in self._receivers:
            raise InputError(
                "unknown-receiver", f"the receiver {known.receiver} is not configured any more", "receiver"
            )
        records = Records()
        self._again(known, to_millis(self._clock.now()), records)
        await self._emit(records)
        self._wake.set()

    async def run(self, owns: Callable[[], bool] = _always) -> None:
        """Send what is due until cancelled; then attempts under way are given up and count as not made.

        While `owns` says that the deliveries may be another worker's, nothing is begun and nothing is told: what that
        one recorded would seem undone. Before it says otherwise, `keep_only` has given up those that went. A request
        that was on its way when this process was stopped still arrives: its id makes that harmless.
        """
        self._owns = owns
        try:
            while True:
                self._wake.clear()
                free = IN_FLIGHT - len(self._attempts) if self._owns() else 0
                for due in self._schedule.due(self._clock.now(), PER_RECEIVER, free) if free > 0 else ():
                    task = asyncio.create_task(self._attempt(due))
                    self._attempts.add(task)
                    task.add_done_callback(self._done)
                self._metrics.pending_deliveries.set(len(self._open))
                await self._wait()
        finally:
            for task in self._attempts:
                task.cancel()
            await asyncio.gather(*self._attempts, return_exceptions=True)

    def _again(self, known: Delivery, now: int, records: Records) -> None:
        if known.receiver not in self._receivers:
            records.trace.append(_step(known.id, "no-receiver", now, str(known.revision), (known.about,), ""))
            return
        held = self._schedule.enable(known.receiver)
        if known.id in self._schedule:
            self._schedule.redeliver(known.id, from_millis(now), known.body)
        else:
            self._schedule.add(known.id, known.receiver, from_millis(now), known.body)
        # What the store has may be older than what is known here.
        newest = self._open.get(known.id) or self._finished.pop(known.id, known)
        self._asked(known._replace(revision=max(known.revision, newest.revision)), now, records)
        for row in held:
            other = self._open.get(row.delivery_id)
            if other is not None and other.state == "disabled":
                self._asked(other, now, records)

    def _asked(self, delivery: Delivery, now: int, records: Records) -> None:
        row = self._schedule.row(delivery.id)
        after = delivery._replace(
            state=row.state, attempt=row.attempt, due_at=row.due_at_ms, updated_at=now, revision=delivery.revision + 1
        )
        self._open[after.id] = after
        records.deliveries.append(after)
        self._note(_step(after.id, "redelivery-asked", now, str(after.revision), (after.about,), ""), records)

    def _accept(self, notice: Notice, receiver: Receiver, now: int, records: Records) -> None:
        identifier = make_id("dl", notice.id, receiver.id)
        if not self._schedule.add(identifier, receiver.id, from_millis(now), notice.body):
            self._tell_again(identifier, records)
            return
        delivery = Delivery(
            id=identifier,
            notice=notice.id,
            receiver=receiver.id,
            department=notice.department,
            kind=notice.kind,
            about=notice.about,
            case=notice.case,
            state=self._schedule.row(identifier).state,  # held when its receiver is disabled
            attempt=0,
            due_at=now,
            created_at=now,
            updated_at=now,
            received_at=notice.received_at,
            last_status=0,
            last_detail="",
            body=notice.body,
            revision=1,
        )
        self._open[identifier] = delivery
        records.deliveries.append(delivery)

    def _tell_again(self, identifier: str, records: Records) -> None:
        """The first telling may not be stored. Never without its steps: what is finished in the store is not sent
        again, and nobody would tell how it ended."""
        if identifier in self._untold:
            records.extend(self._untold[identifier])
        elif (known := self._open.get(identifier) or self._finished.get(identifier)) is not None:
            records.deliveries.append(known)
            records.trace.extend(self._steps.get(identifier, ()))

    def _note(self, step: Step, records: Records) -> None:
        steps = self._steps[step.subject] = self._steps.pop(step.subject, [])
        steps.append(step)
        records.trace.append(step)
        if len(self._steps) > FINISHED:  # a receiver may be down for days, and what became of its deliveries is stored
            del self._steps[next(iter(self._steps))]

    async def _wait(self) -> None:
        timeout = IDLE
        due = self._schedule.next_due(PER_RECEIVER)
        if due is not None and len(self._attempts) < IN_FLIGHT and self._owns():
            timeout = min(IDLE, max(0.0, (due - self._clock.now()) / timedelta(seconds=1)))
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _attempt(self, due: DueDelivery) -> None:
        try:
            outcome = await self._outcome(due)
            await self._until_owned()
        except asyncio.CancelledError:
            self._schedule.release(due.delivery_id)
            raise
        await self._settle(due, outcome)

    async def _outcome(self, due: DueDelivery) -> Outcome:
        try:
            return await self._sender.send(self._receivers[due.receiver_id], due.delivery_id, due.body.encode())
        except JianguanError as error:
            return Outcome(OutcomeKind.RETRY, detail=str(error))
        except Exception as error:  # recorded as the attempt's outcome: one delivery must not stop the others
            log.exception("an attempt failed in an unforeseen way: %s", due.delivery_id)
            return Outcome(OutcomeKind.RETRY, detail=f"internal error: {type(error).__name__}")

    async def _until_owned(self) -> None:
        while not self._owns():  # noqa: ASYNC110 - it is the passing of time that ends a lease
            await asyncio.sleep(POLL)

    async def _settle(self, due: DueDelivery, outcome: Outcome) -> None:
        now = self._clock.now()
        self._metrics.deliveries.labels(outcome.kind.value).inc()
        self._metrics.delivery_seconds.observe(outcome.duration_ms / 1000)
        before = self._open.get(due.delivery_id)
        if before is None:  # given up meanwhile: the outcome must not count against a receiver that is another's now
            self._schedule.release(due.delivery_id)
            self._schedule.forget(due.delivery_id)
            return
        transition = self._schedule.record(due.delivery_id, outcome, now)
        if transition.kind is TransitionKind.UNCHANGED:
            return
        if before.received_at and before.attempt == 0 and outcome.status:
            self._metrics.alert_latency.observe(max(0.0, (to_millis(now) - before.received_at) / 1000))
        records = Records()
        self._change(transition.row, due.attempt, outcome, now_ms := to_millis(now), records)
        for held in transition.held:
            self._change(held, held.attempt, outcome, now_ms, records)
        await self._tell(records.deliveries[0].id, records)

    async def _tell(self, delivery: str, outcome: Records) -> None:
        """Hand over what became of an attempt, however long that takes, and of one before that is not told yet: nobody
        would tell of it later but who has the delivery then. Attempts that wait here are among those that are bounded.
        """
        records = Records()
        records.extend(self._untold.get(delivery, Records()))
        records.extend(outcome)
        about = {each.id for each in records.deliveries}
        self._untold.update(dict.fromkeys(about, records))
        try:
            while self._untold.get(delivery) is records:
                try:
                    await self._emit(records)
                except UnavailableError as error:
                    log.warning("the outcome of a delivery cannot be recorded yet: %s", error)
                    await asyncio.sleep(RETRY_PAUSE)
                    await self._until_owned()
                else:
                    return
        finally:
            for identifier in about:
                if self._untold.get(identifier) is records:
                    del self._untold[identifier]

    def _change(self, row: DeliveryRow, attempt: int, outcome: Outcome, now: int, records: Records) -> None:
        before = self._open.get(row.delivery_id)
        if before is None:
            return
        after = before._replace(
            state=row.state,
            attempt=row.attempt,
            due_at=row.due_at_ms,
            updated_at=now,
            last_status=row.last_status,
            last_detail=row.detail,
            revision=before.revision + 1,
        )
        if row.state == "dead":
            self._metrics.dead_deliveries.inc()
        if row.state in ("delivered", "dead"):
            del self._open[row.delivery_id]
            self._finished[row.delivery_id] = after
            if len(self._finished) > FINISHED:
                oldest = next(iter(self._finished))
                del self._finished[oldest]
                self._steps.pop(oldest, None)
        else:
            self._open[row.delivery_id] = after
        records.deliveries.append(after)
        what = {"delivered": "delivered", "dead": "delivery-dead", "disabled": "receiver-disabled"}.get(
            row.state, "delivery-failed"
        )
        detail = json.dumps(
            {
                "receiver": row.receiver_id,
                "attempt": attempt,
                "status": outcome.status,
                "detail": outcome.detail,
                "ms": outcome.duration_ms,
                "next": row.due_at_ms if row.state == "pending" else None,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        links = (before.about, before.case) if before.case else (before.about,)
        self._note(_step(after.id, what, now, str(after.revision), links, detail), records)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the outcome of a delivery could not be recorded: %s", error)


def _step(subject: str, what: str, now: int, identity: str, links: tuple[str, ...], detail: str) -> Step:
    return Step(
        make_id("st", subject, what, identity), subject, now, STAGES["deliver"], what, "system", "", "", links, detail
    )
