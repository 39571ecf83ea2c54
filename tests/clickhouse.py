"""ClickHouse servers for tests: the one that CLICKHOUSE_URL names, or two that are started here for the run.

Debian's is a true server, but 18.16, without the types that the schema needs: the driver is tested on it with tables of
its own. `tests.native_server` is not a true server, but the engine of a current one behind the native protocol: the
store is tested on it with the schema and every statement.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sinks.server_pool import Address, Limits, ServerPool
from tests.repository import ROOT

DEADLINE = 30.0
_CONFIG = """<yandex>
  <logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog></logger>
  <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
  <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><mark_cache_size>5368709</mark_cache_size>
  <users_config>{folder}/users.xml</users_config><default_profile>default</default_profile>
  <default_database>default</default_database>
</yandex>
"""
_USERS = """<yandex>
  <profiles><default><max_memory_usage>1000000000</max_memory_usage></default></profiles>
  <users><default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>
  <quota>default</quota></default></users><quotas><default></default></quotas>
</yandex>
"""


def find_server() -> str | None:
    """Debian's server program, wherever it is installed."""
    return shutil.which("clickhouse-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def version(url: str) -> tuple[int, int]:
    """The version of the server at `url`."""
    pool = ServerPool(Address.parse(f"{url.rstrip('/')}/default"), Limits(connections=1))
    try:
        major, minor = str(pool.execute("SELECT version()")[0][0]).split(".")[:2]
    finally:
        pool.close()
    return int(major), int(minor)


S = TypeVar("S", bound="ChildServer")


class ChildServer:
    """A server as a child process: on one port of loopback and one folder for as long as this object lives.

    Not thread-safe.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, without a database."""
        return f"clickhouse://127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether its process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return once it takes connections. RuntimeError, with its last words, when it does not."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, whatever it is doing, as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port and folder, if need be after a kill."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it do nothing more, without ending it: its port still takes connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None, "the server was not started"
        self._process.send_signal(which)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class NativeServer(ChildServer):
    """`tests.native_server` as a child process, which ends with the process that started it."""

    def __init__(self, folder: Path, *, delay_s: float = 0.0, port: int = 0) -> None:
        """`port` 0: one that is free when it starts first."""
        super().__init__(folder)
        self._delay_s = delay_s
        self._port = port

    def start(self) -> None:
        """Return once it takes connections. RuntimeError, with its last words, when it does not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "server.log"
        options = {"--folder": self._folder, "--port": self._port, "--delay": self._delay_s}
        arguments = [str(each) for option in options.items() for each in option]
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.native_server", *arguments, "--until-stdin-ends"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._process = process
        said = _first_line(process)
        if not said.startswith(self.url if self._port else "clickhouse://"):
            self.kill()
            raise RuntimeError(f"the native server did not start: {log.read_text('utf-8', 'replace')[-800:]}")
        self._port = int(said.rpartition(":")[2])


class DebianServer(ChildServer):
    """Debian's clickhouse-server, the program at the path `program`."""

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__(folder)
        self._program = program
        self._port = _free_port()

    def start(self) -> None:
        """Return once it takes connections. RuntimeError, with its last words, when it does not."""
        config = _CONFIG.format(folder=self._folder, http=_free_port(), tcp=self._port)
        (self._folder / "config.xml").write_text(config)
        (self._folder / "users.xml").write_text(_USERS)
        self._process = subprocess.Popen(
            [self._program, f"--config-file={self._folder / 'config.xml'}"],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait(self._process, self._port, self._folder)


@contextmanager
def native_server(folder: Path, *, delay_s: float = 0.0) -> Iterator[NativeServer]:
    """The current engine behind the native protocol, in a process of its own. `delay_s` passes before each answer."""
    with _running(NativeServer(folder, delay_s=delay_s)) as server:
        yield server


@contextmanager
def debian_server(program: str, folder: Path) -> Iterator[DebianServer]:
    """Debian's server on a free port of loopback, its data in `folder`."""
    with _running(DebianServer(program, folder)) as server:
        yield server


@contextmanager
def _running(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """What it says first, or nothing when it ends before, or says nothing in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().decode().strip() if selector.select(DEADLINE) else ""


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log = folder / "error.log"
            tail = log.read_text("utf-8", "replace")[-800:] if log.exists() else ""
            raise RuntimeError(f"clickhouse-server ended with {process.returncode}: {tail}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"clickhouse-server did not listen within {DEADLINE:g} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
