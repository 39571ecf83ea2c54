"""Whether what the pages of a cluster lean on is there: the store and the brokers are asked every few seconds.

Nothing else notices in time: the client of the brokers tries again in silence, and the store is asked only when
somebody looks at a page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from jianguan.errors import JianguanError, UnavailableError
from jianguan.settings import Settings
from jianguan.wiring.positions import GroupPositions
from jianguan.wiring.server_store import server_store
from sinks.server_pool import Limits
from streams.broker import Broker
from streams.topics import SOURCES

log = logging.getLogger(__name__)

ASK_EVERY: Final = 10.0  # seconds
# A connection of its own: pages that are slow must not make the store look as if it were away.
_LIMITS: Final = Limits(connections=1, answer_s=10.0, attempts=1)


class Outside:
    """Asks with `run`, in a task of its own, until it is cancelled; `close` afterwards."""

    def __init__(self, settings: Settings, broker: Broker | str, partitions: int) -> None:
        self._store = server_store(settings, _LIMITS)
        self._positions = GroupPositions(broker, settings.group, settings.topic_prefix, partitions)
        self.failures = {"broker": "", "store": ""}  # why it does not answer; empty when it does

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._watch("broker", self._ask_broker))
            both.create_task(self._watch("store", self._ask_store))

    async def close(self) -> None:
        """End the connections."""
        await self._positions.close()
        await asyncio.to_thread(self._store.close)

    async def _watch(self, part: str, ask: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await ask()
            except JianguanError as error:
                if not self.failures[part]:
                    log.warning("the %s does not answer: %s", part, error)
                self.failures[part] = str(error)
            else:
                if self.failures[part]:
                    log.info("the %s answers again", part)
                self.failures[part] = ""
            await asyncio.sleep(ASK_EVERY)

    async def _ask_broker(self) -> None:
        if denied := await self._positions.denied():
            raise UnavailableError(denied)
        await self._positions.ends(SOURCES)  # which only the leaders of their partitions can tell

    async def _ask_store(self) -> None:
        await asyncio.to_thread(self._store.query, "SELECT 1")
