"""The thread in which the broker's client fetches and commits for Faust, with limits that Faust does not let one set.

It must not know runs, nor what becomes of what was fetched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.protocol.group import JoinGroupRequest
from faust.transport.drivers import aiokafka as driver

from streams.assignor import TogetherAssignor
from streams.lease import Lease
from streams.namesake import Namesake
from streams.transport.ends import end_offsets
from streams.transport.names import take_any_name
from streams.transport.options import BatchOptions
from streams.transport.wait import give_time

# Faust has no types of its own that mypy could follow here.
Partition: TypeAlias = Any


class Transport(Protocol):
    """What the client asks its transport for."""

    options: BatchOptions
    lease: Lease
    namesake: Namesake


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is untyped here
    """Faust's thread around the aiokafka consumer, with fetch limits that can be set."""

    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # They are read when the consumer starts, which is after this.
        consumer._fetch_max_wait_ms = transport.options.fetch_max_wait_ms
        consumer._fetch_max_bytes = transport.options.fetch_max_bytes
        consumer._max_partition_fetch_bytes = transport.options.max_partition_fetch_bytes
        # The rest of a fetch waits unparsed. Not left to the byte limits: Tansu ignores that of a partition.
        consumer._max_poll_records = transport.options.in_flight_records
        if self._assignor is RoundRobinPartitionAssignor:
            # Faust's choice without tables. It deals out partitions one by one: those of one number to several workers.
            consumer._partition_assignment_strategy = (TogetherAssignor(),)
        return consumer

    async def on_start(self) -> None:
        """Start the client, let it take header names of any bytes, give its fetches time, and note each heartbeat that
        the group answers."""
        take_any_name()
        await super().on_start()
        give_time(self._consumer._fetcher)
        coordinator, lease, namesake = self._consumer._coordinator, self.transport.lease, self.transport.namesake
        beat = coordinator._do_heartbeat

        async def noted() -> bool:
            sent = time.monotonic()
            answered: bool = await beat()
            if answered:
                lease.renew(sent)
                namesake.answered(sent)
            elif coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                namesake.unknown(sent)
            return answered

        coordinator._do_heartbeat = noted

    async def _commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit within `commit_timeout`, or not: the client waits for a dead broker without end, and so would a stop.

        What is not committed is processed again.
        """
        options: BatchOptions = self.transport.options
        try:
            async with asyncio.timeout(options.commit_timeout):
                committed: bool = await super()._commit(offsets)
        except TimeoutError:
            self.log.warning("nothing was committed in %g s: the broker does not answer", options.commit_timeout)
            return False
        return committed

    async def on_thread_stop(self) -> None:
        """Stop the client. Without a broker aiokafka lets the end of its own fetches out as a cancellation of ours:
        the thread would end without a word, and whoever stops it would wait for ever."""
        if self._consumer is not None and (coordinator := self._consumer._coordinator) is not None:
            # aiokafka does not leave the group when it has a name. But who is stopped in good order may never come
            # again, and others should not wait for it.
            coordinator._group_instance_id = None
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if self._consumer is not None:
                await self._consumer._client.close()

    async def _highwaters(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The real ends of changelogs, up to which tables are restored. See ends."""
        conf, transport = self.app.conf, self.transport
        ends = await end_offsets(
            partitions,
            deadline=conf.broker_request_timeout,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            isolation_level="read_committed" if self.consumer.in_transaction else "read_uncommitted",
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )
        return {tp: ends[tp] for tp in partitions}
