"""Reads a request body with bounds: bytes as sent, bytes after gzip, seconds. Knows HTTP, not events. Plain ASGI."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping

from starlette.types import Receive

from dashboards.problems import ProblemError

_GZIP = zlib.MAX_WBITS | 16
_STEP = 256 * 1024  # inflated at once, between two turns of the event loop
_FED = 16 * 1024  # given to zlib at once: what follows the end of a member is copied, and members may be tiny


Hold = Callable[[int], None]
"""Told of bytes as they come to be held; it may refuse them with a ProblemError."""


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int, seconds: float, hold: Hold) -> bytes:
    """The body as sent. 413 above `limit` bytes, 408 when it takes longer than `seconds`."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise ProblemError(400, "disconnected", "the body ended early")
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise too_large(limit)
                hold(len(part))
                parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError:
        raise too_slow(seconds) from None
    return b"".join(parts)


async def inflate(body: bytes, limit: int, hold: Hold) -> bytes:
    """`body` without gzip. 413 above `limit` bytes, 400 when it is not whole gzip. Several members may follow."""
    parts: list[bytes] = []
    size = 0
    stream = zlib.decompressobj(_GZIP)

    async def step(given: bytes) -> int:
        nonlocal size
        try:
            part = stream.decompress(given, _STEP)
        except zlib.error as error:
            raise ProblemError(400, "bad-gzip", f"the body is not gzip: {error}") from None
        size += len(part)
        if size > limit:
            raise ProblemError(413, "inflated-too-large", f"the inflated body has more than {limit} bytes")
        hold(len(part))
        parts.append(part)
        await asyncio.sleep(0)
        return len(part)

    for start in range(0, len(body), _FED):
        rest = body[start : start + _FED]
        while rest:
            if stream.eof:
                stream = zlib.decompressobj(_GZIP)
            await step(rest)
            rest = stream.unused_data if stream.eof else stream.unconsumed_tail
    while not stream.eof:
        if not await step(b""):
            raise ProblemError(400, "bad-gzip", "the gzip body ends early")
    return b"".join(parts)


async def read_encoded(
    headers: Mapping[str, str], receive: Receive, limit: int, inflated: int, seconds: float, hold: Hold
) -> bytes:
    """The body after its Content-Encoding, identity or gzip; 415 for another. Names of headers in lower case."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ProblemError(415, "unknown-encoding", "the content encoding must be gzip or identity")
    body = await read_body(headers, receive, limit, seconds, hold)
    if encoding == "identity":
        return body
    if not body:
        raise ProblemError(400, "bad-gzip", "the gzip body is empty")
    return await inflate(body, inflated, hold)


def too_large(limit: int) -> ProblemError:
    return ProblemError(413, "too-large", f"the body has more than {limit} bytes")


def too_slow(seconds: float) -> ProblemError:
    return ProblemError(408, "slow-body", f"the body did not arrive within {seconds:g} s")
