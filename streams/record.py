"""The record stage: collects records and writes them to the store in large batches, then acknowledges them.

While one batch is being written the next is collected. A store that is away is asked again until it is back; meanwhile
at most `bound` frames are held and the broker keeps the rest. It does not know SQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from jianguan.clock import Clock, to_millis
from jianguan.domain.ids import make_id
from jianguan.domain.trace import TABLES, Quarantined, Records
from jianguan.errors import InputError, UnavailableError
from jianguan.metrics import Metrics
from jianguan.ports import Store
from streams.frames import RECORDS
from streams.transport_run import Record, Run

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0


@dataclass(slots=True)
class _Waiting:
    records: Records
    token: str
    done: Callable[[], Any]


class Recorder:
    """Writes records. `put` from the agent, `run` in a task of its own."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        *,
        rows: int,
        linger: float,
        bound: int = 256,
        observe: Callable[[Records], None] = lambda records: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._rows = rows
        self._linger = linger
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(bound)
        self._observe = observe
        self.failure = ""  # why the store does not take records now; empty when it does

    async def put(self, run: Run, done: Callable[[], Any]) -> None:
        """Take a run of frames; `done` is called when the store has all of it."""
        records = Records()
        for record in run.records:
            try:
                records.extend(RECORDS.decode(record.value))
            except InputError as error:
                # Only our own stages write here: the frame is from another version or another program.
                log.error("%s-%d@%d: %s", run.topic, run.partition, record.offset, error)
                records.quarantine.append(_unreadable(run, record, error, to_millis(self._clock.now())))
        token = f"{run.topic}-{run.partition}-{run.first_offset}-{run.last_offset}"
        await self._queue.put(_Waiting(records, token, done))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            batch = await self._collect()
            await self._write(batch)

    async def _collect(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        size = len(batch[0].records)
        deadline = self._clock.monotonic() + self._linger
        while size < self._rows:
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                    waiting = await self._queue.get()
            except TimeoutError:
                break
            batch.append(waiting)
            size += len(waiting.records)
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        records = Records()
        for waiting in batch:
            records.extend(waiting.records)
        token = "+".join([waiting.token for waiting in batch])
        pause = FIRST_PAUSE
        while records:
            started = self._clock.monotonic()
            try:
                await asyncio.to_thread(self._store.write, records, token)
            except UnavailableError as error:
                self.failure = str(error)
                self._metrics.store_retries.inc()
                log.warning("the store does not take records, %d rows wait: %s", len(records), error)
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            self.failure = ""
            self._metrics.store_seconds.observe(self._clock.monotonic() - started)
            for table in TABLES:
                if rows := getattr(records, table):
                    self._metrics.store_rows.labels(table).inc(len(rows))
            break
        for waiting in batch:
            waiting.done()
        self._observe(records)


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
