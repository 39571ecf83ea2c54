"""What the driver hears from the stand-in server: answers, refusals, and the settings of a statement and no other."""

from __future__ import annotations

import datetime as dt
import socket
import uuid
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from tests.clickhouse import NativeServer, native_server

pytestmark = [pytest.mark.network, pytest.mark.clickhouse]

# One column of each kind of layout, with two values.
TYPES: dict[str, tuple[Any, Any]] = {
    "UInt8": (0, 255),
    "Int64": (-(2**63), 2**63 - 1),
    "UInt256": (0, 2**256 - 1),
    "Float64": (0.1, float("-inf")),
    "Bool": (True, False),
    "String": ("", "汉" * 300),
    "FixedString(3)": ("abc", "xyz"),
    "UUID": (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)),
    "IPv4": (IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")),
    "Date": (dt.date(1970, 1, 1), dt.date(2149, 6, 6)),
    "Date32": (dt.date(1900, 1, 1), dt.date(2299, 12, 31)),
    "DateTime64(3, 'UTC')": (dt.datetime(1925, 1, 1, tzinfo=dt.UTC), dt.datetime(2283, 1, 1, tzinfo=dt.UTC)),
    "Decimal(18, 3)": (Decimal("-1.500"), Decimal("999999999999999.999")),
    "Enum8('it\\'s (' = -2, 'a, b' = 1)": ("a, b", "it's ("),
    "Nullable(String)": (None, "x"),
    "LowCardinality(String)": ("", "x"),
    "LowCardinality(Nullable(String))": (None, "x"),
    "Array(Array(UInt16))": ([[1, 2], []], []),
    "Array(LowCardinality(String))": ([], ["a", "b", "a"]),
    "Array(Nullable(Float64))": ([None, 1.5], []),
    "Map(String, Float64)": ({}, {"a": 1.5, "b": -2.0}),
    "Map(LowCardinality(String), Array(String))": ({"k": ["v", ""]}, {}),
    "Tuple(UInt8, String)": ((1, "a"), (2, "")),
    "SimpleAggregateFunction(max, UInt32)": (7, 8),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeServer]:
    """One server for the tests of this module."""
    with native_server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(params=[False, "lz4"], ids=["plain", "lz4"])
def client(server: NativeServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """The driver, with and without compression."""
    made = client_of(server, compression=request.param)
    yield made
    made.disconnect()


def client_of(server: NativeServer, **options: Any) -> Client:
    return Client("127.0.0.1", port=int(server.url.rpartition(":")[2]), **options)


@pytest.mark.parametrize("kind", TYPES)
def test_values_of_every_type_come_back_as_they_were_sent(client: Client, kind: str) -> None:
    values = TYPES[kind]
    client.execute("DROP TABLE IF EXISTS typed")
    client.execute(f"CREATE TABLE typed (n UInt8, v {kind}, last String) ENGINE = MergeTree ORDER BY n")
    rows = [(number, value, "end") for number, value in enumerate(values)]
    assert client.execute("INSERT INTO typed VALUES", rows) == len(values)
    assert client.execute("SELECT n, v, last FROM typed ORDER BY n") == rows
    assert client.execute("SELECT v FROM typed WHERE n > 9", with_column_types=True) == ([], [("v", kind)])


def test_an_answer_comes_in_blocks_of_the_size_that_was_asked_for(client: Client) -> None:
    blocks = client.execute_iter(
        "SELECT number FROM system.numbers LIMIT 2500", settings={"max_block_size": 1000}, chunk_size=1000
    )
    assert [len(block) for block in blocks] == [1000, 1000, 500]


def test_a_setting_holds_for_its_statement_alone(client: Client) -> None:
    def asked(**settings: Any) -> Any:
        return client.execute("SELECT getSetting('max_block_size'), getSetting('max_threads')", settings=settings)[0]

    usual = asked()
    assert usual[1] == 1
    assert asked(max_block_size=77) == (77, 1)
    assert asked(max_threads=2) == (usual[0], 2)
    assert asked() == usual


def test_a_setting_that_is_not_known_is_refused_only_when_it_is_important(server: NativeServer) -> None:
    client = client_of(server)
    assert client.execute("SELECT 1", settings={"no_such_setting": 1}) == [(1,)]
    client.disconnect()
    strict = client_of(server, settings_is_important=True)
    with pytest.raises(ServerException, match="no_such_setting") as caught:
        strict.execute("SELECT 1", settings={"no_such_setting": 1})
    assert caught.value.code == 115


def test_a_wrong_statement_has_the_code_of_the_engine_and_the_connection_goes_on(client: Client) -> None:
    for statement, code in (("SELECT * FROM nowhere", 60), ("SELEKT 1", 62), ("SELECT throwIf(1)", 395)):
        with pytest.raises(ServerException) as caught:
            client.execute(statement)
        assert caught.value.code == code
    with pytest.raises(ServerException) as caught:
        client.execute("INSERT INTO nowhere (a) VALUES", [(1,)])
    assert caught.value.code == 60
    assert client.execute("SELECT 1") == [(1,)]


def test_each_connection_has_its_own_database_and_one_that_is_not_there_is_refused(server: NativeServer) -> None:
    client = client_of(server)
    client.execute("CREATE DATABASE IF NOT EXISTS elsewhere")
    other = client_of(server, database="elsewhere")
    assert other.execute("SELECT currentDatabase()") == [("elsewhere",)]
    assert client.execute("SELECT currentDatabase()") == [("default",)]
    for name in ("nowhere", "a`b"):
        with pytest.raises(ServerException, match="does not exist") as caught:
            client_of(server, database=name).execute("SELECT 1")
        assert caught.value.code == 81
    client.disconnect()
    other.disconnect()


def test_columns_that_nobody_sends_have_their_defaults_and_those_that_nobody_may_send_are_refused(
    client: Client,
) -> None:
    client.execute("DROP TABLE IF EXISTS filled")
    client.execute(
        "CREATE TABLE filled (a UInt8, b String DEFAULT 'x', c UInt8 MATERIALIZED a + 1) ENGINE = MergeTree ORDER BY a"
    )
    client.execute("INSERT INTO filled (a) VALUES", [(1,)])
    client.execute("INSERT INTO filled VALUES", [(2, "y")])
    assert client.execute("SELECT a, b, c FROM filled ORDER BY a") == [(1, "x", 2), (2, "y", 3)]
    with pytest.raises(ServerException) as caught:
        client.execute("INSERT INTO filled (a, z) VALUES", [(1, 2)])
    assert caught.value.code == 16


def test_an_answer_that_is_cancelled_ends(client: Client) -> None:
    progress = client.execute_with_progress(
        "SELECT number FROM system.numbers", settings={"max_block_size": 1000}, columnar=True
    )
    next(progress)
    client.cancel()
    assert client.execute("SELECT 1") == [(1,)]


def test_an_insert_that_the_client_breaks_off_leaves_no_row(server: NativeServer) -> None:
    client = client_of(server)
    client.execute("CREATE TABLE broken (n UInt32) ENGINE = MergeTree ORDER BY n")

    def rows() -> Iterator[tuple[int]]:
        for number in range(10):
            yield (number,)
        raise KeyError("enough")

    with pytest.raises(KeyError):
        client.execute("INSERT INTO broken VALUES", rows(), settings={"insert_block_size": 5})
    assert client.execute("SELECT count() FROM broken") == [(0,)]
    client.disconnect()


def test_who_speaks_an_older_or_another_protocol_is_told(server: NativeServer) -> None:
    with pytest.raises(ServerException, match="older than this server speaks"):
        client_of(server, client_revision=54_450).execute("SELECT 1")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        browser.settimeout(10)
        assert b"first packet" in browser.recv(1000)


def test_two_servers_cannot_have_one_folder(server: NativeServer) -> None:
    second = NativeServer(server._folder)
    with pytest.raises(RuntimeError, match="BlockingIOError"):
        second.start()
