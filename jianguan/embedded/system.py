"""The embedded system's life: broker, topics, Faust app and journal, started, watched, replaced and stopped together.

The broker keeps everything in memory and drops nothing, so it is replaced by an empty one when it has grown too large
and everything in it has reached the store, and also when it dies. Both are the same act: shut the gateway, end the
app, start a broker, attach a new app to the same stages, send again what the journal still holds, open the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError
from faust.exceptions import FaustError

from jianguan.clock import Clock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from jianguan.embedded.drain import Drain
from jianguan.embedded.journal import Journal
from jianguan.errors import JianguanError, UnavailableError
from jianguan.metrics import Metrics
from streams.app import FaustOptions, connected, create_app
from streams.gateway import StreamGateway
from streams.outbox import Outbox
from streams.topics import all_topics, ensure_topics
from streams.topology import Pipeline
from streams.transport.batch import App
from streams.watchdog import Stuck, Watchdog

log = logging.getLogger(__name__)

WATCH: Final = 0.25
DRAIN_EVERY: Final = 5.0
DRAIN_PATIENCE: Final = 60.0
REPLAY_CHUNK: Final = 500
RESTART_PAUSE: Final = 1.0


class EmbeddedSystem:
    """Everything that has to run for records to flow on one machine."""

    def __init__(
        self,
        folder: Path,
        pipeline: Pipeline,
        outbox: Outbox,
        gateway: StreamGateway,
        journal: Journal,
        options: Callable[[str], FaustOptions],
        clock: Clock,
        metrics: Metrics,
        *,
        prefix: str,
        partitions: int,
        broker_memory: int,
        rebuild: Callable[[], Awaitable[None]],
        resume: Callable[[], Awaitable[None]],
    ) -> None:
        """`rebuild` makes all state from the store, before records flow again that a broker has lost; `resume` sends
        what a crash has cut off, once they flow."""
        self._pipeline = pipeline
        self._outbox = outbox
        self._gateway = gateway
        self._journal = journal
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._prefix = prefix
        self._partitions = partitions
        self._broker_memory = broker_memory
        self._rebuild = rebuild
        self._resume = resume
        self._broker = EmbeddedBroker(BrokerOptions(folder), clock, self._on_death)
        self._died = asyncio.Event()
        self._drain = Drain()
        self._app: App = None
        self._tasks: list[asyncio.Task[None]] = []
        self._watchdog: asyncio.Task[None] | None = None
        self._stuck = False
        self.problem = "starting"

    async def start(self) -> None:
        """Start everything, send again what the journal holds, and let records in."""
        await self._broker.start()
        await self._begin_while_it_lives(lost=True)
        self._tasks = [asyncio.create_task(self._watch(), name="embedded-watch")]

    async def stop(self) -> None:
        """Stop taking records, end the app, end the broker."""
        self._gateway.shut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()
        await self._broker.stop()

    def failures(self) -> list[str]:
        """What keeps records from flowing now."""
        found = [self.problem] if self.problem else []
        for task in [*self._tasks, *([] if self._watchdog is None else [self._watchdog])]:
            if task.done() and not task.cancelled():
                found.append(f"{task.get_name()} has ended: {task.exception()!r}")
        return found

    @property
    def broker_pid(self) -> int | None:
        """The process id of the broker."""
        return self._broker.pid

    @property
    def broker_address(self) -> str:
        """host:port of the broker."""
        return self._broker.address

    async def _begin_while_it_lives(self, *, lost: bool) -> None:
        """`_begin`, given up when the broker dies meanwhile: joining and sending would wait for it without end."""
        beginning = asyncio.ensure_future(self._begin(lost=lost))
        death = asyncio.ensure_future(self._died.wait())
        try:
            await asyncio.wait({beginning, death}, return_when=asyncio.FIRST_COMPLETED)
            if not beginning.done():
                raise UnavailableError("it died while the stages began on it")
            beginning.result()
        finally:
            beginning.cancel()
            death.cancel()
            await asyncio.gather(beginning, death, return_exceptions=True)

    async def _begin(self, *, lost: bool) -> None:
        """Start the app on an empty broker. `lost`: not everything in the last one had reached the store."""
        # Joining the group takes seconds of waiting, in which the state can be folded: the broker is empty until then.
        rebuilding = asyncio.ensure_future(self._rebuild()) if lost else None
        try:
            await ensure_topics(self._broker.address, all_topics(self._prefix, self._partitions))
            self._app = create_app(self._options(self._broker.address))
            self._pipeline.attach(self._app)
            await connected(self._app.start)
            if rebuilding is not None:
                await rebuilding
        finally:
            if rebuilding is not None:
                rebuilding.cancel()
                await asyncio.gather(rebuilding, return_exceptions=True)
        watchdog = Watchdog(
            self._app, self._clock, self._on_stuck, self._metrics.stuck, self._metrics.lag, held=self._pipeline.held
        )
        self._watchdog = asyncio.create_task(watchdog.run(), name="watchdog")
        await self._replay()
        if lost:
            await self._resume()
        self.problem = ""
        self._gateway.open()

    async def _end(self) -> None:
        self._pipeline.detach()
        self._drain.reset()
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        if self._app is not None:
            app, self._app = self._app, None
            await app.stop()

    async def _replay(self) -> None:
        count = 0
        queued: list[Any] = []
        for entry in self._journal.entries():
            queued.append(await self._gateway.replay(entry.topic, entry.key, entry.headers, entry.value))
            count += 1
            if len(queued) >= REPLAY_CHUNK:
                await self._outbox.settle(queued)
                queued = []
        await self._outbox.settle(queued)
        if count:
            log.info("sent %d journalled records again", count)

    def _on_death(self, code: int) -> None:
        self.problem = f"the embedded broker died (exit code {code}) and is being replaced"
        self._died.set()

    def _on_stuck(self, stuck: Sequence[Stuck]) -> None:
        # A store that takes nothing and a poisoned topic do not count as standing still (`held`). A task that has ended
        # lets stages stand still too, and a new app would not help.
        if not self._pipeline.ended():
            self.problem = f"stages stand still and are being restarted: {stuck[0]}"
            self._stuck = True

    async def _watch(self) -> None:
        last_drain = self._clock.monotonic()
        while True:
            try:
                async with asyncio.timeout(WATCH):
                    await self._died.wait()
            except TimeoutError:
                pass
            if self._died.is_set():
                await self._replace("death")
                continue
            if self._stuck:
                await self._replace("stuck")
                continue
            if self._clock.monotonic() - last_drain >= DRAIN_EVERY and not self._drain.busy:
                last_drain = self._clock.monotonic()
                mark = self._journal.roll()
                self._drain.begin(mark, self._pipeline.ends())
                self._metrics.journal_bytes.set(self._journal.size())
            await self._advance()
            if self._broker_bytes() > self._broker_memory:
                await self._empty_broker()

    async def _advance(self) -> bool:
        mark = self._drain.observe(self._pipeline.positions(), self._pipeline.ends())
        if mark is not None:
            await asyncio.to_thread(self._journal.drop_before, mark)
        return mark is not None

    async def _empty_broker(self) -> None:
        """Replace the broker if everything in it can be brought to the store in time; else try again later."""
        log.info("the broker holds %d MB: replacing it by an empty one", self._broker_bytes() // 1_000_000)
        self._gateway.shut()
        deadline = self._clock.monotonic() + DRAIN_PATIENCE
        self._drain.reset()
        self._drain.begin(self._journal.roll(), self._pipeline.ends())
        while not await self._advance():
            if self._clock.monotonic() > deadline or self._died.is_set():
                log.warning("the broker could not be emptied in %g s: is the store away?", DRAIN_PATIENCE)
                self._gateway.open()
                return
            await asyncio.sleep(WATCH / 5)
        await self._replace("memory")

    async def _replace(self, reason: str) -> None:
        self._gateway.shut()
        self._metrics.broker_restarts.labels(reason).inc()
        lost = reason != "memory"
        while True:
            self._stuck = False
            try:
                await self._end()
                await self._broker.restart()
                self._died.clear()
                await self._begin_while_it_lives(lost=lost)
            except (JianguanError, KafkaError, FaustError, OSError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _is_ours():
                    raise
                lost = True  # it may have been sent something already
                self.problem = f"the embedded broker cannot be replaced: {str(error) or repr(error)}"
                log.error("%s; trying again", self.problem)
                await asyncio.sleep(RESTART_PAUSE)
            else:
                log.info("the broker was replaced (%s)", reason)
                return

    def _broker_bytes(self) -> int:
        pid = self._broker.pid
        if pid is None:
            return 0
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0  # not Linux, or just gone
        return pages * 4096


def _is_ours() -> bool:
    """Whether a cancellation is that of this task: the broker's client lets the end of its own tasks out as one."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
