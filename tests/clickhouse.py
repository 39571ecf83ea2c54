"""ClickHouse servers for tests: the one that CLICKHOUSE_URL names, or Debian's, started here for the run.

Debian's is 18.16, with the real wire protocol but without the types that the schema needs: the driver is tested on it
with tables of its own, and the schema on the embedded engine, which is that of current servers.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinks.server_pool import Address, Limits, ServerPool

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


@contextmanager
def debian_server(program: str, folder: Path) -> Iterator[str]:
    """A server on free ports of loopback, its data in `folder`; its URL."""
    http, tcp = _free_port(), _free_port()
    (folder / "config.xml").write_text(_CONFIG.format(folder=folder, http=http, tcp=tcp))
    (folder / "users.xml").write_text(_USERS)
    process = subprocess.Popen(
        [program, f"--config-file={folder / 'config.xml'}"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, tcp, folder)
        yield f"clickhouse://127.0.0.1:{tcp}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
