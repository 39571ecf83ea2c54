"""The way out of a stage: frames to internal topics, acknowledged by the broker before the stage goes on.

Records go to the record stage of the same process instead, where it takes them by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import FaustError

from jianguan.columns import Columns
from jianguan.domain.trace import Records
from jianguan.errors import UnavailableError
from streams.frames import RECORDS, Codec
from streams.topics import TopicName


class Outbox:
    """Sends through the app's producer. `attach` it to the app that runs now."""

    def __init__(
        self, prefix: str, partitions: int, take: Callable[[Records | Columns], Awaitable[bool]] | None = None
    ) -> None:
        """`take` hands records over without a topic between; what it does not take goes over the topic."""
        self._prefix = prefix
        self._partitions = partitions
        self._take = take
        self._app: Any = None
        self._turn = 0
        self.ends: dict[tuple[str, int], int] = {}  # topic without prefix and partition -> offset after our last record

    def attach(self, app: Any) -> None:
        """Use the producer of `app` from now on; None while there is none."""
        self._app = app
        self.ends = {}

    async def raw(
        self, topic: TopicName, key: str, value: bytes, headers: Sequence[tuple[str, bytes]], partition: int
    ) -> Awaitable[Any]:
        """Queue one record; the awaitable that it gives is done when the broker has it. UnavailableError when it cannot
        be queued."""
        if self._app is None:
            raise UnavailableError("the broker is being restarted; try again in a few seconds")
        try:
            sent: Awaitable[Any] = await self._app.producer.send(
                topic.under(self._prefix), key.encode("utf-8", "surrogatepass"), value, partition, None, list(headers)
            )
        except (KafkaError, FaustError) as error:  # Faust wraps the client's errors in its own
            raise _refused(error) from error
        return sent

    async def rows(
        self, topic: TopicName, codec: Codec[Any], by_partition: Mapping[int, Sequence[Any]]
    ) -> list[Awaitable[Any]]:
        """Queue rows as frames, each group to its partition."""
        queued = []
        for partition, rows in by_partition.items():
            for frame in codec.encode(rows):
                queued.append(await self.raw(topic, "", frame, (), partition))
        return queued

    async def records(self, records: Records | Columns) -> list[Awaitable[Any]]:
        """Hand records over for the store, or queue them, spread over the partitions."""
        if not records or (self._take is not None and await self._take(records)):
            return []
        queued = []
        for frame in RECORDS.encode(records):
            self._turn = (self._turn + 1) % self._partitions
            queued.append(await self.raw(TopicName.RECORDS, "", frame, (), self._turn))
        return queued

    async def settle(self, queued: Iterable[Awaitable[Any]]) -> None:
        """Wait until the broker has everything; UnavailableError when it does not take it."""
        waiting = list(queued)
        if waiting:
            ends = self.ends
            try:
                # One is most of what single uploads send, and gathering costs as much as a call of the client.
                places = await asyncio.gather(*waiting) if len(waiting) > 1 else [await waiting[0]]
            except KafkaError as error:
                raise _refused(error) from error
            for place in places:
                topic = place.topic.removeprefix(self._prefix)
                if place.offset >= ends.get((topic, place.partition), 0):
                    ends[(topic, place.partition)] = place.offset + 1

    async def emit(self, records: Records) -> None:
        """Hand records over, or wait until the broker has them; UnavailableError when it does not take them."""
        await self.settle(await self.records(records))


def _refused(error: Exception) -> UnavailableError:
    return UnavailableError(f"the broker did not take a record: {error!r}")
