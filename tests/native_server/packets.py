"""The packets of the native protocol that this server reads and writes, from revision 54459 to 54468.

Older clients have no parameters of statements; what newer ones add is not needed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from tests.native_server import blocks
from tests.native_server.wire import ProtocolError, Reader, read_frame, text, varint

REVISION: Final = 54468
OLDEST_CLIENT: Final = 54459  # parameters of statements
_PASSWORD_RULES: Final = 54461
_NONCE: Final = 54462
_TOTAL_BYTES: Final = 54463
_QUERY_TIME: Final = 54460
_IMPORTANT: Final = 1
_EVENT: Final = "Enum8('increment' = 1, 'gauge' = 2)"
# What the engine counted while it inserted: this server has nothing to say, but a client waits for the packet.
_PROFILE_EVENTS: Final = blocks.header(
    [
        ("host_name", "String"),
        ("current_time", "DateTime"),
        ("thread_id", "UInt64"),
        ("type", _EVENT),
        ("name", "String"),
        ("value", "Int64"),
    ]
)


class FromClient(IntEnum):
    """Kinds of packets that a client sends."""

    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4


class FromServer(IntEnum):
    """Kinds of packets that a server sends."""

    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    PROFILE_EVENTS = 14


class Hello(NamedTuple):
    """Who wants to talk."""

    client: str
    revision: int
    database: str
    user: str
    password: str


class Query(NamedTuple):
    """A statement, with what goes with it."""

    sql: str
    settings: dict[str, str]
    important: frozenset[str]
    parameters: dict[str, str]
    compressed: bool


class Block(NamedTuple):
    """A block of rows from the client, in the format Native."""

    table: str
    native: bytes
    columns: int
    rows: int


def read_hello(source: Reader) -> Hello:
    """The first packet of a connection."""
    kind = source.varint()
    if kind != FromClient.HELLO:
        raise ProtocolError(f"the first packet is of kind {kind}")
    client = source.text()
    _skip_numbers(source, 2)  # its version
    return Hello(client, source.varint(), source.text(), source.text(), source.text())


def read_query(source: Reader) -> Query:
    """The rest of a packet whose kind was QUERY."""
    source.skip_texts(1)  # the query's id
    _skip_client(source)
    settings = _read_settings(source)
    source.skip_texts(1)  # the secret of servers among themselves
    source.varint()  # to which stage to execute: clients say, to the end
    compressed = bool(source.varint())
    sql = source.text()
    parameters = _read_settings(source)
    return Query(
        sql,
        {name: value for name, (_, value) in settings.items()},
        frozenset(name for name, (flags, _) in settings.items() if flags & _IMPORTANT),
        {name: value for name, (_, value) in parameters.items()},
        compressed,
    )


def _skip_client(source: Reader) -> None:
    """Pass over who asks and why."""
    if not source.integer(1):
        return
    source.skip_texts(3)  # first user, first query, first address
    source.skip(8)  # when it began
    if source.integer(1) != 1:
        raise ProtocolError("a query that did not come over TCP")
    source.skip_texts(3)  # its user, its host, its program
    _skip_numbers(source, 3)  # its version
    source.skip_texts(1)  # quota
    _skip_numbers(source, 2)  # depth, the rest of its version
    if source.integer(1):
        source.skip(24)  # trace and span
        source.skip_texts(1)
        source.skip(1)
    _skip_numbers(source, 3)  # replicas that work together


def _skip_numbers(source: Reader, count: int) -> None:
    for _ in range(count):
        source.varint()


def _read_settings(source: Reader) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    while name := source.text():
        found[name] = (source.varint(), source.text())
    return found


def read_block(source: Reader, compressed: bool) -> Block:
    """The rest of a packet whose kind was DATA."""
    table = source.text()
    content = Reader(lambda: read_frame(source)) if compressed else source
    block = Block(table, *blocks.from_wire(content))
    if compressed and content.at != len(content.data):
        raise ProtocolError("a frame goes on after its block")
    return block


def hello(version: str, timezone: str, revision: int) -> bytes:
    """The answer to a client of `revision`."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    answer = varint(FromServer.HELLO) + text("ClickHouse") + varint(major) + varint(minor) + varint(REVISION)
    answer += text(timezone) + text("chDB behind the native protocol, for tests") + varint(patch)
    if revision >= _PASSWORD_RULES:
        answer += varint(0)
    if revision >= _NONCE:
        answer += bytes(8)
    return answer


def data(block: bytes) -> bytes:
    """A block of an answer, already compressed if it shall be."""
    return varint(FromServer.DATA) + text("") + block


def profile_events() -> bytes:
    """What follows each block of an insert."""
    return varint(FromServer.PROFILE_EVENTS) + text("") + _PROFILE_EVENTS


def progress(rows: int, size: int, revision: int) -> bytes:
    """So many rows and bytes more were sent or written."""
    numbers = [rows, size, 0]
    if revision >= _TOTAL_BYTES:
        numbers.append(0)
    numbers += [0, 0]
    if revision >= _QUERY_TIME:
        numbers.append(0)
    return varint(FromServer.PROGRESS) + b"".join(varint(each) for each in numbers)


def exception(code: int, message: str) -> bytes:
    """The end of a statement, or of a connection, that failed."""
    return (
        varint(FromServer.EXCEPTION)
        + code.to_bytes(4, "little", signed=True)
        + text("DB::Exception")
        + text(message)
        + text("")  # where in the server
        + b"\x00"  # nothing within it
    )


PONG: Final = varint(FromServer.PONG)
END: Final = varint(FromServer.END_OF_STREAM)
