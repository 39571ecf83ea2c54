"""The record stage: collects records and writes them to the store in large batches, then acknowledges them.

They come from the topic as frames, or by hand from the other stages of a worker that is alone. By hand nothing is
taken that could not be written soon: it goes over the topic, where the broker keeps it.

While one batch is being written the next is collected. A store that is away is asked again until it is back; meanwhile
a bounded number of rows is held, of all partitions together, and the broker keeps the rest. A row that the store
refuses for good goes to quarantine (`store-refused`) and the others are stored; when many are refused it is the store
that is at fault, and it is asked again. It does not know SQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from jianguan.clock import Clock, to_millis
from jianguan.columns import Columns
from jianguan.domain.ids import make_id
from jianguan.domain.trace import TABLES, Quarantined, Records
from jianguan.errors import InputError, UnavailableError
from jianguan.metrics import Metrics
from jianguan.ports import Store
from streams.frames import RECORDS, halves
from streams.transport.run import Record, Run

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
# What an insert costs depends little on how many rows it has: under load fewer and larger ones are worth a second.
BUSY_ROWS: Final = 2_000
BUSY_FACTOR: Final = 8
BATCHES_HELD: Final = 2  # one that is being written and one that is being collected
ROOM_PATIENCE: Final = 1.0  # seconds in which a store that works makes room
MAX_REFUSED: Final = 20  # rows of one batch; more, and the store or its schema is at fault
MAX_REFUSED_RUNNING: Final = 100  # rows since the last batch of which none was refused


@dataclass(slots=True)
class _Waiting:
    records: Records
    bulk: list[Columns]
    token: str
    done: Callable[[], Any]

    def __len__(self) -> int:
        return len(self.records) + sum([len(each) for each in self.bulk])


class Recorder:
    """Writes records. `put` from the agent, `take` from other stages, `run` in a task of its own.

    Holds at most `bound` runs and about twice `rows` rows that the store has not taken yet.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        *,
        rows: int,
        linger: float,
        bound: int = 256,
        observe: Callable[[Records | Columns], None] = lambda records: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._rows = rows
        self._linger = linger
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(bound)
        self._room = asyncio.Event()
        self.held = 0  # rows that were taken and are not stored yet
        self._observe = observe
        self._refused = 0  # rows since the last batch of which none was
        self.failure = ""  # why the store does not take records now; empty when it does
        self._slow = False  # there was no room in time, and there has been none since
        self.handed = 0  # how often something was taken by hand
        self.handed_stored = 0  # how many of those, the first of them, the store has

    @property
    def waiting(self) -> int:
        """How many runs wait to be collected; `bound` at most."""
        return self._queue.qsize()

    async def put(self, run: Run, done: Callable[[], Any]) -> None:
        """Take a run of frames, once there is room; `done` is called when the store has all of it.

        The last run may go beyond the room there is. A run that waits is not decoded yet: it is much smaller so.
        """
        await self._until_room()
        waiting = self._decoded(run, done)
        self.held += len(waiting)
        try:
            await self._queue.put(waiting)
        except BaseException:  # the app ends: the run comes again
            self._release(waiting)
            raise

    async def take(self, records: Records | Columns) -> bool:
        """Take what another stage of this process leaves, at least one row, which must not change any more. False, and
        nothing is taken, when the store takes nothing now or is slow."""
        if self.failure or not await self._has_room_soon():
            return False
        self.handed += 1
        rows, bulk = (Records(), [records]) if isinstance(records, Columns) else (records, [])
        waiting = _Waiting(rows, bulk, f"handed-{self.handed}", self._handed_is_stored)
        self.held += len(waiting)
        self._queue.put_nowait(waiting)
        return True

    def _handed_is_stored(self) -> None:
        self.handed_stored += 1

    @property
    def _has_room(self) -> bool:
        return self.held < BATCHES_HELD * self._rows

    async def _until_room(self) -> None:
        while not self._has_room:
            self._room.clear()
            await self._room.wait()

    async def _has_room_soon(self) -> bool:
        """Whether there is room to take something by hand. Waits for it, but not again and again for a slow store."""
        if not self._has_room and not self._slow:
            with suppress(TimeoutError):
                async with asyncio.timeout(ROOM_PATIENCE):
                    await self._until_room()
        self._slow = not self._has_room
        return self._has_room and not self._queue.full()

    def _decoded(self, run: Run, done: Callable[[], Any]) -> _Waiting:
        waiting = _Waiting(Records(), [], f"{run.topic}-{run.partition}-{run.first_offset}-{run.last_offset}", done)
        for record in run.records:
            try:
                found = RECORDS.decode(record.value)
            except InputError as error:
                # Only our own stages write here: the frame is from another version or another program.
                log.error("%s-%d@%d: %s", run.topic, run.partition, record.offset, error)
                row = _unreadable(run, record, error, to_millis(self._clock.now()))
                waiting.records.quarantine.append(row)
            else:
                if isinstance(found, Columns):
                    waiting.bulk.append(found)
                else:
                    waiting.records.extend(found)
        return waiting

    def _release(self, waiting: _Waiting) -> None:
        self.held -= len(waiting)
        self._room.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            batch = await self._collect()
            await self._write(batch)

    async def drain(self, limit: float) -> None:
        """Let `run` write what is held, without lingering. Wait for it no longer than `limit` seconds: the store may be
        away."""
        self._linger = 0.0
        with suppress(asyncio.QueueFull):  # then nobody lingers
            self._queue.put_nowait(_Waiting(Records(), [], "end", lambda: None))
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self.held:
                    self._room.clear()
                    await self._room.wait()
        if self.held:
            log.warning("%d rows are left that the store did not take: %s", self.held, self.failure or "it is slow")

    async def _collect(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        size = len(batch[0])
        began = last = self._clock.monotonic()
        while size < self._rows:
            # Under load it is worth waiting longer, but not once nothing more comes.
            longest = began + self._linger * (BUSY_FACTOR if size >= BUSY_ROWS else 1)
            until = min(longest, last + self._linger)
            try:
                async with asyncio.timeout(max(0.0, until - self._clock.monotonic())):
                    waiting = await self._queue.get()
            except TimeoutError:
                break
            last = self._clock.monotonic()
            batch.append(waiting)
            size += len(waiting)
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        records, bulk = Records(), [each for waiting in batch for each in waiting.bulk]
        for waiting in batch:
            records.extend(waiting.records)
        token = "+".join([waiting.token for waiting in batch])
        pause = FIRST_PAUSE
        while records or bulk:
            started = self._clock.monotonic()
            try:
                await self._insert(records, bulk, token)
            except UnavailableError as error:
                self.failure = str(error)
                self._metrics.store_retries.inc()
                log.warning(
                    "the store does not take records, %d rows wait: %s", sum([len(each) for each in batch]), error
                )
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            self.failure = ""
            self._metrics.store_seconds.observe(self._clock.monotonic() - started)
            break
        for waiting in batch:
            self._release(waiting)
            try:
                waiting.done()
            except Exception:  # its app may have ended meanwhile: the run comes again, and its rows have the same ids
                log.exception("a run was stored but could not be acknowledged")
        for columns in bulk:
            self._observe(columns)
        self._observe(records)

    async def _insert(self, records: Records, bulk: list[Columns], token: str) -> None:
        """Store all of it, rows that are refused as quarantined ones. UnavailableError: nothing is certain."""

        def write() -> None:
            self._store.write(Columns.joined([*bulk, Columns.of(records)]) if bulk else records, token)

        try:
            await asyncio.to_thread(write)
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001 - of any kind; each row that it is about is recorded with it below
            every = replace(records, **{table: [*getattr(records, table)] for table in TABLES})
            for columns in bulk:
                every.extend(columns.records())
            refused = await self._salvage(every, token)
        else:
            refused = []
        if not refused:
            self._refused = 0
        elif self._refused + len(refused) > MAX_REFUSED_RUNNING:
            raise UnavailableError(f"the store refuses one batch after the other, {refused[-1].message}")
        else:
            try:
                await asyncio.to_thread(self._store.write, Records(quarantine=refused), f"{token}/refused")
            except Exception as error:
                raise UnavailableError(
                    f"the store refuses rows and their quarantine: {type(error).__name__}"
                ) from error
            self._refused += len(refused)
            log.error("the store refused %d rows, which were quarantined: %s", len(refused), refused[-1].message)
        for table in TABLES:
            if rows := len(getattr(records, table)) + sum([columns.count(table) for columns in bulk]):
                self._metrics.store_rows.labels(table).inc(rows)
        for row in refused:
            self._metrics.quarantined.labels("records", row.code).inc()

    async def _salvage(self, records: Records, token: str) -> list[Quarantined]:
        """Store `records` by halves, in the order of writing, until each row that is refused stands alone; those."""
        refused: list[Quarantined] = []
        parts = _parts(records, token) if len(records) > 1 else [(records, f"{token}/0")]
        while parts:
            part, name = parts.pop()
            try:
                await asyncio.to_thread(self._store.write, part, name)
            except UnavailableError:
                raise
            except Exception as error:
                if len(part) > 1:
                    parts += _parts(part, name)
                    continue
                refused.append(_refused(part, error, to_millis(self._clock.now())))
                if len(refused) > MAX_REFUSED:
                    raise UnavailableError(f"the store refuses many rows, {refused[-1].message}") from error
        return refused


def _parts(records: Records, token: str) -> list[tuple[Records, str]]:
    """The halves of `records` with tokens of their own. The last one is to be written first."""
    first, second = halves(records)
    return [(second, f"{token}/1"), (first, f"{token}/0")]


def _refused(single: Records, error: Exception, now: int) -> Quarantined:
    (table,) = [table for table in TABLES if getattr(single, table)]
    (row,) = getattr(single, table)
    receipt = f"{table}/{getattr(row, 'id', None) or row.event}"
    return Quarantined(
        id=make_id("qu", "store-refused", receipt),
        receipt=receipt,
        topic="records",
        partition=0,
        offset=0,
        at=now,
        code="store-refused",
        field="",
        # The error's own words may hold the value, which may be personal.
        message=f"a row of {table}: {type(error).__name__}",
        raw=RECORDS.encode(single)[0],
        content_type="application/msgpack",
        submission="",
        state="quarantined",
        revision=1,
    )


def _unreadable(run: Run, record: Record, error: InputError, now: int) -> Quarantined:
    receipt = f"{run.topic}/{run.partition}/{record.offset}"
    return Quarantined(
        id=make_id("qu", receipt),
        receipt=receipt,
        topic=run.topic,
        partition=run.partition,
        offset=record.offset,
        at=now,
        code=error.code,
        field=error.field,
        message=str(error),
        raw=record.value or b"",
        content_type="application/msgpack",
        submission="",
        state="quarantined",
        revision=1,
    )
