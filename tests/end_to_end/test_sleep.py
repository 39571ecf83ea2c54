"""A machine sleeps for longer than the session of its group, as laptops do: everything goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually

ASLEEP = 12.0  # seconds: twice the session, so that nothing may be sent before the group has answered again


def test_after_a_sleep_records_flow_and_the_journal_lets_go_of_what_was_before(
    make: Make, rules: Path, now: str
) -> None:
    system = make(JIANGUAN_RULES=str(rules)).start()
    system.send([complaint(number, now) for number in range(8)], "before")
    assert system.settled("before", 8) == {"accepted": 8}
    task, *_ = eventually(lambda: [each["id"] for each in system.items("/v1/tasks")], 20, "a task")
    # Nothing comes after it on its topic, which must not hold the journal up.
    assert system.http.post(f"/v1/tasks/{task}/accept", json={"actor": "李建国"}).status_code == 200
    system.quiet()

    os.kill(system.process.pid, signal.SIGSTOP)
    time.sleep(ASLEEP)  # it is the time itself that has to pass
    os.kill(system.process.pid, signal.SIGCONT)
    system.send([complaint(number, now, enterprise=number % 2) for number in range(8, 32)], "after")
    assert system.settled("after", 24, 60) == {"accepted": 24}
    eventually(lambda: len(system.alerts()) == 2, 20, "the alert of the other enterprise, once")
    system.quiet()
    assert system.stop() == 0
