"""How long-running commands end: on SIGINT and SIGTERM, in order, and at the latest after a while."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from jianguan.settings import unknown_settings

log = logging.getLogger(__name__)


def tell_crashes() -> None:
    """Let a crash inside a library leave the stack of every thread on stderr, instead of nothing."""
    faulthandler.enable()


def tell_unknown_settings() -> None:
    """Warn of variables in the environment that look like settings and are none."""
    for sentence in unknown_settings(os.environ):
        log.warning(sentence)


def until_signal() -> asyncio.Event:
    """An event that is set by the first SIGINT or SIGTERM. Call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def started(start: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Run `start` to its end, and True; or give it up as soon as `stop` is set, and False: a process that waits for its
    broker or its store can be told to end."""
    starting, stopping = asyncio.ensure_future(start), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting  # raises what it ended with
            return True
        return False
    finally:
        stopping.cancel()
        starting.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """End the process `seconds` after the block was entered, if it has not ended by then.

    A thread that hangs in a library would keep it alive for ever. Acknowledged records are on disk or in the brokers,
    so that nothing is lost by it. The watch goes on after the block: the loop and its threads end later than that.
    """

    def force() -> None:
        sys.stderr.write(
            f"error: not everything ended within {seconds:g} s; ending now, nothing acknowledged is lost\n"
        )
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(seconds, force)
    timer.daemon = True
    timer.start()
    yield
