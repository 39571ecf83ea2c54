"""What a stranger can send before anybody has asked for a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest

from jianguan.wiring import serving
from jianguan.wiring.serving import HEAD_BYTES, WebServer

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, and answers with its size."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = f"{size} bytes".encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


class Talk:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, end: bytes = b"bytes") -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), 5)

    async def rest(self) -> bytes:
        """All until the server closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 5)
        except ConnectionResetError:
            return b""


@pytest.fixture
async def talk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Talk]:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    server = WebServer("127.0.0.1", 0)
    server.bind()
    await server.start(_answer)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    yield Talk(reader, writer)
    writer.close()
    await server.stop()


async def _who(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the address of the client."""
    body = str(scope["client"][0]).encode() + b"."
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("trusted", "header", "client"),
    [
        ([], "203.0.113.7", "127.0.0.1"),
        (["10.0.0.0/8"], "203.0.113.7", "127.0.0.1"),
        (["127.0.0.1/32"], "203.0.113.7", "203.0.113.7"),
        (["127.0.0.1/32"], "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (["127.0.0.1/32"], "10.1.1.1, 203.0.113.7, 10.0.0.9", "10.0.0.9"),
        (["127.0.0.1/32", "10.0.0.0/8"], "198.51.100.1, 203.0.113.7, 10.0.0.9", "203.0.113.7"),
        (["127.0.0.1/32"], "198.51.100.1\r\nX-Forwarded-For: 203.0.113.7", "203.0.113.7"),
        (["127.0.0.1/32"], "", "127.0.0.1"),
    ],
)
async def test_a_client_is_who_the_last_trusted_proxy_says_and_nobody_else_is_believed(
    monkeypatch: pytest.MonkeyPatch, trusted: list[str], header: str, client: str
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # of uvicorn's own command line, and no setting of ours
    server = WebServer("127.0.0.1", 0, [ip_network(each) for each in trusted])
    server.bind()
    await server.start(_who)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(GET.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {header}\r\nConnection: close\r\n\r\n".encode()))
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    finally:
        await server.stop()
    assert f"\n{client}." in answer.decode()


async def _flood(talk: Talk, start: bytes) -> None:
    """`start`, and then a hundred times as much as a head may have."""
    await talk.send(start)
    for _ in range(100):
        await talk.send(b"a" * HEAD_BYTES)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9_000,
        GET + b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
    ],
    ids=["line", "header", "headers", "second head", "trailer"],
)
async def test_a_head_or_a_trailer_without_an_end_is_cut_off(talk: Talk, start: bytes) -> None:
    with pytest.raises(ConnectionError):
        await _flood(talk, start)


@pytest.mark.parametrize("body", [b"x" * 3_000_000, b""])
async def test_a_body_may_be_larger_than_a_head(talk: Talk, body: bytes) -> None:
    for _ in range(2):
        await talk.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await talk.answer()).endswith(f"{len(body)} bytes".encode())


async def test_chunks_may_be_small_and_many(talk: Talk) -> None:
    await talk.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    await talk.send(b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
    assert (await talk.answer()).endswith(b"100000 bytes")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: lo"])
async def test_a_connection_on_which_no_head_comes_is_closed(talk: Talk, said: bytes) -> None:
    await talk.send(said)
    assert (b" 408 " in await talk.rest()) == bool(said)


async def test_a_connection_that_was_answered_is_not_held_by_a_line_end(talk: Talk) -> None:
    await talk.send(GET)
    await talk.answer()
    await talk.send(b"\r\n")
    assert b" 200 " not in await talk.rest()


async def test_a_body_may_take_longer_than_a_head(talk: Talk) -> None:
    await talk.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
    await asyncio.sleep(0.6)
    await talk.send(b"b")
    assert (await talk.answer()).endswith(b"2 bytes")
