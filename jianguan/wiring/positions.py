"""How far the group has come: what it has committed and where the topics end, asked of the brokers.

Connections of its own and no membership: it asks about partitions that other workers have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from jianguan.errors import UnavailableError
from streams import rights
from streams.broker import Broker, client_options
from streams.login import RefusedError, let_in
from streams.topics import TopicName

DEADLINE: Final = 20.0  # seconds

Positions = Mapping[tuple[str, int], int]
"""Offsets by topic (without prefix) and partition."""


class GroupPositions:
    """Asks; connects when it is asked first, and anew after a failure."""

    def __init__(self, broker: Broker | str, group: str, prefix: str, partitions: int) -> None:
        self._broker = broker
        self._group = group
        self._prefix = prefix
        self._partitions = partitions
        self._admin: Any = None
        self._consumer: Any = None
        self._lock = asyncio.Lock()
        self.refusal = ""  # why the brokers did not let us in when they were asked last

    async def committed(self, topics: Iterable[TopicName]) -> Positions:
        """The next offsets to be processed; of a partition without one, that of its oldest record. UnavailableError."""
        asked = self._places(topics)

        async def ask() -> Mapping[Any, int]:
            told = await self._admin.list_consumer_group_offsets(self._group, partitions=asked)
            found = {place: meta.offset for place, meta in told.items() if meta.offset >= 0}
            without = [place for place in asked if place not in found]
            # Records that retention has deleted before anybody read them are not waited for.
            return {**found, **(await self._consumer.beginning_offsets(without) if without else {})}

        return self._named(await self._asked(ask))

    async def ends(self, topics: Iterable[TopicName]) -> Positions:
        """The offsets after the last records. UnavailableError."""
        asked = self._places(topics)

        async def ask() -> Mapping[Any, int]:
            found: Mapping[Any, int] = await self._consumer.end_offsets(asked)
            return found

        return self._named(await self._asked(ask))

    async def denied(self) -> str:
        """Which rights are missing that the topics and the group need; empty when none is. UnavailableError."""
        names = [topic.under(self._prefix) for topic in TopicName]

        async def ask() -> rights.Denied:
            return await rights.denied(self._admin, names, self._group)

        return rights.sentence(self._broker, await self._asked(ask))

    def _named(self, found: Mapping[Any, int]) -> Positions:
        return {(place.topic.removeprefix(self._prefix), place.partition): offset for place, offset in found.items()}

    async def close(self) -> None:
        """End the connections."""
        admin, consumer = self._admin, self._consumer
        self._admin = self._consumer = None
        if admin is not None:
            await admin.close()
        if consumer is not None:
            await consumer.stop()

    def _places(self, topics: Iterable[TopicName]) -> list[TopicPartition]:
        return [
            TopicPartition(topic.under(self._prefix), partition)
            for topic in topics
            for partition in range(self._partitions)
        ]

    async def _asked(self, ask: Any) -> Mapping[Any, Any]:
        async with self._lock:
            try:
                async with asyncio.timeout(DEADLINE):
                    await self._connect()
                    found: Mapping[Any, Any] = await ask()
                    self.refusal = ""
                    return found
            # aiokafka trips over its own answer when a partition's offset cannot be told.
            except (KafkaError, OSError, TimeoutError, AttributeError) as error:
                await self.close()
                self.refusal = await self._refused()
                reason = self.refusal or repr(error)
                raise UnavailableError(f"the brokers do not tell how far the workers have come: {reason}") from error

    async def _refused(self) -> str:
        """Why they do not let us in: aiokafka does not tell. Empty when it is something else."""
        try:
            await let_in(self._broker)
        except RefusedError as error:
            return str(error)
        except (KafkaError, OSError, TimeoutError):
            return ""
        return ""

    async def _connect(self) -> None:
        if self._admin is not None and self._consumer is not None:
            return
        self._admin = AIOKafkaAdminClient(**client_options(self._broker), request_timeout_ms=int(DEADLINE * 500))
        self._consumer = AIOKafkaConsumer(**client_options(self._broker), group_id=None, enable_auto_commit=False)
        await self._admin.start()
        await self._consumer.start()
