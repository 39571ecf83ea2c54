"""The embedded broker drops nothing, so it is replaced by an empty one when it has grown: nobody notices."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.conftest import Make
from tests.end_to_end.support import System, complaint, eventually

BATCH = 500
BROKER_BYTES = 150_000_000
UPLOADS = 200  # more than enough to fill the broker


def replaced_for_memory(system: System) -> int:
    """How often, by the system's own count."""
    found = re.search(r'jianguan_broker_restarts_total\{reason="memory"\} (\d+)', system.http.get("/metrics").text)
    return int(found[1]) if found else 0


@pytest.mark.slow
def test_a_broker_that_has_grown_is_replaced_and_windows_go_on(make: Make, rules: Path, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_BROKER_MEMORY=str(BROKER_BYTES)).start()
    first = system.broker()
    # Three complaints about an enterprise of its own: the fourth, which raises the alert, comes to the next broker.
    system.send([complaint(900_000 + each, now, enterprise=99) for each in range(3)], "flow")
    sent = 3
    text = "，".join(["预付卡余额无法退还，商家关门失联"] * 40)
    for upload in range(UPLOADS):
        events = [complaint(upload * BATCH + each, now, enterprise=each % 7, text=text) for each in range(BATCH)]
        body = b"\n".join(httpx.Response(200, json=event).content for event in events)
        key = f"upload-{upload:08d}"

        def taken(body: bytes = body, key: str = key) -> bool:
            response = system.post(body, "flow", idempotency_key=key)
            assert response.status_code in (202, 429, 503), response.text
            return response.status_code == 202

        eventually(taken, 90, f"an upload to be taken: {system.tail(1000)}")
        sent += BATCH
        if replaced_for_memory(system):
            break
    assert replaced_for_memory(system) >= 1, "the broker did not grow"
    eventually(system.ready, 60, "the next broker")
    assert system.broker() != first
    system.send([complaint(999_999, now, enterprise=99)], "flow")
    assert system.settled("flow", sent + 1, 120) == {"accepted": sent + 1}
    eventually(lambda: len(system.alerts()) == 8, 20, "the alert whose window was filled before the change")
    assert system.stop() == 0
