"""Makes the Faust app, with every option that Faust gets wrong by default set right, in one place.

The app runs inside an event loop that exists already, beside an HTTP server: `await app.start()`,
`await app.stop()`. No Faust Worker: it would take over signals, logging and standard output.
It must not know agents or topics: they are added to the app that it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import FaustError
from faust.tables.manager import TableManager

from jianguan.errors import ConfigurationError, UnavailableError
from streams.broker import Broker, broker_at, faust_credentials
from streams.transport.batch import App, transport_of
from streams.transport.options import BatchOptions

SCHEME = "jianguan-batch"


@dataclass(frozen=True, slots=True)
class FaustOptions:
    """Settings of one worker. Times in seconds, sizes in bytes.

    The times are right for the embedded broker, which holds a group join for half of `session_timeout`.
    For a cluster take 30, 3 and 60: the group then survives a broker's restart without a rebalance.
    """

    app_id: str
    broker: Broker | str
    data_dir: Path
    name: str = ""  # of this worker in its group, the same after a restart; see streams/namesake.py
    session_timeout: float = 6.0
    heartbeat_interval: float = 1.5
    rebalance_timeout: float = 4.0
    request_timeout: float = 20.0
    commit_interval: float = 1.0
    linger: float = 0.0
    max_request_bytes: int = 4_194_304
    max_batch_bytes: int = 262_144
    compression: str | None = None
    acks: int = -1
    default_partitions: int = 1
    replication_factor: int = 1
    batch: BatchOptions = field(default_factory=BatchOptions)

    def __post_init__(self) -> None:
        if self.acks == 0:
            raise ConfigurationError("acks=0 loses records in silence and crashes the client: use 1 or -1 (all)")
        if not self.heartbeat_interval * 3 <= self.session_timeout <= self.request_timeout:
            raise ConfigurationError(
                "the broker's timeouts do not fit: three heartbeats must fit into the session "
                f"({self.heartbeat_interval:g} * 3 <= {self.session_timeout:g}), and the session into a request "
                f"({self.session_timeout:g} <= {self.request_timeout:g})"
            )


class PromptTableManager(TableManager):  # type: ignore[misc]  # Faust is untyped here
    """Faust's, without the second that it sleeps at the start for tables that nobody declares late here."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def create_app(options: FaustOptions) -> App:
    """A Faust app on the batch transport, not started, without agents, topics or a web server."""
    broker = broker_at(options.broker)
    servers = [server.strip() for server in broker.servers.split(",") if server.strip()]
    if not servers or any(":" not in server for server in servers):
        raise ConfigurationError(f"the broker is not host:port, or several with commas: {broker.servers!r}")
    app: App = faust.App(
        options.app_id,
        broker=[f"{SCHEME}://{server}" for server in servers],
        broker_credentials=faust_credentials(broker),
        datadir=options.data_dir,
        store="memory://",
        # broker
        broker_session_timeout=options.session_timeout,
        broker_heartbeat_interval=options.heartbeat_interval,
        broker_rebalance_timeout=options.rebalance_timeout,
        broker_request_timeout=options.request_timeout,
        broker_commit_interval=options.commit_interval,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=options.name or None,
        consumer_max_fetch_size=options.batch.max_partition_fetch_bytes,
        # producer
        producer_linger=options.linger,
        producer_acks=options.acks,
        producer_max_request_size=options.max_request_bytes,
        producer_max_batch_size=options.max_batch_bytes,
        producer_compression_type=options.compression,
        producer_request_timeout=options.request_timeout,
        # topics are created and checked by streams.topics before the start
        topic_partitions=options.default_partitions,
        topic_replication_factor=options.replication_factor,
        topic_disable_leader=True,
        table_standby_replicas=0,
        TableManager=PromptTableManager,
        # what only a Faust Worker would want
        autodiscover=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        stream_wait_empty=True,
    )
    transport_of(app).options = options.batch
    return app


async def connected(start: Callable[[], Awaitable[Any]]) -> None:
    """Start a client of the brokers. They were there a moment ago: UnavailableError when they are not any more, so that
    whoever starts it can try again, or end with a sentence and the code for that."""
    try:
        await start()
    except (KafkaError, FaustError) as error:
        raise UnavailableError(f"the broker went away while this process started: {error!r}") from error
