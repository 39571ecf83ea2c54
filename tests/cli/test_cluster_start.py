"""What a process of a cluster does about the store when it starts: refuses one that is too old, waits for one that is
not there yet."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sinks.server import OLDEST, ServerStore
from tests.clickhouse import NativeServer, version
from tests.end_to_end.support import PROGRAM, environment, eventually, jianguan

pytestmark = [pytest.mark.clickhouse, pytest.mark.network]

NOWHERE = "kafka://127.0.0.1:1"  # the store comes first: the broker is not reached


@pytest.mark.parametrize("command", [("worker", "--metrics-port", "0"), ("dashboards", "--port", "0")])
def test_a_process_refuses_a_server_that_is_too_old_and_says_which_it_needs(
    clickhouse_url: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    if version(clickhouse_url) >= OLDEST:
        pytest.skip("the server in CLICKHOUSE_URL is new enough; Debian's is not")
    ended = jianguan(
        *command, JIANGUAN_BROKER=NOWHERE, JIANGUAN_STORE=f"{clickhouse_url}/jianguan", JIANGUAN_DATA=str(tmp_path)
    )
    assert ended.returncode == 3
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith("error: the ClickHouse server is version 18.")
    assert "23.8 or newer" in said


def test_a_worker_waits_for_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    server = NativeServer(tmp_path / "native")
    server.start()
    server.kill()  # now its address is known, and nobody answers there
    log = tmp_path / "log"
    settings = {
        "JIANGUAN_BROKER": NOWHERE, "JIANGUAN_STORE": f"{server.url}/jianguan", "JIANGUAN_DATA": str(tmp_path / "data")
    }  # fmt: skip
    with log.open("wb") as said:
        worker = subprocess.Popen(
            [PROGRAM, "worker", "--metrics-port", "0"], stdout=said, stderr=said, env=environment(settings)
        )
    try:
        eventually(lambda: "the store is not there yet" in log.read_text(), 60, "the worker looks for the store")
        server.start()
        eventually(lambda: "the broker is not there yet" in log.read_text(), 60, "the worker goes on to the broker")
        assert worker.poll() is None
        store = ServerStore(f"{server.url}/jianguan")
        assert store.query("SELECT count() FROM migrations") != [(0,)]
        store.close()
        worker.terminate()  # while it waits for the broker
        assert worker.wait(20) == 0
    finally:
        worker.kill()
        worker.wait()
        server.stop()
