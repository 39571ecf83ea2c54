"""Sends the stream: records of one door in their order, each until it is acknowledged, and remembers the receipts.

Over HTTP a batch is sent again with the same Idempotency-Key until an answer comes. To Kafka an idempotent producer
sends, so that a record of another program's is in the topic once. What was acknowledged must never be lost.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from jianguan.clock import SystemClock, to_millis
from tests.chaos.stream import Sent

BATCH: Final = 200
PATIENCE_MS: Final = 600_000
PAUSE: Final = 0.25  # seconds between two attempts


class Feed:
    """Both doors. `start` begins; `done` says that everything is acknowledged."""

    def __init__(self, records: Sequence[Sent], url: str, bootstrap: str, prefix: str, name: str) -> None:
        """`name` makes the keys of the uploads of this feed different from those of others."""
        self._records = {door: [each for each in records if each.door == door] for door in ("http", "kafka")}
        self._url = url
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._name = name
        self._began = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True, name=f"feed-{name}")
            for work in (self._by_http, lambda: asyncio.run(self._by_kafka()))
        ]
        self.receipts: dict[str, Sent] = {}
        self.attempts_failed = 0
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin now."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def done(self) -> bool:
        """Whether all is acknowledged. Raises what a door failed of."""
        if self.failure is not None:
            raise RuntimeError("the feed failed, so this run says nothing") from self.failure
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told by `done`, in the main thread
            self.failure = error

    def _due(self, door: str, place: int) -> int:
        """Where those that are not due yet begin."""
        records, passed = self._records[door], time.monotonic() - self._began
        while place < len(records) and records[place].at <= passed:
            place += 1
        return place

    def _by_http(self) -> None:
        records, place, number = self._records["http"], 0, 0
        with httpx.Client(base_url=self._url, timeout=10, trust_env=False) as client:
            while place < len(records) and not self._stop.is_set():
                due = min(self._due("http", place), place + BATCH)
                if due == place:
                    self._stop.wait(0.02)
                    continue
                number += 1
                self._upload(client, records[place:due], f"{self._name}-{number:06d}")
                place = due

    def _upload(self, client: httpx.Client, batch: Sequence[Sent], key: str) -> None:
        headers = {
            "content-type": "application/x-ndjson",
            "idempotency-key": key,
            "jianguan-submission": self._name,
        }
        body = b"\n".join([each.value for each in batch])
        while not self._stop.is_set():
            try:
                response = client.post("/v1/events", content=body, headers=headers)
            except httpx.TransportError:
                pass
            else:
                if response.status_code in (202, 422):  # taken; 422: none of them is an event
                    self._acknowledged(batch, [each["receipt"] for each in response.json()["results"]])
                    return
                if response.status_code not in (429, 500, 502, 503):
                    raise RuntimeError(f"the intake answered {response.status_code}: {response.text[:500]}")
            self.attempts_failed += 1
            self._stop.wait(PAUSE)

    async def _by_kafka(self) -> None:
        # It gives records up that wait so long for a leader, although it is idempotent: longer than any outage here.
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, linger_ms=5,
            request_timeout_ms=PATIENCE_MS,
        )  # fmt: skip
        await self._until_sent(producer.start)
        records, place = self._records["kafka"], 0
        waiting: list[asyncio.Task[None]] = []
        clock = SystemClock()
        try:
            while place < len(records) and not self._stop.is_set():
                due = self._due("kafka", place)
                if due == place:
                    await asyncio.sleep(0.02)
                for each in records[place:due]:
                    queued = await self._until_sent(self._sending(producer, each, to_millis(clock.now())))
                    waiting.append(asyncio.create_task(self._taken(each, queued)))
                place = due
            await asyncio.gather(*waiting)
        finally:
            await producer.stop()

    def _sending(self, producer: Any, each: Sent, now: int) -> Callable[[], Any]:
        topic, key = f"{self._prefix}{each.topic}", each.key.encode()
        return lambda: producer.send(topic, each.value, key=key, timestamp_ms=now)

    async def _until_sent(self, send: Callable[[], Any]) -> Any:
        """What is not queued yet may be tried again without being there twice."""
        while True:
            try:
                return await send()
            except KafkaError:
                self.attempts_failed += 1
                if self._stop.is_set():
                    raise
                await asyncio.sleep(PAUSE)

    async def _taken(self, each: Sent, queued: Any) -> None:
        place = await queued
        self._acknowledged([each], [f"{place.topic}/{place.partition}/{place.offset}"])

    def _acknowledged(self, batch: Sequence[Sent], receipts: Sequence[str]) -> None:
        with self._lock:
            self.receipts.update(zip(receipts, batch, strict=True))
