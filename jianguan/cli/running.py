"""How long-running commands end: on SIGINT and SIGTERM, in order."""

from __future__ import annotations

import asyncio
import signal


def until_signal() -> asyncio.Event:
    """An event that is set by the first SIGINT or SIGTERM. Call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
