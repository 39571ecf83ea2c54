"""Connections to a server: addresses, a server that is away, silent or too old, and no password in any message."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from jianguan.errors import ConfigurationError, UnavailableError
from sinks.server import OLDEST, ServerStore, check_version
from sinks.server_pool import Address, Limits, ServerPool
from sinks.store import NotAllowedError
from tests.clickhouse import version

QUICK = Limits(connections=2, connect_s=1.0, answer_s=1.0, turn_s=0.2)


@pytest.mark.parametrize(
    ("url", "hosts", "user", "database", "secure"),
    [
        ("clickhouse://host", (("host", 9000),), "default", "jianguan", False),
        ("clickhouse://me@host:1234/db", (("host", 1234),), "me", "db", False),
        ("clickhouse://me:p%40ss@a,b:9001/db", (("a", 9000), ("b", 9001)), "me", "db", False),
        ("clickhouse://host/db?secure=true", (("host", 9440),), "default", "db", True),
        ("clickhouses://[::1]/db", (("::1", 9440),), "default", "db", True),
    ],
)
def test_an_address_says_where_and_who(
    url: str, hosts: tuple[tuple[str, int], ...], user: str, database: str, secure: bool
) -> None:
    address = Address.parse(url)
    assert (address.hosts, address.user, address.database, address.secure) == (hosts, user, database, secure)


@pytest.mark.network
def test_every_host_is_tried_in_turn_whatever_its_address_looks_like() -> None:
    # A socket that is bound and does not listen: nobody answers there, and nobody else can.
    with socket.socket(socket.AF_INET) as four, socket.socket(socket.AF_INET6) as six:
        four.bind(("127.0.0.1", 0))
        six.bind(("::1", 0))
        ports = four.getsockname()[1], six.getsockname()[1]
        pool = ServerPool(Address.parse(f"clickhouse://127.0.0.1:{ports[0]},[::1]:{ports[1]}/db"), QUICK)
        with pytest.raises(UnavailableError, match=rf"\[::1\]:{ports[1]}"):
            pool.execute("SELECT 1")
        pool.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:9000",
        "http://host:8123",
        "clickhouse://",
        "clickhouse://me@:9000",
        "clickhouse://host:port",
        "clickhouse://host/da-ta",
        "clickhouse://host/a;DROP",
        "clickhouse://host/db?compress=1",
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Address.parse(url)


def test_a_password_is_in_no_text_of_an_address() -> None:
    address = Address.parse("clickhouse://me:hunter2@host/db")
    assert address.password == "hunter2"
    assert "hunter2" not in f"{address} {address!r}"
    assert Address.parse("clickhouse://me@host/db", "hunter3").password == "hunter3"


@pytest.mark.parametrize("password", ["{}{}{}", "12{}{}{}", "{}@{}{}", "{}:{}{}", "{}{}={}", "12{}{}=1&{}"])
@pytest.mark.parametrize("sign", ["/", "?", "#", "[", "]", "\u2100"])
def test_a_password_that_is_not_encoded_is_refused_without_a_piece_of_it(password: str, sign: str) -> None:
    secret = password.format("Gh7s", sign, "Kq2vT9")
    with pytest.raises(ConfigurationError, match="must be percent-encoded") as caught:
        Address.parse(f"clickhouse://me:{secret}@host:9000/db")
    told = "".join(traceback.format_exception(caught.value))  # as a log has it
    assert "Gh7s" not in told
    assert "Kq2vT9" not in told
    assert Address.parse(f"clickhouse://me:{quote(secret, safe='')}@host:9000/db").password == secret


@pytest.mark.parametrize("version", ["18.16.1", "22.8.20.11", "23.7.1", "", "unknown"])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match=r"needs 23\.8 or newer"):
        check_version(version)


@pytest.mark.parametrize("version", ["23.8.1.2992", "24.3", "26.5.1.1"])
def test_a_server_that_is_new_enough_is_taken(version: str) -> None:
    check_version(version)


@contextmanager
def silent_server() -> Iterator[tuple[int, list[socket.socket]]]:
    """Takes connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], taken
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for each in taken:
            each.close()


@pytest.mark.network
def test_a_server_that_is_away_is_unavailable_and_the_message_has_no_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = ServerStore(f"clickhouse://me@127.0.0.1:{port}/db", password="hunter2", limits=QUICK)
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}") as caught:
        store.start()
    assert "hunter2" not in str(caught.value)
    store.close()


@pytest.mark.network
def test_a_silent_server_is_unavailable_after_the_timeout_and_was_tried_twice() -> None:
    with silent_server() as (port, taken):
        pool = ServerPool(Address.parse(f"clickhouse://127.0.0.1:{port}/db"), QUICK)
        with pytest.raises(UnavailableError, match="does not answer"):
            pool.execute("SELECT 1")
        pool.close()
        assert len(taken) == QUICK.attempts


@pytest.mark.network
def test_who_finds_every_connection_busy_is_told_to_try_again() -> None:
    with silent_server() as (port, taken):
        limits = Limits(connections=1, connect_s=5.0, answer_s=5.0, turn_s=0.05, attempts=1)
        pool = ServerPool(Address.parse(f"clickhouse://127.0.0.1:{port}/db"), limits)
        faults: list[BaseException] = []

        def ask() -> None:
            try:
                pool.execute("SELECT 1")
            except UnavailableError as fault:
                faults.append(fault)

        first = threading.Thread(target=ask)
        first.start()
        while not taken:
            assert first.is_alive()
        with pytest.raises(UnavailableError, match="busy"):
            pool.execute("SELECT 1")
        taken[0].shutdown(socket.SHUT_RDWR)
        first.join(10)
        assert len(faults) == 1
        pool.close()


def test_a_user_that_is_refused_at_a_start_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pool: ServerPool, sql: str, parameters: object = None) -> list[tuple[object, ...]]:
        raise NotAllowedError("the store refuses its user")

    monkeypatch.setattr(ServerPool, "execute", refuse)
    store = ServerStore("clickhouse://me@127.0.0.1/db")
    for ask in (store.start, store.missing):
        with pytest.raises(ConfigurationError, match="refuses its user"):
            ask()
    with pytest.raises(NotAllowedError):  # while it runs, records wait until the user is let in again
        store.query("SELECT 1")


def test_a_closed_pool_says_so() -> None:
    pool = ServerPool(Address.parse("clickhouse://127.0.0.1/db"), QUICK)
    pool.close()
    with pytest.raises(UnavailableError, match="closed"):
        pool.execute("SELECT 1")


@pytest.fixture
def any_server(clickhouse_url: str) -> Iterator[ServerPool]:
    """A pool on a server of whatever age."""
    pool = ServerPool(Address.parse(f"{clickhouse_url.rstrip('/')}/default"), Limits(connections=2))
    pool.execute("DROP TABLE IF EXISTS jianguan_pool_test")
    yield pool
    pool.execute("DROP TABLE IF EXISTS jianguan_pool_test")
    pool.close()


@pytest.mark.clickhouse
@pytest.mark.network
def test_columns_arrive_in_a_real_server_and_a_broken_connection_is_replaced(any_server: ServerPool) -> None:
    any_server.execute(
        "CREATE TABLE jianguan_pool_test (id String, n Nullable(Int64), tags Array(String), raw String)"
        " ENGINE = ReplacingMergeTree ORDER BY id"
    )
    sql = "INSERT INTO jianguan_pool_test (id, n, tags, raw) VALUES"
    columns: list[list[object]] = [["a", "b🎈"], [1, None], [("x",), ()], [b"\0\xff", b""]]
    any_server.insert(sql, columns)
    assert columns[1] == [1, None]
    any_server._idle[0].connection.socket.shutdown(socket.SHUT_RDWR)
    any_server.insert(sql, columns)
    rows = any_server.execute("SELECT id, n, tags, hex(raw) FROM jianguan_pool_test FINAL ORDER BY id")
    assert [(a, b, list(c), d) for a, b, c, d in rows] == [("a", 1, ["x"], "00FF"), ("b🎈", None, [], "")]
    assert [row for block in any_server.blocks("SELECT number FROM system.numbers LIMIT 3") for row in block]
    with pytest.raises(UnicodeEncodeError):
        any_server.insert(sql, [["\ud800"], [1], [()], [b""]])
    assert any_server.execute("SELECT count() FROM jianguan_pool_test FINAL") == [(2,)]


@pytest.mark.clickhouse
@pytest.mark.network
def test_a_real_server_that_is_too_old_is_refused(clickhouse_url: str) -> None:
    if version(clickhouse_url) >= OLDEST:
        pytest.skip("the server in CLICKHOUSE_URL is new enough; Debian's is not")
    store = ServerStore(f"{clickhouse_url.rstrip('/')}/jianguan")
    with pytest.raises(ConfigurationError, match=r"needs 23\.8 or newer"):
        store.start()
    store.close()
