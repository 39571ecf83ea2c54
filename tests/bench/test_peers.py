"""The job that peers are measured with: its predicates, its window and its oracle say the same."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.peers import lean
from bench.peers.__main__ import PEERS, table, targets, times
from bench.peers.environments import PINS
from bench.peers.job import AT_LEAST, HOUR, Recent, concerns, due, moment
from bench.peers.ours import RULE, Facts, Lean, whole
from bench.peers.running import make_events
from jianguan.domain.fact import Fact
from rules.engine import Engine
from rules.facts import Matcher
from rules.reference import Reference
from rules.ruleset import RuleSet
from streams.transport.run import PlainRecord, Run

COUNT = 3_000
START = 1_795_000_000_000


def _run(topic: str) -> Run:
    now = int(datetime.now(UTC).timestamp() * 1000)
    return Run(topic, 0, [PlainRecord(value, at, key, (), now) for at, (key, value) in enumerate(make_events(COUNT))])


def test_events_are_about_400_bytes_and_a_tenth_of_them_comes_late() -> None:
    values = [value for _, value in make_events(COUNT)]
    assert 370 <= sum(map(len, values)) / COUNT <= 430
    times = [moment(json.loads(value)["occurred_at"]) for value in values]
    late = sum(one > other for one, other in pairwise(times))
    assert 0.05 * COUNT < late < 0.15 * COUNT


def test_every_way_to_ask_the_predicates_gives_the_same_events() -> None:
    _, matcher = _rule()
    run = _run("x.complaints")
    plain = {json.loads(record.value or b"")["id"] for record in run if concerns(json.loads(record.value or b""))}
    assert COUNT * 0.1 < len(plain) < COUNT * 0.5
    decoded = [(lean.decode(record.value or b""), json.loads(record.value or b"")["id"]) for record in run]
    assert {name for event, name in decoded if lean.concerns(event)} == plain
    quick = {fact.event: fact for fact in rows(Lean(matcher)(run))}
    contract = {fact.event: fact for fact in rows(whole(matcher, Reference.packaged(), run.topic)(run))}
    assert quick.keys() == contract.keys()
    assert {name: fact.time for name, fact in quick.items()} == {name: fact.time for name, fact in contract.items()}
    assert len(quick) == len(plain)


def rows(facts: Facts) -> list[Fact]:
    """The facts of all partitions, one by one."""
    return [fact for runs in facts.values() for each in runs for fact in each.rows()]


@cache
def _rule() -> tuple[RuleSet, Matcher]:
    reference = Reference.packaged()
    ruleset = RuleSet.load([RULE], reference)
    return ruleset, Matcher(ruleset, reference)


def _engine_hours(times: list[int]) -> list[tuple[str, int]]:
    ruleset, matcher = _rule()
    engine = Engine(ruleset)
    records = [PlainRecord(_complaint(at, number), number, None, (), START * 2) for number, at in enumerate(times)]
    facts = rows(Lean(matcher)(Run("t", 0, records)))
    return [(alert.key, alert.episode // HOUR) for fact in facts for alert in engine.add(fact, 0).alerts]


def _complaint(at: int, number: int) -> bytes:
    event = {
        "id": str(number), "source": "12315", "category": "fraud", "channel": "app", "text": "拒绝退款",
        "occurred_at": datetime.fromtimestamp(at / 1000, UTC).isoformat(), "enterprise": {"id": "E"},
    }  # fmt: skip
    return json.dumps(event, ensure_ascii=False).encode()


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=1, max_size=30))
def test_the_window_of_the_peers_and_our_engine_give_what_the_oracle_gives(steps: list[tuple[int, int]]) -> None:
    """In steps of ten minutes, each up to 20 minutes before the newest: hours and their edges meet often."""
    newest, times = START - START % HOUR, []
    for forward, back in steps:
        newest += forward * 600_000
        times.append(newest - back * 600_000)
    expected = due(_complaint(at, number) for number, at in enumerate(times))
    recent = Recent([], [])
    hours = [("E", hour) for at in times for hour in recent.add(at)]
    assert set(hours) == expected
    assert len(hours) == len(expected)
    assert set(_engine_hours(times)) == expected


def test_an_event_sixty_minutes_older_does_not_count() -> None:
    times = [START + HOUR, START, *[START + HOUR // 2] * (AT_LEAST - 2)]
    assert due(_complaint(at, number) for number, at in enumerate(times)) == set()
    assert due(_complaint(max(at, START + 1), number) for number, at in enumerate(times)) == {
        ("E", (START + HOUR) // HOUR)
    }


def test_every_peer_has_its_program_and_exact_pins() -> None:
    for peer in PEERS:
        assert (Path(lean.__file__).parent / f"{peer.module}.py").is_file()
        if peer.environment is not None:
            lines = (PINS / f"{peer.environment}.txt").read_text(encoding="utf-8").splitlines()
            assert lines
            assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []


def _measured(cpu: float, **more: Any) -> dict[str, Any]:
    return {"cpu_seconds_per_100k": cpu, **more}


def test_targets_are_judged_against_the_peers_that_keep_state() -> None:
    found: dict[str, dict[str, Any]] = {
        "jianguan": _measured(1.0),
        "faust-table": _measured(15.0),
        "bytewax": _measured(1.01),
        "pathway": {"error": "no such wheel"},
        "aiokafka": _measured(0.5),
        "confluent-kafka": _measured(0.2),  # a bare loop keeps nothing
    }
    assert list(targets(found).values()) == [True, True, True]
    assert times(found)["faust-table"] == 15.0
    found |= {"faust-table": _measured(14.9), "bytewax": _measured(0.99), "aiokafka": _measured(0.49)}
    assert list(targets(found).values()) == [False, False, False]
    assert targets({name: each for name, each in found.items() if name != "jianguan"}) == {}


def test_the_table_says_what_failed_and_whose_alerts_differ() -> None:
    row = _measured(1.0, events_per_second=1.0, peak_mb=1.0, alerts=3, alerts_due=4, repeated=0)
    found: dict[str, dict[str, Any]] = {
        "jianguan": {**row, "equal": False, "missing": 2, "wrong": 1},
        "pathway": {"error": "pip said:\nno such wheel"},
    }
    shown = table(found)
    assert "**not equal**, 3 of 4: 2 missing, 1 wrong" in shown
    assert "| pathway | failed: no such wheel |" in shown
