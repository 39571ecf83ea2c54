"""Whatever part of the record is still on its way to the store: a restart is told the same as when all has arrived."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.columns import Columns
from jianguan.domain.fact import FactsWanted
from jianguan.domain.trace import TABLES, Records
from jianguan.wiring.tail import CurrentArchive, Tail
from sinks.archive import SqlArchive
from sinks.store import BlockStore
from streams.frames import RECORDS
from tests.contract.samples import MINUTE, NOW, alert, case, delivery, event, fact, step, task

CLOCK = VirtualClock(from_millis(NOW))


def history() -> list[Records]:
    """What the stages told, in order: three enterprises, each with a case that goes on in its own way."""
    told: list[Records] = []
    for number in range(3):
        events = [event(each, enterprise=f"uscc:{number}") for each in range(number * 10, number * 10 + 3)]
        for place, each in enumerate(events):
            accepted = step(each.id, "late" if place == 2 else "accepted", receipt=f"complaints/{number}/{place}")
            told.append(Records(events=[each], facts=[fact(each)], trace=[accepted]))
        first, second = alert(events[:1]), alert(events[1:2], "rule-b")
        opened = case([first])
        lead, assist = task(opened), task(opened, "police")
        due = delivery(lead)
        told.append(
            Records(alerts=[first], cases=[opened], tasks=[lead], trace=[step(opened.id, "opened", first.id, stage=3)])
        )
        told.append(
            Records(
                alerts=[second],
                cases=[opened._replace(alerts=(first.id, second.id), alert_count=2, revision=2)],
                tasks=[assist],
                trace=[step(opened.id, "joined", second.id, stage=3)],
            )
        )
        told.append(Records(deliveries=[due]))
        told.append(
            Records(deliveries=[delivery(lead, state=("pending", "delivered", "disabled")[number], revision=2)])
        )
        told.append(
            Records(tasks=[task(opened, state="accepted", revision=2)], trace=[step(lead.id, "overdue", stage=3)])
        )
        if number == 2:
            told.append(Records(tasks=[task(opened, state="closed", revision=3)]))
            told.append(Records(tasks=[task(opened, "police", state="closed", revision=2)]))
            closed = case([first, second], state="closed", revision=3)
            told.append(Records(cases=[closed]))
            told.append(Records(alerts=[alert(events[2:], "rule-c")], cases=[case([first], ordinal=2)]))
    return told


def pieces(told: Iterable[Records]) -> list[Records]:
    """Row by row: rows of one piece of work may travel in different frames."""
    return [Records(**{table: [row]}) for each in told for table in TABLES for row in getattr(each, table)]


def answers(archive: SqlArchive) -> dict[str, Any]:
    """All that a restarting stage asks."""
    cases = {each.id: (each, sorted(tasks)) for each, tasks in archive.open_cases(NOW)}
    ordinals: dict[str, int] = {}
    for key, ordinal in archive.case_ordinals():
        ordinals[key] = max(ordinal, ordinals.get(key, 0))
    alerts = [alert([event(number)], rule).id for number in range(30) for rule in ("rule-a", "rule-b", "rule-c")]
    seen: dict[str, tuple[str, str]] = {}
    for name, content, receipt in archive.seen_events(1_000):
        seen.setdefault(name, (content, receipt))
    return {
        "seen": seen,
        "facts": {fact for run in archive.facts_to_fold(FactsWanted("rule-a", 1, 60 * MINUTE)) for fact in run.rows()},
        "alerts": archive.known_alerts(alerts),
        "open": {each.id for each, _ in archive.open_cases()},
        "cases": cases,
        "ordinals": ordinals,
        "joined": set(archive.alert_ids_of(sorted(cases))),
        "overdue": archive.told_overdue([each.id for _, tasks in cases.values() for each in tasks]),
        "pending": {each.id: each for each in archive.pending_deliveries()},
        "finished": set(archive.finished_deliveries(NOW - MINUTE)),
    }


def tail_of(told: Iterable[Records], chance: Random) -> Tail:
    """The tail, read from frames of either kind."""
    tail = Tail()
    for each in told:
        for frame in RECORDS.encode(each):
            tail.add(RECORDS.decode(frame))
        if chance.random() < 0.5 and not each.quarantine:
            tail.add(Columns.of(each))
    return tail


@pytest.mark.parametrize("seed", range(6))
def test_store_and_tail_together_say_what_the_store_says_when_all_has_arrived(store: BlockStore, seed: int) -> None:
    chance = Random(seed)
    parts = pieces(history())
    kept = [chance.random() < 0.5 for _ in parts]
    stored, everything = Records(), Records()
    for number, part in enumerate(parts):
        everything.extend(part)
        if kept[number] or chance.random() < 0.1:  # some are stored and not committed
            stored.extend(part)
    store.write(stored, f"{seed}-stored")
    tail = tail_of([part for part, there in zip(parts, kept, strict=True) if not there], chance)
    found = answers(CurrentArchive(store, CLOCK, tail))
    store.write(everything, f"{seed}-everything")
    assert found == answers(SqlArchive(store, CLOCK))
    assert len(found["seen"]) == 9
    assert len(found["open"]) == 3
    assert sorted(each.state for each in found["pending"].values()) == ["disabled", "pending"]


def test_a_fact_that_is_stored_too_is_told_once_and_those_of_a_key_come_together_in_their_order(
    store: BlockStore,
) -> None:
    facts = [fact(event(number, enterprise=f"uscc:{number % 2}")) for number in range(6)]
    store.write(Records(facts=facts[:3]), "some")
    tail = tail_of([Records(facts=[each]) for each in reversed(facts[1:])], Random(1))
    told = CurrentArchive(store, CLOCK, tail).facts_to_fold(FactsWanted("rule-a", 1, 60 * MINUTE))
    found = [(each.key, each.id) for run in told for each in run.rows()]
    expected = sorted([(each.key, each.time, each.event, each.id) for each in facts[3:]])
    assert sorted(found[:3]) == sorted([(each.key, each.id) for each in facts[:3]])
    assert found[3:] == [(key, identifier) for key, _, _, identifier in expected]


def test_without_a_tail_it_is_the_store(store: BlockStore) -> None:
    everything = Records()
    for part in history():
        everything.extend(part)
    store.write(everything, "everything")
    assert answers(CurrentArchive(store, CLOCK, Tail())) == answers(SqlArchive(store, CLOCK))
