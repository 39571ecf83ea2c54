"""Blocking questions to the archive, asked from asyncio: in threads, a bounded number at once, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dashboards.dependencies import Limits
from jianguan.errors import UnavailableError

P = ParamSpec("P")
T = TypeVar("T")


class Reads:
    """Calls a blocking function in a thread. A call that outlives its time keeps its place until its thread is done."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.reads_at_once)
        self._waiting = 0
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function`. UnavailableError when too many wait or it takes too long."""
        await self._enter()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                result = await asyncio.to_thread(function, *args, **kwargs)
            except BaseException as error:
                if not answer.done():
                    answer.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                if not answer.done():
                    answer.set_result(result)
            finally:
                self._places.release()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.wait_for(answer, self._limits.read_seconds)
        except TimeoutError:
            raise UnavailableError(f"the store did not answer within {self._limits.read_seconds:g} s") from None

    async def _enter(self) -> None:
        if not self._places.locked():
            await self._places.acquire()  # does not wait
            return
        if self._waiting >= self._limits.reads_waiting:
            raise UnavailableError("too many questions to the store are waiting")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), self._limits.read_seconds)
        except TimeoutError:
            raise UnavailableError("the store is busy") from None
        finally:
            self._waiting -= 1
