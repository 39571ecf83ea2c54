"""The broker alone is killed while records flow: it is replaced, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx

from tests.end_to_end.conftest import Make
from tests.end_to_end.support import System, alive, complaint, eventually

BATCH = 50
BEFORE, AFTER = 10, 10  # batches that must be answered before the kill and after the broker is back
REPLACED = 40.0


class Sender(threading.Thread):
    """Sends batches until it is told to stop; remembers what was acknowledged."""

    def __init__(self, system: System, now: str) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._now = now
        self.acknowledged = 0
        self.refused = 0
        self.fault: BaseException | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                first = self.acknowledged * BATCH
                events = [complaint(first + each, self._now, enterprise=each % 7) for each in range(BATCH)]
                body = b"\n".join(httpx.Response(200, json=event).content for event in events)
                key = f"batch-{self.acknowledged:08d}"  # the same over retries
                response = self._system.post(body, "flow", idempotency_key=key)
                if response.status_code == 202:
                    self.acknowledged += 1
                else:
                    assert response.status_code in (429, 503), response.text
                    self.refused += 1
                    self.enough.wait(0.2)
        except BaseException as error:
            self.fault = error
            raise


def test_a_broker_that_dies_is_replaced_and_nothing_acknowledged_is_lost(make: Make, rules: Path, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules)).start()
    sender = Sender(system, now)
    sender.start()
    try:
        eventually(lambda: sender.acknowledged >= BEFORE, 20, "batches before the kill")
        broker = system.broker()
        os.kill(broker, signal.SIGKILL)
        eventually(lambda: not alive(broker), 5, "its death")
        told = eventually(lambda: not system.checks().get("ready", True) and system.checks(), 5, "readyz to tell")
        assert isinstance(told, dict)
        eventually(system.ready, REPLACED, f"a new broker: {system.tail()}")
        assert system.broker() != broker
        reached = sender.acknowledged
        eventually(lambda: sender.acknowledged >= reached + AFTER, REPLACED, "batches after it")
    finally:
        sender.enough.set()
        sender.join(60)
    assert sender.fault is None

    records = sender.acknowledged * BATCH
    assert system.settled("flow", records, REPLACED) == {"accepted": records}
    eventually(lambda: len(system.alerts()) == 7, 10, "one alert of each enterprise")
    assert "broker" in system.tail(100_000)
    assert system.stop() == 0
