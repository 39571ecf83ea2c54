"""Work that several wait for, and work in a thread that nobody may leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, ParamSpec, TypeVar

Made = TypeVar("Made")
Given = ParamSpec("Given")


async def to_its_end(function: Callable[Given, Made], *given: Given.args, **named: Given.kwargs) -> Made:
    """Call it in a thread. Who is cancelled meanwhile, however often, waits for its end all the same: what it works on
    is nobody else's before."""
    under_way = asyncio.ensure_future(asyncio.to_thread(function, *given, **named))
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError:
        while not under_way.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([under_way])
        raise


class Shared(Generic[Made]):
    """One piece of work for all who ask for its result. One that failed is done again for who asks next."""

    def __init__(self, make: Callable[[], Awaitable[Made]]) -> None:
        self._make = make
        self._task: asyncio.Future[Made] | None = None

    async def get(self) -> Made:
        """The result; made if it is not there."""
        if self._task is None or (self._task.done() and (self._task.cancelled() or self._task.exception())):
            self._task = asyncio.ensure_future(self._make())
        return await asyncio.shield(self._task)

    def forget(self) -> None:
        """Make it anew for who asks next."""
        self._task = None
