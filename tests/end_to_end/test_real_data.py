"""Real input, whole: every row is accounted for, alerts follow, and the same again changes nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

import pytest

from jianguan.domain.event import OUTCOMES
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import REAL, System, eventually, free_port, jianguan, stored

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


class File(NamedTuple):
    """One file of real input and the mapping that reads it."""

    path: str
    mapping: str
    rows: int


NEW_YORK: Final = File("nyc311/service_requests.csv.gz", "new-york-311", 1_000)
INSPECTIONS: Final = File("chicago/food_inspections.csv.gz", "chicago-food-inspections", 27_600)
SANITATION: Final = File("chicago/sanitation_complaints.csv.gz", "chicago-sanitation-complaints", 74_401)


@pytest.fixture(autouse=True)
def there() -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")


def ingest(system: System, file: File, within: float = 300) -> dict[str, Any]:
    """What `jianguan ingest` says of the whole file; it must account for every row."""
    ended = jianguan(
        "ingest", str(REAL / file.path), "--mapping", file.mapping, "--json", within=within, JIANGUAN_SERVER=system.url
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{system.tail()}"
    result: dict[str, Any] = json.loads(ended.stdout)
    assert result["complete"]
    assert result["read"] == result["sent"] == file.rows
    assert sum(result[name] for name in OUTCOMES) == file.rows
    return result


def trace(system: System, identifier: str) -> dict[str, Any]:
    """The history of an id, from the command."""
    ended = jianguan("trace", identifier, "--json", JIANGUAN_SERVER=system.url)
    assert ended.returncode == 0, ended.stderr
    shown = jianguan("trace", identifier, JIANGUAN_SERVER=system.url)
    assert shown.returncode == 0, shown.stderr
    assert identifier in shown.stdout.replace("\n", "")
    history: dict[str, Any] = json.loads(ended.stdout)
    return history


def test_inspections_and_requests_are_accounted_for_traced_and_taken_once(make: Make) -> None:
    system = make().start()
    first = [ingest(system, file) for file in (NEW_YORK, INSPECTIONS)]
    assert sum(each["accepted"] for each in first) > 28_000
    system.quiet()
    alerts = system.items("/v1/alerts")
    rules = {each["rule"] for each in alerts}
    assert {"chicago-repeat-failed-inspections", "chicago-critical-violations"} <= rules

    repeat = next(each for each in alerts if each["rule"] == "chicago-repeat-failed-inspections")
    about = trace(system, repeat["id"])
    assert {each["id"] for each in about["events"]} == set(repeat["events"])
    (case,) = about["cases"]
    event = about["events"][0]
    for identifier, kind in (
        (repeat["enterprise"], "enterprise"),
        (repeat["id"], "alert"),
        (case["id"], "case"),
        (about["tasks"][0]["id"], "task"),
        (event["id"], "event"),
    ):
        history = trace(system, identifier)
        assert history["kind"] == kind
        assert history["steps"], identifier
        assert repeat["id"] in {each["id"] for each in history["alerts"]}, identifier
    request = next(each for each in system.items("/v1/alerts") if each["rule"].startswith("nyc-"))
    number = trace(system, request["events"][0])["events"][0]["number"]
    assert number
    assert request["events"][0] in {each["id"] for each in trace(system, number)["events"]}
    page = system.http.get(f"/cases/{case['id']}", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert repeat["id"] in page.text
    assert system.stop(within=30) == 0
    before = stored(system.data)

    system.start()
    again = [ingest(system, file) for file in (NEW_YORK, INSPECTIONS)]
    assert [each["accepted"] for each in again] == [0, 0]
    assert [each["quarantined"] for each in again] == [each["quarantined"] for each in first]
    system.quiet()
    assert system.stop(within=30) == 0
    assert stored(system.data) == before


def test_all_complaints_about_sanitation_are_accounted_for(make: Make) -> None:
    system = make().start()
    first = ingest(system, SANITATION, within=900)
    system.quiet()
    assert {"chicago-sanitation-address-cluster"} <= {each["rule"] for each in system.items("/v1/alerts")}
    again = ingest(system, SANITATION, within=900)
    assert again["accepted"] == 0
    assert again["duplicate"] == first["accepted"] + first["duplicate"]
    system.quiet()
    alerts = system.alerts()
    assert system.stop(within=60) == 0
    kept = stored(system.data)
    assert len(kept["events"]) == first["accepted"]
    assert kept["alerts"] == alerts


def test_an_ingest_that_a_kill_cut_in_two_ends_like_an_undisturbed_one(make: Make) -> None:
    calm = make("calm").start()
    whole = ingest(calm, INSPECTIONS)
    calm.quiet()
    assert calm.stop(within=30) == 0

    system = make("cut", port=free_port()).start()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            jianguan, "ingest", str(REAL / INSPECTIONS.path), "--mapping", INSPECTIONS.mapping, "--json",
            "--submission", "cut", "--batch", "500", within=300, JIANGUAN_SERVER=system.url,
        )  # fmt: skip
        for least in (4_000, 12_000):
            eventually(partial(reached, system, least), 120, f"{least} rows")
            system.kill()
            system.start(60)
        ended = running.result(300)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{system.tail()}"
    result = json.loads(ended.stdout)
    counted = {name: result[name] for name in OUTCOMES}
    assert counted == {name: whole[name] for name in OUTCOMES}
    again = ingest(system, INSPECTIONS)
    assert again["accepted"] == 0
    system.quiet()
    assert system.stop(within=30) == 0
    assert stored(system.data) == stored(calm.data)


def reached(system: System, least: int) -> bool:
    """Whether so many rows of the ingest are in the store."""
    return sum(system.outcomes("cut").values()) >= least
