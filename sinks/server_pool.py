"""Connections to a ClickHouse server: at most so many, each used by one thread at a time, replaced when they break.

Turns the driver's errors into the project's, and never lets a password into a message. Knows statements and columns,
not the schema.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from clickhouse_driver import Client
from clickhouse_driver import errors as driver

from jianguan.errors import ConfigurationError, JianguanError, UnavailableError
from sinks.store import BLOCK_ROWS, DATABASE, checked_name, error_of

T = TypeVar("T")

_PORT: Final = 9000
_SECURE_PORT: Final = 9440
_OPTIONS: Final = ("secure", "ca_certs")
_BROKEN: Final = (driver.NetworkError, driver.SocketTimeoutError, EOFError, OSError)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is and who asks. Its text shows no password."""

    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    secure: bool
    password: str = field(default="", repr=False)
    ca_certs: str | None = None

    @classmethod
    def parse(cls, url: str, password: str = "") -> Address:
        """`clickhouse://user@host:9000,other:9000/database?secure=true&ca_certs=/path`. ConfigurationError if not."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _refused("bad brackets or characters") from None
        if parts.scheme not in ("clickhouse", "clickhouses") or not parts.netloc:
            raise ConfigurationError("the store's address must look like clickhouse://user@host:9000/database")
        if "@" in parts.path or parts.fragment:
            raise _refused("a bad database name")
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not set(options) <= set(_OPTIONS):
            raise _refused(f"an option other than {' and '.join(_OPTIONS)}")
        secure = parts.scheme == "clickhouses" or options.get("secure", "").lower() in ("1", "true", "yes")
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, secret = credentials.partition(":")
        return cls(
            tuple(_host(each, _SECURE_PORT if secure else _PORT) for each in hosts.split(",")),
            unquote(user) or "default",
            checked_name(parts.path.strip("/") or DATABASE),
            secure,
            password or unquote(secret),
            options.get("ca_certs"),
        )

    def __str__(self) -> str:
        return _listed(self.hosts)


def _listed(hosts: Sequence[tuple[str, int]]) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)


def _refused(what: str) -> ConfigurationError:
    """Without a piece of the address: what looks like a port or an option may be part of a password."""
    return ConfigurationError(
        f"the store's address has {what}; a password with / ? # [ ] must be percent-encoded, or be in a file"
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused("a bad port") from None
    if not host:
        raise ConfigurationError("the store's address has no host")
    return host, port or default_port


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, and how long anything may take, in seconds."""

    connections: int = 4
    connect_s: float = 5.0
    answer_s: float = 60.0
    turn_s: float = 30.0  # how long a thread waits for a connection to be free
    attempts: int = 2  # a connection that has been idle may have died: what is idempotent is tried once more


class ServerPool:
    """Thread-safe; blocks. Every method may raise UnavailableError, and StoreError for a wrong statement."""

    def __init__(self, address: Address, limits: Limits, *, settings: Mapping[str, Any] | None = None) -> None:
        self.address = address
        self._limits = limits
        self._settings = dict(settings or {})
        self._turns = threading.BoundedSemaphore(limits.connections)
        self._lock = threading.Lock()
        self._idle: list[Client] = []
        self._closed = False

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows. It must be harmless to run twice."""

        def run(client: Client) -> list[tuple[Any, ...]]:
            rows = client.execute(sql, dict(parameters) if parameters else None)
            return rows if isinstance(rows, list) else []

        return self._again(run)

    def insert(self, sql: str, columns: Sequence[list[Any]], settings: Mapping[str, Any] | None = None) -> None:
        """Run `INSERT INTO … VALUES` with columns of equal length. It must be harmless to run twice."""

        def run(client: Client) -> None:
            # The driver writes into the lists that it is given: another try needs its own.
            client.execute(sql, [list(each) for each in columns], columnar=True, settings=dict(settings or {}))

        self._again(run)

    def blocks(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Generator[list[tuple[Any, ...]]]:
        """The rows of a SELECT, a block at a time. Its connection is busy until the iterator ends or is closed."""
        with self._client() as client:
            finished = False
            try:
                rows = client.execute_iter(
                    sql,
                    dict(parameters) if parameters else None,
                    settings={"max_block_size": BLOCK_ROWS},
                    chunk_size=BLOCK_ROWS,
                )
                yield from rows
                finished = True
            finally:
                if not finished:
                    client.disconnect()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            _disconnect(client)

    def _again(self, run: Callable[[Client], T]) -> T:
        for _ in range(self._limits.attempts - 1):
            with suppress(_BrokenConnectionError), self._client() as client:
                return run(client)
        with self._client() as client:
            return run(client)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        if not self._turns.acquire(timeout=self._limits.turn_s):
            raise UnavailableError("all connections to the store are busy: try again")
        client: Client | None = None
        try:
            client = self._take()
            yield client
            self._give_back(client)
        except JianguanError:
            raise
        except _BROKEN as fault:
            if client is not None:
                _disconnect(client)
            raise _BrokenConnectionError(f"the store at {self.address} does not answer: {_reason(fault)}") from fault
        except driver.Error as fault:
            if client is not None and isinstance(fault, driver.ServerException):
                self._give_back(client)
            elif client is not None:
                _disconnect(client)
            raise error_of(str(fault.message), int(fault.code)) from fault
        except BaseException:
            if client is not None:
                _disconnect(client)
            raise
        finally:
            self._turns.release()

    def _take(self) -> Client:
        with self._lock:
            if self._closed:
                raise UnavailableError("the store is closed")
            if self._idle:
                return self._idle.pop()
        (host, port), *others = self.address.hosts
        return Client(
            host,
            port=port,
            user=self.address.user,
            password=self.address.password,
            database=self.address.database,
            secure=self.address.secure,
            ca_certs=self.address.ca_certs,
            compression="lz4",
            connect_timeout=self._limits.connect_s,
            send_receive_timeout=self._limits.answer_s,
            sync_request_timeout=self._limits.connect_s,
            alt_hosts=_listed(others) or None,
            client_name="jianguan",
            settings={"server_side_params": True, **self._settings},
        )

    def _give_back(self, client: Client) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(client)
                return
        _disconnect(client)


class _BrokenConnectionError(UnavailableError):
    """The connection broke: the next one may not."""


def _disconnect(client: Client) -> None:
    with suppress(*_BROKEN):
        client.disconnect()


def _reason(fault: BaseException) -> str:
    return (str(getattr(fault, "message", "")) or str(fault) or type(fault).__name__).split("\n", 1)[0][:300]
