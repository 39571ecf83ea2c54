"""What tests of several folders share. Keep it small: a fixture that one folder needs lives in that folder."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jianguan.clock import SystemClock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from sinks.server import OLDEST
from tests.clickhouse import debian_server, native_server, version
from tests.cluster.kafka import KafkaCluster, leads_groups
from tests.requirements import clickhouse
from tests.requirements import kafka as kafka_of_machine

# A test that asks for one of these fixtures must carry the marker of the same line.
MARKER_OF_FIXTURE = {
    "broker": "broker",
    "clickhouse_url": "clickhouse",
    "current_clickhouse_url": "clickhouse",
    "kafka": "kafka",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that touches a broker without saying so."""
    for item in items:
        for fixture, marker in MARKER_OF_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()) and item.get_closest_marker(marker) is None:
                raise pytest.UsageError(f"{item.nodeid} uses {fixture!r}: mark it with pytest.mark.{marker}")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of one Apache Kafka for the whole run. Tests share it: use topics and groups of your own."""
    found = kafka_of_machine()
    if not Path(found).is_dir():
        yield urlsplit(found).netloc
        return
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        cluster.start()
        asyncio.run(leads_groups(cluster.bootstrap))
        yield cluster.bootstrap
        if not cluster.nodes[0].running:
            pytest.fail(f"the Kafka of the tests died on its way: {cluster.nodes[0].tail()}")


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> str:
    """`host:port` of a broker for the whole run: what is promised holds on the embedded one and on Apache Kafka."""
    name = {"embedded": "embedded_broker", "kafka": "kafka"}[request.param]
    address: str = request.getfixturevalue(name)
    return address


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of one embedded broker for the whole run."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="broker-of-the-tests", daemon=True)
    thread.start()
    deaths: list[int] = []
    child = EmbeddedBroker(BrokerOptions(tmp_path_factory.mktemp("broker")), SystemClock(), deaths.append)
    try:
        yield asyncio.run_coroutine_threadsafe(child.start(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(child.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
    if deaths:
        pytest.fail(f"the broker of the tests died on its way, exit code {deaths[0]}: see {child.log_path}")


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ClickHouse server of whatever age, without a database."""
    found = clickhouse()
    if found.startswith("clickhouse"):
        yield found
        return
    with debian_server(found, tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url


@pytest.fixture(scope="session")
def current_clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL, without a database, of a server that can hold the schema.

    The one in CLICKHOUSE_URL if it is new enough, else the engine of a current one behind the native protocol.
    """
    given = os.environ.get("CLICKHOUSE_URL", "").rstrip("/")
    if given and version(given) >= OLDEST:
        yield given
        return
    with native_server(tmp_path_factory.mktemp("native")) as server:
        yield server.url
