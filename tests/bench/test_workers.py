"""What the benchmark of two workers makes of its rounds, and where it finds the processes that it accounts for."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest

from bench.workers import compared, cpu_seconds, listener


def a_round(rate: int, *workers: float, broker: float = 1.0, store: float = 2.0) -> dict[str, Any]:
    cpu = {f"worker-{place}": each for place, each in enumerate(workers)}
    return {
        "workers": len(workers),
        "events_per_second": rate,
        "cpu_seconds_per_100k": {**cpu, "broker": broker, "store": store},
    }


def test_two_workers_are_compared_with_one_by_the_clock_and_by_the_busier_ones_processor_time() -> None:
    rounds = [a_round(10_000, 9.0), a_round(16_000, 5.0, 4.5), a_round(9_000, 9.5), a_round(8_000, 9.0)]
    assert compared(rounds) == {"by_clock": 1.78, "most_by_clock": 1.44, "by_cpu": 1.8, "cpu_of_all_workers": 1.06}


def test_processor_time_is_counted_in_seconds() -> None:
    before, began = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - began < 0.2:
        pass
    assert cpu_seconds(os.getpid()) - before == pytest.approx(time.process_time() - began, abs=0.05)


@pytest.mark.network
def test_the_process_behind_a_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == os.getpid()
    with pytest.raises(LookupError, match=str(port)):
        listener(port)
