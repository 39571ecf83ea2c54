"""A store that is away while records keep coming: what waits is bounded, nothing is committed, nothing is lost.

Through the real broker and transport, with the record stage alone; `python -m bench.pressure` does it at full size.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import SystemClock
from jianguan.columns import Columns
from jianguan.domain.trace import Records
from jianguan.errors import UnavailableError
from jianguan.metrics import Metrics
from streams import record as module
from streams.frames import RECORDS
from streams.record import BATCHES_HELD, Recorder
from streams.transport.batch import batch_topic
from streams.transport.options import BatchOptions
from tests.streams.fakes import FakeStore, ids
from tests.streams.support import committed, make_app, make_topic, running, send, unique, until
from tests.streams.test_record import step

pytestmark = pytest.mark.broker

PARTITIONS: Final = 4
FRAMES: Final = 50  # of a partition in each wave
ROWS: Final = 10  # of a frame
BATCH: Final = 200  # rows after which records are written
RUN: Final = 5  # frames
OUTAGE: Final = 4  # waves that come while the store is away


class Switched(FakeStore):
    """A store that can be switched off."""

    away = False

    def write(self, records: Records | Columns, token: str) -> None:
        if self.away:
            self.writes += 1
            raise UnavailableError("away")
        super().write(records, token)


def frames(wave: int, partition: int) -> list[bytes]:
    first = (wave * PARTITIONS + partition) * FRAMES * ROWS
    return [
        RECORDS.encode(Records(trace=[step(first + frame * ROWS + row) for row in range(ROWS)]))[0]
        for frame in range(FRAMES)
    ]


async def test_an_outage_of_the_store_holds_the_record_stage_and_loses_nothing(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)
    topic, app_id = await make_topic(broker, PARTITIONS), unique("app")
    store = Switched()
    recorder = Recorder(store, SystemClock(), Metrics(CollectorRegistry()), rows=BATCH, linger=0.02)
    app = make_app(broker, tmp_path, app_id, BatchOptions(run_records=RUN, drain_timeout=0.5))

    async def record(stream: Any) -> None:
        async for event in stream.noack().events():
            await recorder.put(event.value, event.ack)

    app.agent(batch_topic(app, topic, partitions=PARTITIONS))(record)

    async def wave(number: int) -> None:
        for partition in range(PARTITIONS):
            await send(broker, topic, frames(number, partition), partition)

    async def position() -> dict[int, int]:
        await app.consumer.commit()
        return await committed(broker, app_id, topic, PARTITIONS)

    per_wave = PARTITIONS * FRAMES * ROWS
    writing = asyncio.create_task(recorder.run())
    try:
        async with running(app):
            await wave(0)
            await until(lambda: len(store.rows) == per_wave and recorder.held == 0)
            before = await position()
            assert before == dict.fromkeys(range(PARTITIONS), FRAMES)

            store.away = True
            held = []
            for number in range(1, 1 + OUTAGE):
                await wave(number)
                tries = store.writes
                await until(lambda tries=tries: store.writes > tries + 2 and recorder.held >= BATCHES_HELD * BATCH)  # type: ignore[misc]
                held.append(recorder.held)
                assert await position() == before
            assert max(held) < BATCHES_HELD * BATCH + RUN * ROWS
            assert len(store.rows) == per_wave

            store.away = False
            await until(lambda: len(store.rows) >= per_wave * (1 + OUTAGE) and recorder.held == 0)
            assert await position() == dict.fromkeys(range(PARTITIONS), FRAMES * (1 + OUTAGE))
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert sorted(ids(store.rows)) == sorted(f"st-{number}" for number in range(per_wave * (1 + OUTAGE)))
    assert len(set(store.tokens)) == len(store.tokens)
