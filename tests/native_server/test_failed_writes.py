"""A server does not say that it has what it could not write."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clickhouse_driver
import clickhouse_driver.errors
import pytest

from tests.clickhouse import NativeServer
from tests.native_server.engine import UNWRITTEN

pytestmark = pytest.mark.store

SMALL = 4 * 1024  # bytes of a file
ROWS = 4_000  # whose file is larger
TOLD = f"INSERT INTO t SELECT cityHash64(number) FROM numbers({ROWS})"


def limit(server: NativeServer, size: int) -> None:
    process = server._process
    assert process is not None
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NativeServer]:
    made = NativeServer(tmp_path / "server")
    made.start()
    yield made
    made.kill()


@contextmanager
def client(server: NativeServer) -> Iterator[clickhouse_driver.Client]:
    made = clickhouse_driver.Client.from_url(server.url)
    try:
        yield made
    finally:
        made.disconnect()


def tell(server: NativeServer) -> None:
    with client(server) as connection:
        connection.execute(TOLD, settings={"insert_deduplication_token": "run-1"})


def test_a_server_that_cannot_write_ends_and_has_what_it_is_told_again(server: NativeServer) -> None:
    with client(server) as connection:
        connection.execute(
            "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100"
        )
    limit(server, SMALL)
    with pytest.raises((clickhouse_driver.errors.NetworkError, EOFError)):
        tell(server)
    process = server._process
    assert process is not None
    assert process.wait(10) == UNWRITTEN
    server.kill()
    server.start()
    tell(server)
    tell(server)
    with client(server) as connection:
        assert connection.execute("SELECT count(), uniqExact(n) FROM t") == [(ROWS, ROWS)]
