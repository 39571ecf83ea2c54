"""The way in: makes what comes from outside durable, gives it to the broker, and only then says yes.

With a journal (embedded mode) durable means: on this machine's disk. Without one it means: acknowledged by the
brokers. Many callers may be inside at once; how many records may wait is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final, Protocol

from jianguan.clock import Clock, to_millis
from jianguan.domain.case import Command
from jianguan.domain.contract import KIND_OF_TOPIC
from jianguan.domain.ids import make_id, partition_of
from jianguan.errors import InputError, UnavailableError
from jianguan.ports import RawEvent
from streams.elapsing import SETTLE_AFTER_MS
from streams.frames import COMMANDS
from streams.headers import CONTENT_TYPE, RECEIPT, RECEIVED, SUBMISSION
from streams.outbox import Outbox
from streams.topics import TopicName

Headers = tuple[tuple[str, bytes], ...]

WAITING_LIMIT: Final = 20_000
MAX_VALUE: Final = 2 * 1024 * 1024  # bytes; the limit of our topics is twice that, and rows on them have more to say
BROKER_PATIENCE: Final = 20.0
QUICK_MS: Final = 1_000  # who is through by then leaves the stages most of the time that the clock gives them
_POLL: Final = 0.05


class Durable(Protocol):
    """Where records are safe before the broker has them."""

    @property
    def next_sequence(self) -> int: ...
    async def append(self, records: Sequence[tuple[str, str, Headers, bytes, int]]) -> list[int]: ...
    def release(self, sequences: Iterable[int]) -> None: ...


class StreamGateway:
    """Implements jianguan.ports.Gateway over an outbox."""

    def __init__(
        self, outbox: Outbox, clock: Clock, partitions: int, unique: str, journal: Durable | None = None
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._partitions = partitions
        self._unique = unique  # differs between processes, so that receipts do too
        self._journal = journal
        self._count = 0
        self._waiting = 0
        self._inside: dict[int, int] = {}  # by number of the call, when it came (ms)
        self._lately: deque[tuple[float, int]] = deque()  # of those that took long: when (s) they went, and came (ms)
        self._calls = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let records through."""
        self._open.set()

    def shut(self) -> None:
        """Hold records back: those that come wait a while for `open`."""
        self._open.clear()

    def oldest_waiting(self) -> int | None:
        """When the oldest record was received (ms) that the stages may not have yet because it had to wait here; what
        the clock decides must not go ahead of it."""
        self._forget_gone()
        return min([*self._inside.values(), *[came for _, came in self._lately]], default=None)

    def _forget_gone(self) -> None:
        gone = self._clock.monotonic() - SETTLE_AFTER_MS / 1_000
        while self._lately and self._lately[0][0] <= gone:
            self._lately.popleft()

    async def submit(self, events: Sequence[RawEvent]) -> list[str]:
        """See jianguan.ports.Gateway."""
        now = to_millis(self._clock.now())
        receipts: list[str] = []
        records: list[tuple[str, str, Headers, bytes, int]] = []
        for event in events:
            topic = event.topic if event.topic in KIND_OF_TOPIC else TopicName.COMPLAINTS.value
            receipt = event.receipt or self._receipt()
            receipts.append(receipt)
            headers = (
                *[(name, value) for name, value in event.headers if name.lower().startswith("ce_")],
                (CONTENT_TYPE, event.content_type.encode("ascii", "replace")),
                (RECEIPT, receipt.encode("ascii", "replace")),
                (RECEIVED, str(now).encode()),
                (SUBMISSION, event.submission.encode("ascii", "replace")),
            )
            if len(event.value) > MAX_VALUE:
                raise InputError("too-large", f"a record has {len(event.value)} bytes; at most {MAX_VALUE} are taken")
            records.append((topic, _encodable(event.key), headers, event.value, now))
        await self._through(records, now)
        return receipts

    async def command(self, command: Command) -> None:
        """See jianguan.ports.Gateway."""
        try:
            (frame,) = COMMANDS.encode([command])
        except UnicodeEncodeError:
            raise InputError("not-utf8", "the note must not contain half of a surrogate pair", "note") from None
        record = (TopicName.COMMANDS.value, command.case_key, (), frame, command.at)
        await self._through([record], to_millis(self._clock.now()))

    async def replay(self, topic: str, key: str, headers: Headers, value: bytes) -> Awaitable[Any]:
        """Queue a record that is durable already."""
        return await self._outbox.raw(TopicName(topic), key, value, headers, partition_of(key, self._partitions))

    async def _through(self, records: Sequence[tuple[str, str, Headers, bytes, int]], came: int) -> None:
        if self._waiting + len(records) > WAITING_LIMIT:
            raise UnavailableError("too many records are waiting for the broker; try again in a moment")
        self._waiting += len(records)
        self._calls += 1
        call = self._calls
        self._inside[call] = came
        try:
            await self._admission()
            if self._journal is None:
                await self._send(records)
                return
            sequences = await self._journal.append(records)
            try:
                await self._send(records)
            finally:
                # Only now may the journal count them as sent: a mark that went before them could let go of them.
                self._journal.release(sequences)
        finally:
            self._waiting -= len(records)
            del self._inside[call]
            if to_millis(self._clock.now()) - came > QUICK_MS:
                self._forget_gone()  # not every process has a clock that asks
                self._lately.append((self._clock.monotonic(), came))

    async def _send(self, records: Sequence[tuple[str, str, Headers, bytes, int]]) -> None:
        if self._journal is None:
            try:
                # The client tries a broker that is silent for longer than a sender listens.
                async with asyncio.timeout(BROKER_PATIENCE):
                    await self._settled(records)
            except TimeoutError:
                raise UnavailableError(
                    f"the broker has not taken the records within {BROKER_PATIENCE:g} s; send them again"
                ) from None
            except UnavailableError as error:
                raise UnavailableError(f"the broker does not take records: {error}") from error
            return
        while True:
            try:
                await self._settled(records)
            except UnavailableError:
                # It is in the journal and will be sent by whoever replaces the broker; the answer waits for that.
                await asyncio.sleep(_POLL)
                await self._admission()
            else:
                return

    async def _settled(self, records: Sequence[tuple[str, str, Headers, bytes, int]]) -> None:
        queued = [await self.replay(topic, key, headers, value) for topic, key, headers, value, _ in records]
        await self._outbox.settle(queued)

    async def _admission(self) -> None:
        if self._open.is_set():
            return
        try:
            async with asyncio.timeout(BROKER_PATIENCE):
                await self._open.wait()
        except TimeoutError:
            raise UnavailableError("the broker is not ready; try again in a few seconds") from None

    def _receipt(self) -> str:
        self._count += 1
        return make_id("cm", self._unique, str(self._count)).replace("cm-", "r-")


def _encodable(key: str) -> str:
    """JSON can name an event with half of a surrogate pair; the record will be quarantined, but not by the way."""
    return key if key.isascii() else key.encode("utf-8", "replace").decode()
