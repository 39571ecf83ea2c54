"""kill -9 of everything in the middle of an upload: the end is that of a run which nobody disturbed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, NamedTuple

from jianguan.domain.event import OUTCOMES
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import System, complaint, eventually, free_port, jianguan, rule, stored

ROWS = 16_000
ENTERPRISES = 300


def upload(now: str) -> list[bytes]:
    """Complaints about many enterprises, some of them twice, some of them changed, some of them bad."""
    chance = Random(7)
    lines: list[bytes] = []
    for number in range(ROWS):
        event: dict[str, Any] = complaint(number, now, enterprise=chance.randrange(ENTERPRISES))
        if number % 50 == 10:
            event["region"] = "999999"
        if number % 50 == 20:
            event = json.loads(lines[number - 15])
        if number % 400 == 30:
            event = {**json.loads(lines[number - 25]), "category": "advertising"}
        lines.append(json.dumps(event).encode())
    return lines


class Part(NamedTuple):
    """Rows of an upload that are there to be read from `when` on."""

    rows: Sequence[bytes]
    when: Event


def ingest(system: System, parts: Sequence[Part]) -> dict[str, int]:
    """What became of the rows, by `jianguan ingest`, one batch at a time in order."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        with os.fdopen(reading, "rb") as rows:
            feeding = pool.submit(feed, writing, parts)
            ended = jianguan(
                "ingest", "-", "--submission", "rows", "--batch", "50", "--json",
                within=180, stdin=rows, JIANGUAN_SERVER=system.url,
            )  # fmt: skip
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{system.tail()}"
        feeding.result(60)
    result = json.loads(ended.stdout)
    return {name: result[name] for name in OUTCOMES}


def feed(writing: int, parts: Sequence[Part]) -> None:
    """Write each part when it is time for it."""
    with os.fdopen(writing, "wb") as stream:
        for part in parts:
            assert part.when.wait(120), "it was never time for the next part"
            stream.write(b"\n".join(part.rows) + b"\n")
            stream.flush()


def reached(system: System, least: int) -> bool:
    """Whether so many rows are in the store."""
    return sum(system.outcomes("rows").values()) >= least


def test_a_run_that_was_killed_twice_ends_like_an_undisturbed_one(make: Make, rules: Path, now: str) -> None:
    (rules / "test-many.yaml").write_text(rule("test-many", at_least=15), "utf-8")
    rows = upload(now)
    at_once = Event()
    at_once.set()

    calm = make("calm", JIANGUAN_RULES=str(rules)).start()
    whole = ingest(calm, [Part(rows, at_once)])
    calm.quiet()
    assert calm.stop() == 0
    expected = stored(calm.data)
    assert len(expected["alerts"]) > ENTERPRISES
    assert len(expected["tasks"]) == 2 * len(expected["cases"])

    cut = make("cut", port=free_port(), JIANGUAN_RULES=str(rules)).start()
    third = ROWS // 3
    killed = Event(), Event()
    parts = [Part(rows[:third], at_once), Part(rows[third : 2 * third], killed[0]), Part(rows[2 * third :], killed[1])]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ingest, cut, parts)
        for done, kill in enumerate(killed):
            least = done * third + ROWS // 16
            eventually(partial(reached, cut, least), 60, f"{least} rows")
            cut.kill()
            assert not running.done(), "it ended before all of its rows were there"
            kill.set()
            cut.start()
        assert running.result(180) == whole
    cut.quiet()
    assert cut.stop() == 0
    assert stored(cut.data) == expected


def test_what_was_acknowledged_just_before_the_kill_is_there_after_it(make: Make, rules: Path, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules)).start()
    for number in range(4):
        system.send([complaint(number * 500 + each, now, enterprise=each) for each in range(500)], "rows")
    system.kill()  # at once: nothing says that any of it was stored

    system.start()
    assert system.settled("rows", 2_000) == {"accepted": 2_000}
    eventually(lambda: len(system.alerts()) == 500, 20, "an alert of each enterprise")
    system.quiet()
    assert system.stop() == 0
    kept = stored(system.data)
    assert {name: len(ids) for name, ids in kept.items()} == {
        "events": 2_000, "facts": 2_000, "alerts": 500, "cases": 500, "tasks": 1_000,
    }  # fmt: skip
