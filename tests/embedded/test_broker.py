"""The embedded broker through its real process."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from jianguan.clock import SystemClock
from jianguan.embedded.bounded_log import BoundedLog
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from jianguan.errors import ConfigurationError, UnavailableError

DEADLINE = 15.0


def process_is_gone(pid: int) -> bool:
    """True when it ended, also if nobody has collected its exit code yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def listeners(port: int) -> list[str]:
    """The local addresses, as the kernel writes them, that listen on `port`."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while not process_is_gone(pid):  # noqa: ASYNC110 - the kernel has no event for a process that is not ours
            await asyncio.sleep(0.02)


@pytest.fixture
async def deaths() -> asyncio.Queue[int]:
    return asyncio.Queue()


@pytest.fixture
async def own(tmp_path: Path, deaths: asyncio.Queue[int]) -> AsyncIterator[EmbeddedBroker]:
    child = EmbeddedBroker(BrokerOptions(tmp_path), SystemClock(), deaths.put_nowait)
    yield child
    await child.stop()


@pytest.mark.broker
async def test_a_started_broker_takes_a_record_on_loopback(own: EmbeddedBroker) -> None:
    address = await own.start()
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        first = await producer.send_and_wait("greetings", b"hello", partition=0)
        second = await producer.send_and_wait("greetings", b"again", partition=0)
    finally:
        await producer.stop()
    assert (first.offset, second.offset) == (0, 1)


@pytest.mark.broker
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_broker_listens_on_loopback_and_nowhere_else(own: EmbeddedBroker) -> None:
    port = int((await own.start()).rsplit(":", 1)[1])
    assert listeners(port) == [f"0100007F:{port:04X}"]


@pytest.mark.broker
async def test_a_death_is_reported_once_with_its_signal(own: EmbeddedBroker, deaths: asyncio.Queue[int]) -> None:
    await own.start()
    assert own.pid is not None
    os.kill(own.pid, signal.SIGKILL)
    assert await asyncio.wait_for(deaths.get(), DEADLINE) == -signal.SIGKILL
    assert not own.running
    await own.stop()
    assert deaths.empty()


@pytest.mark.broker
async def test_stopping_is_not_a_death_and_leaves_no_process(own: EmbeddedBroker, deaths: asyncio.Queue[int]) -> None:
    await own.start()
    pid = own.pid
    assert pid is not None
    await own.stop()
    await own.stop()
    assert process_is_gone(pid)
    assert deaths.empty()


@pytest.mark.broker
async def test_a_restart_gives_an_empty_broker_on_the_same_address(own: EmbeddedBroker) -> None:
    before = await own.start()
    producer = AIOKafkaProducer(bootstrap_servers=before)
    await producer.start()
    await producer.send_and_wait("kept-nowhere", b"x")
    await producer.stop()
    assert await own.restart() == before
    admin = AIOKafkaAdminClient(bootstrap_servers=before)
    await admin.start()
    try:
        assert "kept-nowhere" not in await admin.list_topics()
    finally:
        await admin.close()


@pytest.mark.broker
async def test_a_restart_works_after_a_death(own: EmbeddedBroker, deaths: asyncio.Queue[int]) -> None:
    before = await own.start()
    assert own.pid is not None
    os.kill(own.pid, signal.SIGKILL)
    await asyncio.wait_for(deaths.get(), DEADLINE)
    assert await own.restart() == before
    assert own.running


@pytest.mark.broker
async def test_a_port_that_is_taken_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        child = EmbeddedBroker(BrokerOptions(tmp_path, port=taken, ready_timeout=10), SystemClock())
        with pytest.raises(UnavailableError, match=r"broker\.log"):
            await child.start()
        assert not child.running


@pytest.mark.broker
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
async def test_the_broker_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, pathlib\n"
        "from jianguan.clock import SystemClock\n"
        "from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker\n"
        "async def main():\n"
        "    child = EmbeddedBroker(BrokerOptions(pathlib.Path(sys.argv[1])), SystemClock())\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        pid = int(await asyncio.wait_for(parent.stdout.readline(), DEADLINE))
        assert not process_is_gone(pid)
        parent.kill()
        await parent.wait()
        await until_gone(pid)
    finally:
        with suppress(ProcessLookupError):
            parent.kill()


def test_an_address_before_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        _ = EmbeddedBroker(BrokerOptions(tmp_path), SystemClock()).address


def test_the_log_never_grows_beyond_two_files_of_its_limit(tmp_path: Path) -> None:
    kept = BoundedLog(tmp_path / "child.log", limit_bytes=100)
    for number in range(50):
        kept.write(b"%02d" % number * 20)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 200
    assert kept.tail(2) == "49"


def test_a_single_line_beyond_the_limit_keeps_its_end(tmp_path: Path) -> None:
    kept = BoundedLog(tmp_path / "child.log", limit_bytes=4)
    kept.write(b"abcdefgh")
    assert kept.tail() == "efgh"


async def test_a_disk_that_takes_nothing_does_not_keep_the_child_from_printing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = BoundedLog(tmp_path / "child.log", limit_bytes=1_000)
    write = kept.write

    def full(data: bytes) -> None:
        if data == b"while it is full":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(data)

    monkeypatch.setattr(kept, "write", full)
    source = asyncio.StreamReader()
    draining = asyncio.create_task(kept.drain(source))
    for data in (b"before, ", b"while it is full", b"after"):
        source.feed_data(data)
        async with asyncio.timeout(DEADLINE):
            while source._buffer:  # type: ignore[attr-defined]  # noqa: ASYNC110 - as the broker sees it
                await asyncio.sleep(0.001)
    source.feed_eof()
    await draining
    assert kept.tail() == "before, after"
