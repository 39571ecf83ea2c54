"""Which deliveries are pending, when each is due, and what an outcome makes of it. In memory, pure, one owner.

It must not know HTTP, signing or the stores: its owner sends what `due` gives, passes each outcome to `record`, and
persists the rows that come back. After a restart the rows go into `restore`, and the bodies come by `add` again.

What holds: a delivery is in flight once or not at all; a receiver has at most the given number in flight; receivers
take turns; one that fails or asks for time delays only itself. For n deliveries of R receivers `add` and `record`
cost O(log n), `due` O(R + k log n) for k results, `next_due` O(R): receivers are departments, tens or hundreds.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from jianguan.clock import from_millis, to_millis
from jianguan.domain.delivery import DeliveryState
from jianguan.errors import InputError
from sinks.webhooks.retry import Outcome, OutcomeKind, RetryPolicy, bounded_retry_after, next_attempt

FAILURES_BEFORE_PROBING = 5


class _State(StrEnum):
    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """What is persisted. In flight is `pending` here; `disabled`: it is open, and its receiver is disabled.

    `attempt` is how many were made; `due_at_ms` is Unix milliseconds; `last_status` 0: no answer yet.
    """

    delivery_id: str
    receiver_id: str
    state: DeliveryState
    attempt: int
    due_at_ms: int
    last_status: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One to send now; it counts as in flight until `record` or `release`. `attempt` is this one's number, from 1."""

    delivery_id: str
    receiver_id: str
    attempt: int
    body: str = field(repr=False)


class TransitionKind(StrEnum):
    """What an outcome made of a delivery."""

    DELIVERED = "delivered"
    RESCHEDULED = "rescheduled"
    DEAD = "dead"
    RECEIVER_DISABLED = "receiver_disabled"
    UNCHANGED = "unchanged"  # it was not in flight: the outcome was reported twice


@dataclass(frozen=True, slots=True)
class Transition:
    """`row` is to be persisted; after `receiver_disabled` also `held`, the receiver's other open deliveries."""

    kind: TransitionKind
    row: DeliveryRow
    held: tuple[DeliveryRow, ...] = ()


@dataclass(slots=True)
class _Delivery:
    delivery_id: str
    receiver_id: str
    due_ms: int
    attempt: int
    body: str | None
    order: int = 0  # of the entry in the lane's heap that counts; others are stale
    state: _State = _State.PENDING
    last_status: int = 0
    detail: str = ""


@dataclass(slots=True)
class _Lane:
    """One receiver's deliveries. `heap` holds (due_ms, order, delivery_id)."""

    receiver_id: str
    heap: list[tuple[int, int, str]] = field(default_factory=list)
    open_ids: set[str] = field(default_factory=set)  # pending or in flight
    in_flight: int = 0
    failures: int = 0  # in a row
    wait_until_ms: int = 0  # as Retry-After asked
    disabled: bool = False


class DeliverySchedule:
    """See the module. `rng` gives the jitter; `remember` is how many finished deliveries stay known by id.

    A finished delivery that is no longer remembered would be sent again if it were added again, with the same
    webhook id, by which the receiver recognises it.
    """

    def __init__(self, policy: RetryPolicy, rng: random.Random, remember: int = 100_000) -> None:
        self._policy = policy
        self._rng = rng
        self._remember = remember
        self._deliveries: dict[str, _Delivery] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._lanes: dict[str, _Lane] = {}
        self._turns: deque[str] = deque()
        self._order = 0

    def __len__(self) -> int:
        """How many are open: pending, held for a disabled receiver, or in flight."""
        return sum(len(lane.open_ids) for lane in self._lanes.values())

    def __contains__(self, delivery_id: object) -> bool:
        return delivery_id in self._deliveries

    def row(self, delivery_id: str) -> DeliveryRow:
        """The delivery as it stands. Raises InputError when the id is not known."""
        return self._row(self._find(delivery_id))

    def rows(self, receiver_id: str) -> tuple[DeliveryRow, ...]:
        """The open deliveries of a receiver, in the order of their ids."""
        lane = self._lanes.get(receiver_id)
        return tuple(self.row(known) for known in sorted(lane.open_ids)) if lane else ()

    def in_flight(self) -> Mapping[str, int]:
        """How many are being sent, by receiver; only receivers that have any."""
        return {lane.receiver_id: lane.in_flight for lane in self._lanes.values() if lane.in_flight}

    def add(self, delivery_id: str, receiver_id: str, due_at: datetime, body: str, attempt: int = 0) -> bool:
        """Takes a delivery; `attempt` is how many were made before. True if it is new.

        An id that is known keeps its state; if its body is missing, as after `restore`, the body is filled in.
        Raises InputError when the known one is for another receiver.
        """
        known = self._deliveries.get(delivery_id)
        if known is not None:
            if known.receiver_id != receiver_id:
                raise InputError("delivery-receiver", f"{delivery_id} is for another receiver", "receiver_id")
            if known.body is None and known.state is _State.PENDING:
                known.body = body
                self._push(known)
            return False
        self._open(_Delivery(delivery_id, receiver_id, to_millis(due_at), attempt, body))
        return True

    def restore(self, rows: Iterable[DeliveryRow], disabled: Iterable[str] = ()) -> None:
        """Takes up persisted rows, oldest first, into an empty schedule; `disabled` are receivers' ids.

        What was in flight is pending again: it may have arrived, and its id lets the receiver see that. An open
        delivery becomes due when `add` brings its body. The last row of an id counts.
        """
        if self._deliveries:
            raise ValueError("a schedule is restored before anything is added")
        for receiver_id in disabled:
            self._lane(receiver_id).disabled = True
        for row in {row.delivery_id: row for row in rows}.values():
            delivery = _Delivery(row.delivery_id, row.receiver_id, row.due_at_ms, row.attempt, None)
            delivery.last_status, delivery.detail = row.last_status, row.detail
            if row.state in ("delivered", "dead"):
                self._deliveries[row.delivery_id] = delivery
                self._finish(delivery, _State(row.state))
            else:
                self._open(delivery)

    def remember(self, delivery_id: str, receiver_id: str) -> None:
        """Knows a delivery as delivered that somebody else has made; one that is known keeps its state."""
        if delivery_id not in self._deliveries:
            delivery = _Delivery(delivery_id, receiver_id, 0, 1, None)
            self._deliveries[delivery_id] = delivery
            self._finish(delivery, _State.DELIVERED)

    def forget(self, delivery_id: str) -> None:
        """Knows a delivery no more, as when it is somebody else's now; one in flight stays known until `record`."""
        delivery = self._deliveries.get(delivery_id)
        if delivery is None or delivery.state is _State.IN_FLIGHT:
            return
        del self._deliveries[delivery_id]
        self._finished.pop(delivery_id, None)
        self._lane(delivery.receiver_id).open_ids.discard(delivery_id)

    def due(self, now: datetime, per_receiver_limit: int, limit: int | None = None) -> tuple[DueDelivery, ...]:
        """What to send now, receivers by turns, each one's earliest first; all of it is then in flight.

        `per_receiver_limit` bounds a receiver's deliveries in flight, earlier ones included; one that failed five
        times in a row gets one at a time until it answers. `limit` bounds the result.
        """
        now_ms = to_millis(now)
        ready = deque(
            lane for name in self._turns if self._is_ready(lane := self._lanes[name], per_receiver_limit, now_ms)
        )
        chosen: list[DueDelivery] = []
        last = ""
        while ready and (limit is None or len(chosen) < limit):
            lane = ready.popleft()
            _, _, delivery_id = heapq.heappop(lane.heap)
            delivery = self._deliveries[delivery_id]
            delivery.state = _State.IN_FLIGHT
            lane.in_flight += 1
            assert delivery.body is not None  # only what has a body is in a heap
            chosen.append(DueDelivery(delivery_id, lane.receiver_id, delivery.attempt + 1, delivery.body))
            last = lane.receiver_id
            if self._is_ready(lane, per_receiver_limit, now_ms):
                ready.append(lane)
        if last:
            self._turns.rotate(-self._turns.index(last) - 1)
        return tuple(chosen)

    def next_due(self, per_receiver_limit: int) -> datetime | None:
        """When `due` will next have something; None: not before an `add` or `record`. It may be in the past."""
        moments = (self._moment_ms(lane, per_receiver_limit) for lane in self._lanes.values())
        earliest = min((moment for moment in moments if moment is not None), default=None)
        return None if earliest is None else from_millis(earliest)

    def record(self, delivery_id: str, outcome: Outcome, now: datetime) -> Transition:
        """What an attempt's outcome makes of its delivery. Raises InputError when the id is not known."""
        delivery = self._find(delivery_id)
        if delivery.state is not _State.IN_FLIGHT:
            return Transition(TransitionKind.UNCHANGED, self._row(delivery))
        lane = self._lane(delivery.receiver_id)
        lane.in_flight -= 1
        delivery.attempt += 1
        delivery.last_status, delivery.detail = outcome.status, outcome.detail
        if outcome.kind is OutcomeKind.DELIVERED:
            lane.failures = 0
            return self._finish(delivery, _State.DELIVERED)
        if outcome.kind is OutcomeKind.GONE:
            delivery.due_ms = to_millis(now)
            self._wait(delivery)
            others = self.disable(delivery.receiver_id)
            held = tuple(row for row in others if row.delivery_id != delivery_id)
            return Transition(TransitionKind.RECEIVER_DISABLED, self._row(delivery), held)
        lane.failures += 1
        if outcome.retry_after is not None:
            until = to_millis(now + bounded_retry_after(outcome, self._policy))
            lane.wait_until_ms = max(lane.wait_until_ms, until)
        again = next_attempt(delivery.attempt, outcome, now, self._rng, self._policy)
        if again is None:
            return self._finish(delivery, _State.DEAD)
        delivery.due_ms = to_millis(again)
        self._wait(delivery)
        return Transition(TransitionKind.RESCHEDULED, self._row(delivery))

    def release(self, delivery_id: str) -> DeliveryRow:
        """Gives back a delivery that was taken but not tried, as when its owner stops; no attempt is counted."""
        delivery = self._find(delivery_id)
        if delivery.state is _State.IN_FLIGHT:
            self._lane(delivery.receiver_id).in_flight -= 1
            self._wait(delivery)
        return self._row(delivery)

    def redeliver(self, delivery_id: str, now: datetime, body: str | None = None) -> DeliveryRow:
        """Makes it due now; a finished one starts its attempts anew. In flight: unchanged.

        The body of a delivered one, or of a dead one after a restart, is no longer here: pass it, else it is due
        when `add` brings it. Raises InputError when the id is not known.
        """
        delivery = self._find(delivery_id)
        if delivery.state is _State.IN_FLIGHT:
            return self._row(delivery)
        delivery.body = body if body is not None else delivery.body
        now_ms = to_millis(now)
        if delivery.state is _State.PENDING:
            if now_ms < delivery.due_ms or body is not None:
                delivery.due_ms = min(now_ms, delivery.due_ms)
                self._push(delivery)
            return self._row(delivery)
        del self._finished[delivery_id]
        delivery.attempt, delivery.due_ms = 0, now_ms
        self._open(delivery)
        return self._row(delivery)

    def disable(self, receiver_id: str) -> tuple[DeliveryRow, ...]:
        """Stops sending to a receiver; returns its open deliveries, now held, to persist. Nothing is lost."""
        self._lane(receiver_id).disabled = True
        return self.rows(receiver_id)

    def enable(self, receiver_id: str) -> tuple[DeliveryRow, ...]:
        """Sends to a receiver again, what is overdue at once; returns its open deliveries to persist."""
        lane = self._lane(receiver_id)
        lane.disabled, lane.failures, lane.wait_until_ms = False, 0, 0
        return self.rows(receiver_id)

    def is_disabled(self, receiver_id: str) -> bool:
        """Whether deliveries to this receiver are held."""
        lane = self._lanes.get(receiver_id)
        return lane is not None and lane.disabled

    def _find(self, delivery_id: str) -> _Delivery:
        delivery = self._deliveries.get(delivery_id)
        if delivery is None:
            raise InputError("unknown-delivery", f"no delivery {delivery_id} is known here", "delivery_id")
        return delivery

    def _lane(self, receiver_id: str) -> _Lane:
        lane = self._lanes.get(receiver_id)
        if lane is None:
            lane = self._lanes[receiver_id] = _Lane(receiver_id)
            self._turns.append(receiver_id)
        return lane

    def _row(self, delivery: _Delivery) -> DeliveryRow:
        state: DeliveryState
        if delivery.state is _State.DELIVERED:
            state = "delivered"
        elif delivery.state is _State.DEAD:
            state = "dead"
        else:
            state = "disabled" if self.is_disabled(delivery.receiver_id) else "pending"
        return DeliveryRow(
            delivery.delivery_id,
            delivery.receiver_id,
            state,
            delivery.attempt,
            delivery.due_ms,
            delivery.last_status,
            delivery.detail,
        )

    def _open(self, delivery: _Delivery) -> None:
        self._deliveries[delivery.delivery_id] = delivery
        self._lane(delivery.receiver_id).open_ids.add(delivery.delivery_id)
        self._wait(delivery)

    def _wait(self, delivery: _Delivery) -> None:
        delivery.state = _State.PENDING
        if delivery.body is not None:
            self._push(delivery)

    def _push(self, delivery: _Delivery) -> None:
        if delivery.body is None:
            return
        self._order += 1
        delivery.order = self._order
        entry = (delivery.due_ms, delivery.order, delivery.delivery_id)
        heapq.heappush(self._lane(delivery.receiver_id).heap, entry)

    def _finish(self, delivery: _Delivery, state: _State) -> Transition:
        delivery.state = state
        if state is _State.DELIVERED:
            delivery.body = None
        self._lane(delivery.receiver_id).open_ids.discard(delivery.delivery_id)
        self._finished[delivery.delivery_id] = None
        if len(self._finished) > self._remember:
            oldest, _ = self._finished.popitem(last=False)
            del self._deliveries[oldest]
        return Transition(TransitionKind(state.value), self._row(delivery))

    def _head_ms(self, lane: _Lane) -> int | None:
        while lane.heap:
            due_ms, order, delivery_id = lane.heap[0]
            delivery = self._deliveries.get(delivery_id)
            if delivery and delivery.state is _State.PENDING and delivery.order == order:
                return due_ms
            heapq.heappop(lane.heap)
        return None

    def _moment_ms(self, lane: _Lane, per_receiver_limit: int) -> int | None:
        """When this lane may send next; None while it is disabled, full or empty."""
        allowed = 1 if lane.failures >= FAILURES_BEFORE_PROBING else per_receiver_limit
        if lane.disabled or lane.in_flight >= min(allowed, per_receiver_limit):
            return None
        head = self._head_ms(lane)
        return None if head is None else max(head, lane.wait_until_ms)

    def _is_ready(self, lane: _Lane, per_receiver_limit: int, now_ms: int) -> bool:
        moment = self._moment_ms(lane, per_receiver_limit)
        return moment is not None and moment <= now_ms
