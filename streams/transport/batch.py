"""The transport as an app and its agents see it: named in a broker's URL, with topics whose messages are runs.

Used by broker URLs `jianguan-batch://host:port`. It must not know what is in a record, nor how runs are fetched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeAlias

import faust
from faust.transport.drivers import aiokafka as driver

from jianguan.errors import ConfigurationError
from streams.lease import Lease
from streams.namesake import Namesake
from streams.transport.consumer import BatchConsumer
from streams.transport.ledger import RunLedger
from streams.transport.options import BatchOptions
from streams.transport.run import Run

# Faust has no types of its own that mypy could follow here.
App: TypeAlias = Any
Topic: TypeAlias = Any
Stream: TypeAlias = Any
Message: TypeAlias = Any


class RunSchema(faust.Schema):  # type: ignore[misc]  # Faust is untyped here
    """Gives the agent the Run object itself: no codec touches key or value on the way in; out they are raw."""

    def __init__(self) -> None:
        super().__init__(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", allow_empty=True
        )

    def loads_key(self, app: App, message: Message, **_: Any) -> None:
        return None

    def loads_value(self, app: App, message: Message, **_: Any) -> Any:
        return message.value


class BatchTransport(driver.Transport):  # type: ignore[misc]  # Faust is untyped here
    """Registered under the entry point `faust.transports` as `jianguan-batch`."""

    Consumer = BatchConsumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = BatchOptions()
        self.batch_topics: set[str] = set()
        conf = self.app.conf
        self.lease = Lease(conf.broker_session_timeout)
        self.namesake = Namesake(conf.consumer_group_instance_id or "", conf.broker_session_timeout)


def transport_of(app: App) -> BatchTransport:
    """The batch transport of `app`. Raises ConfigurationError if its broker URL names another one."""
    transport = app.transport
    if not isinstance(transport, BatchTransport):
        raise ConfigurationError(
            f"the app {app.conf.id} uses the transport {type(transport).__name__}: "
            "its broker URL must begin with jianguan-batch://"
        )
    return transport


def batch_topic(app: App, name: str, *, partitions: int | None = None) -> Topic:
    """Declare that agents of topic `name` receive runs, and return the topic for `@app.agent(...)`.

    Give the topic one agent with concurrency 1: order within a partition is kept for one reader only.
    """
    transport_of(app).batch_topics.add(name)
    return app.topic(name, partitions=partitions, schema=RunSchema())


async def each_run(stream: Stream) -> AsyncIterator[Run]:
    """The runs of a batch topic, each acknowledged when the body of the loop is through with it.

    `async for run in each_run(stream)` inside an agent. If the body raises or is cancelled, that run and all
    after it stay uncommitted and come again; with `async for run in stream` Faust would acknowledge it.
    """
    async for event in stream.noack().events():
        yield event.value
        event.ack()


async def each_unacknowledged(stream: Stream) -> AsyncIterator[tuple[Run, Callable[[], Any]]]:
    """The runs of a batch topic, each with what acknowledges it: for an agent that works several at a time."""
    async for event in stream.noack().events():
        yield event.value, event.ack


def acknowledged_positions(app: App) -> dict[tuple[str, int], int]:
    """By topic and partition of the batch topics, the position that the next commit will reach: where nothing has been
    acknowledged since the partition was assigned, what was committed before. A partition without any is not there."""
    consumer: Any = app.consumer
    found = {
        (tp.topic, tp.partition): int(offset)
        for tp, offset in getattr(consumer, "_committed_offset", {}).items()
        if offset and tp.topic in consumer._batch_topics
    }
    ledgers: Iterable[tuple[Any, RunLedger]] = getattr(consumer, "_ledgers", {}).items()
    found.update({(tp.topic, tp.partition): ledger.position for tp, ledger in ledgers if ledger.position is not None})
    return found
