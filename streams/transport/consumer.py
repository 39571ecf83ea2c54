"""Faust's consumer, made to hand an agent whole runs of records instead of single messages.

Faust spends about 70 microseconds on a message before an agent sees it. For topics that opt in with
`batch_topic`, each fetched run of a partition travels through Faust as one message whose value is a `Run`.
All other topics (changelogs, replies, the assignor's) keep Faust's own path unchanged.

It must not know what is in a record.

What it changes in Faust, all of it held by tests/streams/test_faust_pin.py:
- `Consumer.getmany` makes runs for batch topics, and hands them on itself: Faust would begin two tasks for each, and
  fetch no more until the event loop has gone round for all of them;
- commit positions of batch topics come from a `RunLedger` (see there why Faust's own stalls);
- a run counts as processed only if an agent's stream took it up: Faust also acknowledges the messages that
  it skips during a rebalance, and would so commit records that nobody has seen;
- partitions with too much in flight are not fetched, and nobody sleeps a second because of that;
- without tables, the partitions of one number of all topics go to one worker (see assignor);
- tables are restored up to the real end of their changelog;
- whoever sends can ask whether the partitions are still this worker's (see lease);
- a record whose header has a name that is not UTF-8 stops nobody (see names);
- a stop or a rebalance waits a bounded time for runs in progress, and a commit for its broker;
- the fetch limits, of which Faust hard-codes the waiting time at 1.5 s, can be set, and a fetch of what is there has
  more time (see wait).
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage

from streams.transport import client
from streams.transport.ledger import RunLedger
from streams.transport.pace import Pace
from streams.transport.run import Place, Record, Run, cut, size_in_bytes

# Faust has no types of its own that mypy could follow here.
Message: TypeAlias = Any
Partition: TypeAlias = Any

# How long to wait for room or for an assignment before looking again (seconds).
IDLE_WAIT = 0.05
# The longest wait for records of other partitions while one has too much in flight (seconds).
THROTTLED_WAIT = 0.02


class RunMessage(ConsumerMessage):  # type: ignore[misc]  # Faust is untyped here
    """A run on its way through Faust. Its offset is the last record's.

    `acked` is the one place that every way of acknowledging goes through: `event.ack()`, the stream in
    Python, and the stream in Cython, which writes to the consumer's fields without calling it.
    """

    __slots__ = ("_acked", "consumer", "ledger")

    def __init__(self, consumer: BatchConsumer, ledger: RunLedger, tp: Partition, run: Run) -> None:
        last: Any = run.records[-1]
        self._acked = False
        self.consumer = consumer
        self.ledger = ledger
        super().__init__(
            run.topic,
            run.partition,
            run.last_offset,
            last.timestamp / 1000,
            getattr(last, "timestamp_type", 0),
            (),
            None,
            run,
            None,
            0,
            0,
            tp,
            generation_id=consumer.app.consumer_generation_id,
        )

    @property
    def acked(self) -> bool:
        return self._acked

    @acked.setter
    def acked(self, value: bool) -> None:
        first_time = value and not self._acked
        self._acked = value
        # `tracked` is set when a stream takes the message up. Without it this acknowledgement only says that
        # the stream threw the message away, because a rebalance began or ended under it.
        if first_time and self.tracked and self.ledger.finish(self.offset):
            self.consumer.run_finished()


class Transport(client.Transport, Protocol):
    """What the consumer asks its transport for."""

    batch_topics: set[str]


class BatchConsumer(driver.Consumer):  # type: ignore[misc]  # Faust is untyped here
    """Faust's consumer, for which a message of a batch topic is a run."""

    def __init__(self, transport: Transport, *args: Any, **kwargs: Any) -> None:
        self._options = transport.options
        self._batch_topics = transport.batch_topics
        self._lease = transport.lease
        self._namesake = transport.namesake
        self._ledgers: dict[Partition, RunLedger] = {}
        self._room = asyncio.Event()
        self._pace = Pace()
        self._fetched = 0  # records, at the last fetch
        super().__init__(transport, *args, **kwargs)

    def _new_consumer_thread(self) -> client.BatchConsumerThread:
        return client.BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- records in ----------------------------------------------------------------------------------------

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> AsyncIterator[tuple[Partition, Message]]:
        """Fetch, hand on the runs of batch topics, and yield partition and message for all other topics.

        Round robin over topics and partitions, as Faust does it, so that a full partition starves nobody.
        """
        await asyncio.sleep(self._pace.rest(self._fetched))
        fetched, active = await self._wait_next_records(timeout)
        self._fetched = sum(map(len, fetched.values())) if fetched else 0
        generation = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
            return
        queues = {
            tp: list(self._slices(records)) if tp.topic in self._batch_topics else records
            for tp, records in fetched.items()
        }
        room = self.app.conf.stream_buffer_maxsize // 2 - sum(map(len, self._ledgers.values()))
        for tp, item in self.scheduler.iterate(queues):
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break  # the next assignment seeks back to what is committed
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            message = self._run_message(tp, item) if tp.topic in self._batch_topics else self._to_message(tp, item)
            if message is not None:
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                if tp.topic in self._batch_topics and room > 0 and self._flows:
                    await self.callback(message)
                    self._read_offset[tp] = message.offset
                    room -= 1
                else:
                    yield tp, message  # and Faust waits until the agent can take it, or another assignment comes

    @property
    def _flows(self) -> bool:
        """Whether a message can be handed to an agent that has room for it without waiting."""
        app = self.app
        return bool(self.flow_active and app.flow_control.is_active() and app.producer.buffer.size == 0)

    async def _seek_back(self) -> None:
        try:
            await self.perform_seek()
        except Exception as exc:  # noqa: BLE001 - as Faust does: the next assignment seeks again
            self.log.warning("could not seek while the flow was stopped: %r", exc)

    def _slices(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        return cut(records, self._options.run_records, self._options.run_bytes)

    def _run_message(self, tp: Partition, records: Sequence[Record]) -> RunMessage | None:
        """The message for `records` less those that were read before; None if nothing is left."""
        read = self._read_offset[tp]
        if read is not None and records[0].offset < read:
            records = records[bisect_left(records, read, key=_offset_of) :]
            if not records:
                return None
        run = Run(tp.topic, tp.partition, records)
        ledger = self._ledgers.get(tp)
        if ledger is None or not ledger.precedes(run.first_offset):
            # New here, or the partition was rewound: what still runs from before settles in the old ledger.
            ledger = self._ledgers[tp] = RunLedger()
        ledger.hand_out(run.first_offset, run.last_offset, len(run), size_in_bytes(records))
        return RunMessage(self, ledger, tp, run)

    async def _wait_next_records(
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> tuple[Mapping[Partition, Sequence[Any]] | None, set[Partition] | None]:
        if self.app.client_only:
            client: tuple[Any, Any] = await super()._wait_next_records(timeout)
            return client
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        active = self._get_active_partitions()
        full = {tp for tp in active if self._is_full(tp)}
        if full == active:  # also: nothing is assigned. An empty set would mean "all" to the fetcher
            await self._wait_for_room()
            return {}, active
        if full:
            # Nobody wakes a fetch when room appears in a partition that it does not ask for: keep it short.
            timeout = min(timeout, THROTTLED_WAIT)
        return await self._getmany(active_partitions=active - full if full else active, timeout=timeout), active

    def _is_full(self, tp: Partition) -> bool:
        ledger = self._ledgers.get(tp)
        return ledger is not None and (
            ledger.in_flight_records >= self._options.in_flight_records
            or ledger.in_flight_bytes >= self._options.in_flight_bytes
        )

    async def _wait_for_room(self) -> None:
        self._room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_WAIT):
                await self._room.wait()

    def unread(self, topics: Collection[str]) -> dict[Place, bool]:
        """Whether the assigned partitions of these topics have anything that is to come, or that is not acknowledged;
        also while that is not known, as in a rebalance."""
        subscription = self._thread._consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return {
            Place(tp.topic, tp.partition): self._is_unread(tp, assignment)
            for tp in self.assignment()
            if tp.topic in topics
        }

    def _is_unread(self, tp: Partition, assignment: Any) -> bool:
        ledger = self._ledgers.get(tp)
        if (ledger is not None and ledger.in_flight_records) or assignment is None or tp not in assignment.tps:
            return True
        state = assignment.state_value(tp)
        if state is None or not state.has_valid_position or state.highwater is None:
            return True
        return bool(state.position < state.highwater)

    # -- positions out -------------------------------------------------------------------------------------

    def run_finished(self) -> None:
        """Called by a run's message when an agent has finished it."""
        self._room.set()

    async def _add_gap(self, tp: Partition, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self._batch_topics:
            await super()._add_gap(tp, offset_from, offset_to)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[Partition]:
        """Faust's, and the batch partitions from the ledgers: Faust forgets its own list before a rebalance."""
        for tp in super()._filter_tps_with_pending_acks(topics):
            if tp.topic not in self._batch_topics:
                yield tp
        for tp in self._ledgers:
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: Partition) -> int | None:
        if tp.topic not in self._batch_topics:
            position: int | None = super()._new_offset(tp)
            return position
        # Faust's streams note acknowledged offsets here on their own; nobody else would ever remove them.
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        ledger = self._ledgers.get(tp)
        return ledger.position if ledger is not None else None

    async def on_partitions_revoked(self, revoked: set[Partition]) -> None:
        """Finish and commit what is in progress, then forget the partitions: later acks do not count."""
        try:
            await super().on_partitions_revoked(revoked)
        finally:
            for tp in revoked:
                self._ledgers.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[Partition], generation_id: int = 0) -> None:
        """Begin with empty ledgers: a message of an older generation is never processed after this."""
        self._ledgers.clear()
        self._lease.assigned()
        self._namesake.answered(time.monotonic())
        await super().on_partitions_assigned(assigned, generation_id)

    async def wait_empty(self) -> None:
        """Wait until the runs and messages in progress are finished, at most `drain_timeout`, then commit.

        Faust waits without end, so that one stuck agent would hold up the whole group's rebalance.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_timeout):
                while not self.should_stop and self._unacked_messages:
                    acknowledged = asyncio.get_running_loop().create_future()
                    self._waiting_for_ack: Any = acknowledged
                    await acknowledged
                    self._clean_unacked_messages()
        self._waiting_for_ack = None
        if self._unacked_messages:
            self.log.warning(
                "%d runs or messages were not finished in %g s: they will be processed again",
                len(self._unacked_messages),
                self._options.drain_timeout,
            )
        await self.commit_and_end_transactions()


def _offset_of(record: Record) -> int:
    return record.offset
