"""A broker that goes away while a process of a cluster starts ends it with a sentence, not with a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from jianguan.clock import SystemClock
from jianguan.errors import UnavailableError
from jianguan.settings import load_settings
from jianguan.wiring.cluster import DashboardsProcess, Worker, _PlainProducer
from streams.app import connected


async def test_a_client_that_cannot_connect_is_an_unavailable_broker() -> None:
    async def start() -> None:
        raise KafkaConnectionError("Unable to bootstrap")

    with pytest.raises(UnavailableError, match=r"broker went away while this process started.*Unable to bootstrap"):
        await connected(start)


async def test_the_processes_of_a_cluster_tell_their_memory_and_when_they_started(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, broker="127.0.0.1:1", store="clickhouse://127.0.0.1:1/db", port=0)
    for process in (Worker(settings, SystemClock(), 0), DashboardsProcess(settings, SystemClock())):
        told = process._metrics.registry.get_sample_value
        assert told("process_resident_memory_bytes")
        assert told("process_start_time_seconds")


@pytest.mark.network
async def test_the_pages_say_so_when_nobody_answers_for_their_producer() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        producer = _PlainProducer(f"127.0.0.1:{nobody.getsockname()[1]}")
        try:
            with pytest.raises(UnavailableError, match="broker went away"):
                await producer.start()
        finally:
            await producer.stop()
