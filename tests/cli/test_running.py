"""A process that still waits for what it needs can be told to end, and one that cannot start says why."""

from __future__ import annotations

import asyncio

import pytest

from jianguan.cli.running import started
from jianguan.errors import UnavailableError


async def test_a_start_that_comes_to_its_end_has_started() -> None:
    async def start() -> None:
        await asyncio.sleep(0)

    assert await started(start(), asyncio.Event())


async def test_a_start_that_waits_is_given_up_when_the_process_is_to_end() -> None:
    waiting, given_up, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def start() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()  # a broker that never comes
        finally:
            given_up.set()

    starting = asyncio.create_task(started(start(), stop))
    await waiting.wait()
    stop.set()
    assert not await asyncio.wait_for(starting, 5)
    assert given_up.is_set()


async def test_a_start_that_fails_raises_what_it_failed_of() -> None:
    async def start() -> None:
        raise UnavailableError("no broker")

    with pytest.raises(UnavailableError, match="no broker"):
        await started(start(), asyncio.Event())
