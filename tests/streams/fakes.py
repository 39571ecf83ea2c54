"""Brokers and stores made of lists, which fail when they are told to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jianguan.columns import Columns
from jianguan.domain.trace import TABLES, Records


class Place(NamedTuple):
    topic: str
    partition: int
    offset: int


class Sent(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    partition: int
    headers: list[tuple[str, bytes]]


@dataclass
class FakeProducer:
    """Takes records; `failures` are raised first, one for each record that is sent: when it is waited for, or, those
    that are `at_once`, by the sending itself."""

    sent: list[Sent] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    at_once: list[Exception] = field(default_factory=list)
    ends: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    gate: asyncio.Event | None = None  # acknowledge only once it is set

    async def send(
        self, topic: str, key: bytes, value: bytes, partition: int, timestamp: None, headers: list[tuple[str, bytes]]
    ) -> Awaitable[Place]:
        if self.at_once:
            raise self.at_once.pop(0)
        failure = self.failures.pop(0) if self.failures else None
        return asyncio.ensure_future(self._acknowledge(Sent(topic, key, value, partition, headers), failure))

    async def _acknowledge(self, sent: Sent, failure: Exception | None) -> Place:
        if self.gate is not None:
            await self.gate.wait()
        if failure is not None:
            raise failure
        self.sent.append(sent)
        offset = self.ends[(sent.topic, sent.partition)]
        self.ends[(sent.topic, sent.partition)] = offset + 1
        return Place(sent.topic, sent.partition, offset)


@dataclass
class FakeApp:
    """As much of a Faust app as an outbox needs."""

    producer: FakeProducer = field(default_factory=FakeProducer)


@dataclass
class FakeStore:
    """Keeps rows in lists. `failures` are raised first, one a write; then `refuse` may raise for what it sees."""

    rows: Records = field(default_factory=Records)
    tokens: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    refuse: Callable[[Records], None] = lambda records: None
    writes: int = 0

    def start(self) -> None: ...
    def maintain(self) -> None: ...
    def close(self) -> None: ...
    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        raise AssertionError("nobody asks here")

    def write(self, records: Records | Columns, token: str) -> None:
        self.writes += 1
        if isinstance(records, Columns):
            records = records.records()
        if self.failures:
            raise self.failures.pop(0)
        self.refuse(records)
        self.tokens.append(token)
        self.rows.extend(records)


def ids(records: Records) -> list[str]:
    """The ids of every row."""
    return [getattr(row, "id", None) or row.event for table in TABLES for row in getattr(records, table)]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Let the others run until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is anything
            await asyncio.sleep(0.001)
