"""`jianguan up` as a newcomer meets it: something to see at once, a clean end, and a second start that goes on."""

from __future__ import annotations

import json
import time

import httpx

from tests.end_to_end.conftest import Make
from tests.end_to_end.support import System, alive, busy, complaint, eventually

FIRST_ALERT = 15.0  # seconds from the start of the process
CLEAN_END = 5.0


def seen_on_the_page(system: System) -> str:
    """An alert that both the API and the first page show, or nothing."""
    try:
        alerts = system.alerts()
        page = system.http.get("/", headers={"accept": "text/html"}).text
    except (httpx.TransportError, AssertionError):
        return ""
    return next((each for each in alerts if each in page), "")


def test_a_newcomer_sees_an_alert_within_fifteen_seconds_and_a_clean_end(make: Make) -> None:
    system = make(demo=True)
    system.spawn()
    system.find()
    eventually(lambda: seen_on_the_page(system), FIRST_ALERT * busy(), "an alert on the page")
    assert time.monotonic() - system.started < FIRST_ALERT * busy()
    broker = system.broker()
    began = time.monotonic()
    assert system.stop() == 0
    assert time.monotonic() - began < CLEAN_END * busy()
    assert not alive(broker)
    assert not (system.data / "server.json").exists()
    assert "Traceback" not in system.log.read_text("utf-8")


def test_a_second_start_goes_on_where_the_first_stopped(make: Make) -> None:
    system = make(demo=True, JIANGUAN_DEMO_RATE="40").start()
    eventually(system.alerts, FIRST_ALERT, "an alert")
    position = int(json.loads((system.data / "demo.json").read_text())["position"])
    before = system.alerts()
    # The trace of a batch is stored after its alerts.
    events = eventually(lambda: system.outcomes("demo").get("accepted", 0), FIRST_ALERT, "events of the feed")
    system.stop()

    system.start()
    assert before <= system.alerts()
    assert system.outcomes("demo").get("accepted", 0) >= events
    eventually(
        lambda: int(json.loads((system.data / "demo.json").read_text())["position"]) > position + 40,
        FIRST_ALERT,
        "the feed to go on",
    )
    eventually(lambda: system.outcomes("demo")["accepted"] > events + 30, FIRST_ALERT, "new events of the feed")
    assert system.stop() == 0


def test_windows_go_on_over_a_restart(make: Make, rules: object, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules)).start()
    system.send([complaint(number, now) for number in range(3)], "before")
    assert system.settled("before", 3) == {"accepted": 3}
    assert system.alerts() == set()
    assert system.stop() == 0

    system.start()
    system.send([complaint(3, now)], "after")
    (alert,) = eventually(system.alerts, 10, "the alert of events from both runs")
    assert system.get(f"/v1/alerts/{alert}")["event_count"] == 4
    (case,) = eventually(lambda: system.items("/v1/cases"), 10, "its case")
    assert {task["department"]: task["role"] for task in case["tasks"]} == {
        "market-regulation": "lead",
        "public-security": "assist",
    }
    task = case["tasks"][0]["id"]
    assert system.http.post(f"/v1/tasks/{task}/accept", json={"actor": "李建国"}).status_code == 200
    assert system.stop() == 0

    # The same case goes on: its task is accepted, and a fifth event opens no second one.
    system.start()
    system.send([complaint(4, now)], "later")
    system.settled("later", 1)
    assert system.alerts() == {alert}
    (again,) = system.items("/v1/cases")
    assert again["id"] == case["id"]
    assert [each["state"] for each in again["tasks"] if each["id"] == task] == ["accepted"]
    answer = system.http.post(f"/v1/tasks/{task}/report", json={"actor": "李建国", "note": "已核实"})
    assert answer.status_code == 200, answer.text
    assert system.stop() == 0


def test_a_second_system_on_the_same_folder_is_refused(make: Make) -> None:
    first = make().start()
    second = make()
    second.log = first.data.with_name("second.log")
    second.spawn()
    assert second.process.wait(30) == 3
    assert "in use by process" in second.tail()
    assert "Traceback" not in second.tail()
    assert first.ready()
    assert json.loads((first.data / "server.json").read_text())["pid"] == first.process.pid
    assert first.stop() == 0


def test_a_second_system_on_the_same_port_is_refused(make: Make) -> None:
    first = make("first").start()
    second = make("second", port=int(first.url.rpartition(":")[2])).spawn()
    assert second.process.wait(30) == 3
    assert "is jianguan running already?" in second.tail()
    assert "Traceback" not in second.tail()
    assert first.ready()
    assert first.stop() == 0
