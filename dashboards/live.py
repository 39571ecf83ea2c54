"""What happens right now, for the people who watch: a bounded ring, a rate, subscribers and waiters.

The structures are plain and bounded; asyncio appears only in `Subscription` and `Expectation`. Everything runs on one
event loop's thread. Knows records, not HTTP and not languages. `observe` costs the same for ten events as for ten
thousand unless somebody waits for a link.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from jianguan.clock import Clock, to_millis
from jianguan.columns import Columns
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.trace import Records, Step
from jianguan.errors import UnavailableError

MAX_BURST: Final = 50  # messages of one kind that one bundle of records may cause
MAX_WAITERS: Final = 1000

Kind = Literal["alert", "case", "task", "refresh"]


class Message(NamedTuple):
    """Something to tell subscribers. `refresh` has no payload: more happened than is worth telling one by one."""

    sequence: int
    kind: Kind
    payload: Alert | Case | Task | None


class Ring:
    """The last messages, so that a client that lost its connection misses nothing."""

    def __init__(self, size: int) -> None:
        self._messages: deque[Message] = deque(maxlen=size)
        self._next = 1

    def append(self, kind: Kind, payload: Alert | Case | Task | None) -> Message:
        message = Message(self._next, kind, payload)
        self._messages.append(message)
        self._next += 1
        return message

    @property
    def last(self) -> int:
        """The sequence of the newest message, 0 before the first."""
        return self._next - 1

    def since(self, sequence: int) -> list[Message] | None:
        """What came after `sequence`, or None when some of it is forgotten or the number is not from here."""
        if sequence > self.last or sequence < 0:
            return None
        if sequence < self.last - len(self._messages):
            return None
        return [message for message in self._messages if message.sequence > sequence]


class RateMeter:
    """Counts by second over the last `seconds` seconds. Seconds are whole, since 1970."""

    def __init__(self, seconds: int = 120) -> None:
        self._counts = [0] * seconds
        self._newest = 0

    def _advance(self, second: int) -> None:
        if second <= self._newest - len(self._counts):  # the clock was set back: none of it is of the past
            self._counts = [0] * len(self._counts)
            self._newest = second
        if second <= self._newest:
            return
        for step in range(min(second - self._newest, len(self._counts))):
            self._counts[(second - step) % len(self._counts)] = 0
        self._newest = second

    def add(self, second: int, count: int) -> None:
        """Count `count` in `second`. One that is older than the window begins it anew."""
        self._advance(second)
        self._counts[second % len(self._counts)] += count

    def series(self, second: int) -> list[int]:
        """Counts of the whole window, oldest first, up to and without the current, unfinished `second`."""
        self._advance(second)
        size = len(self._counts)
        return [self._counts[(second - back) % size] for back in range(size - 1, 0, -1)]

    def rate(self, second: int, over: int = 5) -> float:
        """Counts a second, mean of the last `over` finished seconds."""
        return sum(self.series(second)[-over:]) / over


@dataclass(frozen=True, slots=True)
class Totals:
    """What this feed has seen since it was made."""

    events: int
    quarantined: int
    alerts: dict[str, int]  # by severity
    deliveries: int  # states of them: one more with every attempt


class Outcome(NamedTuple):
    """What became of a command: the step that links to it, and the task as it is now if the records have it."""

    step: Step
    task: Task | None


class Expectation:
    """A place to wait for the step that links to one id."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def outcome(self, timeout: float) -> Outcome | None:  # noqa: ASYNC109 - the caller's budget, part of the contract
        """The outcome, or None after `timeout` seconds."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.future), timeout)
        except TimeoutError:
            return None


@dataclass(slots=True, eq=False)
class Subscription:
    """One reader. It is `lost` when it was too slow: its queue was full when a message came."""

    feed: LiveFeed
    queue: asyncio.Queue[Message | None]
    backlog: list[Message] = field(default_factory=list)
    gap: bool = False  # what it missed is forgotten
    lost: bool = False

    async def next(self, timeout: float) -> Message | None:  # noqa: ASYNC109 - the heartbeat interval
        """The next message; None when `timeout` seconds passed or the subscription ended (see `ended`)."""
        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except TimeoutError:
            return None

    @property
    def ended(self) -> bool:
        return self.lost or self.feed.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.feed.leave(self)


class LiveFeed:
    """Fan-out of stored records to subscribers and to commands that wait for their outcome."""

    def __init__(self, clock: Clock, *, ring: int = 1000, queue: int = 256, max_clients: int = 200) -> None:
        self._clock = clock
        self._ring = Ring(ring)
        self._queue = queue
        self._max_clients = max_clients
        self._meter = RateMeter()
        self._subscriptions: set[Subscription] = set()
        self._waiting: dict[str, list[Expectation]] = {}
        self._events = 0
        self._quarantined = 0
        self._deliveries = 0
        self._alerts: Counter[str] = Counter()
        self.started_at: Final = to_millis(clock.now())  # part of stream ids: another process, other numbers
        self.closed = False
        self.dropped = 0  # subscribers that were too slow

    # In: the record stage.

    def observe(self, records: Records | Columns) -> None:
        """Tell everybody about rows that were stored. Never blocks, never raises for a slow reader."""
        if isinstance(records, Columns):  # of a large run of events: nothing that anybody is told of one by one
            if events := records.count("events"):
                self._events += events
                self._meter.add(self._second(), events)
            return
        if records.events:
            self._events += len(records.events)
            self._meter.add(self._second(), len(records.events))
        self._quarantined += len(records.quarantine)
        self._deliveries += len(records.deliveries)
        for alert in records.alerts:
            self._alerts[alert.severity] += 1
        self._publish("alert", records.alerts)
        self._publish("case", records.cases)
        self._publish("task", records.tasks)
        if self._waiting:
            self._resolve(records)

    def close(self) -> None:
        """End all subscriptions; further ones are refused."""
        self.closed = True
        for subscription in self._subscriptions:
            self._wake(subscription)

    # Out: subscribers.

    def subscribe(self, after: int | None = None) -> Subscription:
        """A new reader; with `after` it first gets what came since. UnavailableError when there are too many."""
        if self.closed:
            raise UnavailableError("the server is stopping")
        if len(self._subscriptions) >= self._max_clients:
            raise UnavailableError(f"there are already {self._max_clients} live readers")
        subscription = Subscription(self, asyncio.Queue(self._queue))
        if after is not None:
            missed = self._ring.since(after)
            subscription.gap = missed is None
            subscription.backlog = missed or []
        self._subscriptions.add(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a reader."""
        self._subscriptions.discard(subscription)

    @property
    def clients(self) -> int:
        return len(self._subscriptions)

    @property
    def last(self) -> int:
        """The sequence of the newest message."""
        return self._ring.last

    # Out: figures.

    def totals(self) -> Totals:
        return Totals(self._events, self._quarantined, dict(self._alerts), self._deliveries)

    def rate(self) -> float:
        """Accepted events a second, mean of the last five finished seconds."""
        return self._meter.rate(self._second())

    def series(self) -> list[int]:
        """Accepted events in each of the last finished seconds, oldest first."""
        return self._meter.series(self._second())

    # Out: commands.

    @contextmanager
    def expect(self, link: str) -> Iterator[Expectation]:
        """Wait for a step that links to `link`; enter before the command is sent, so that nothing is missed."""
        if len(self._waiting) >= MAX_WAITERS:
            raise UnavailableError("too many commands are waiting for their outcome")
        expectation = Expectation()
        self._waiting.setdefault(link, []).append(expectation)
        try:
            yield expectation
        finally:
            others = self._waiting[link]
            others.remove(expectation)
            if not others:
                del self._waiting[link]

    async def wait_for(self, link: str, timeout: float) -> Outcome | None:  # noqa: ASYNC109 - the caller's budget
        """The first step from now on that links to `link`, or None after `timeout` seconds."""
        with self.expect(link) as expectation:
            return await expectation.outcome(timeout)

    def _second(self) -> int:
        return to_millis(self._clock.now()) // 1000

    def _publish(self, kind: Kind, rows: list[Alert] | list[Case] | list[Task]) -> None:
        for row in rows[-MAX_BURST:]:
            self._send(self._ring.append(kind, row))
        if len(rows) > MAX_BURST:
            self._send(self._ring.append("refresh", None))

    def _send(self, message: Message) -> None:
        for subscription in tuple(self._subscriptions):
            try:
                subscription.queue.put_nowait(message)
            except asyncio.QueueFull:
                # It reconnects with the last id that it saw and gets the rest from the ring.
                subscription.lost = True
                self.dropped += 1
                self._subscriptions.discard(subscription)
                self._wake(subscription)

    @staticmethod
    def _wake(subscription: Subscription) -> None:
        if subscription.queue.full():
            subscription.queue.get_nowait()
        subscription.queue.put_nowait(None)

    def _resolve(self, records: Records) -> None:
        for step in records.trace:
            for link in step.links:
                for expectation in self._waiting.get(link, ()):
                    if not expectation.future.done():
                        named = {step.subject, *step.links}
                        task = next((each for each in reversed(records.tasks) if each.id in named), None)
                        expectation.future.set_result(Outcome(step, task))
