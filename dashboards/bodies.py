"""Reads a request body with bounds: bytes as sent, bytes after gzip, seconds. Knows HTTP, not events."""

from __future__ import annotations

import asyncio
import zlib

from starlette.requests import ClientDisconnect, Request

from dashboards.problems import ProblemError

_GZIP = zlib.MAX_WBITS | 16
_STEP = 256 * 1024  # inflated at once, between two turns of the event loop


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The body as sent. 413 above `limit` bytes, 408 when it takes longer than `seconds`."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large(limit)
                parts.append(part)
    except TimeoutError:
        raise ProblemError(408, "slow-body", f"the body did not arrive within {seconds:g} s") from None
    except ClientDisconnect:
        raise ProblemError(400, "disconnected", "the body ended early") from None
    return b"".join(parts)


async def inflate(body: bytes, limit: int) -> bytes:
    """`body` without gzip. 413 above `limit` bytes, 400 when it is not whole gzip. Several members may follow."""
    parts: list[bytes] = []
    size = 0
    rest = body
    while rest:
        stream = zlib.decompressobj(_GZIP)
        while not stream.eof:
            try:
                part = stream.decompress(rest, _STEP)
            except zlib.error as error:
                raise ProblemError(400, "bad-gzip", f"the body is not gzip: {error}") from None
            if not part and not stream.eof and not stream.unconsumed_tail:
                raise ProblemError(400, "bad-gzip", "the gzip body ends early")
            rest = stream.unconsumed_tail
            size += len(part)
            if size > limit:
                raise ProblemError(413, "inflated-too-large", f"the inflated body has more than {limit} bytes")
            parts.append(part)
            await asyncio.sleep(0)
        rest = stream.unused_data
    return b"".join(parts)


async def read_encoded(request: Request, limit: int, inflated: int, seconds: float) -> bytes:
    """The body after its Content-Encoding, which is identity or gzip; 415 for another."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ProblemError(415, "unknown-encoding", "the content encoding must be gzip or identity")
    body = await read_body(request, limit, seconds)
    if encoding == "identity":
        return body
    if not body:
        raise ProblemError(400, "bad-gzip", "the gzip body is empty")
    return await inflate(body, inflated)


def too_large(limit: int) -> ProblemError:
    return ProblemError(413, "too-large", f"the body has more than {limit} bytes")
