"""Every record is accounted for once, the same however often it is read, and a defect costs one record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.clock import VirtualClock, to_millis
from jianguan.columns import Columns
from jianguan.domain.event import Event, EventRun
from jianguan.domain.fact import Fact, FactRun
from jianguan.domain.fact import runs_of as runs_of_facts
from jianguan.domain.ids import event_id, fact_id, partition_of
from jianguan.domain.trace import Records
from rules.facts import Found
from streams.ingest import BULK_ROWS, MAX_EVENT, MAX_KEPT, Ingest, Ingested
from streams.poison import PoisonGuard
from streams.seen import SeenEvents
from streams.transport.run import PlainRecord, Run
from tests.domain.support import DAY, NOW, encoded, reference
from tests.streams.fakes import ids

PARTITIONS = 4


class FoodMatcher:
    """One fact for every event about food; fails on the product that it is told to."""

    fails_on = "poison"

    def facts_of(self, events: EventRun) -> list[Found]:
        some = [(place, fact) for place, event in enumerate(events) for fact in self._facts(event)]
        facts = [fact for _, fact in some]
        return [Found(run, [place for place, _ in some]) for run in runs_of_facts(facts)]

    def _facts(self, event: Event) -> list[Fact]:
        if event.product == self.fails_on:
            raise ZeroDivisionError("a value that must not be told: 13900001111")
        if event.category != "food-safety":
            return []
        identifier = fact_id("food", 1, event.id)
        empty = (None,) * 6
        return [
            Fact(
                identifier,
                "food",
                1,
                event.source,
                event.occurred_at,
                event.id,
                event.received_at,
                *empty,
                "food-safety",
            )
        ]


def ingest(seen: SeenEvents | None = None, now: int = NOW, **changes: Any) -> Ingest:
    clock = VirtualClock(datetime.fromtimestamp(now / 1000, UTC))
    options: dict[str, Any] = {"partitions": PARTITIONS, "max_age_ms": 90 * DAY, **changes}
    return Ingest(reference(), FoodMatcher, seen or SeenEvents(1_000), clock, **options)


def record(value: bytes | None, offset: int = 0, receipt: str | None = None, received: int = NOW) -> PlainRecord:
    headers: tuple[tuple[str, bytes], ...] = ()
    if receipt is not None:
        headers = (("jg-receipt", receipt.encode()), ("jg-received", str(received).encode()), ("jg-submission", b"s-1"))
    return PlainRecord(value, offset, headers=headers, timestamp=received)


def run(*values: bytes | PlainRecord | None, topic: str = "complaints") -> Run:
    made = [each if isinstance(each, PlainRecord) else record(each, place) for place, each in enumerate(values)]
    return Run(topic, 0, made)


def outcomes(result: Ingested) -> list[str]:
    """The outcome of each record, in order."""
    return [step.what for step in result.records.trace]


def rows_of(facts: Mapping[int, Iterable[FactRun]]) -> dict[int, list[Fact]]:
    """The facts of each partition, one by one."""
    return {partition: [fact for run in runs for fact in run.rows()] for partition, runs in facts.items()}


def rows_in(left: Iterable[Records | Columns]) -> Records:
    """All rows of what is left for the store."""
    found = Records()
    for each in left:
        found.extend(each.records() if isinstance(each, Columns) else each)
    return found


def test_an_accepted_event_leaves_its_row_its_facts_and_its_step() -> None:
    result = ingest().work(run(record(encoded(text="字"), 5, "r-1")))
    (event,) = result.records.events
    assert result.to_store() == [replace(result.records, events=[event._replace(text=None)])]
    assert [personal.text for personal in result.records.personal] == ["字"]
    assert result.outcomes == {"accepted": 1}
    (step,) = result.records.trace
    assert (step.subject, step.what, step.receipt, step.submission) == (event.id, "accepted", "r-1", "s-1")
    assert json.loads(step.detail) == {"rules": ["food"]}
    (fact,) = result.records.facts
    assert rows_of(result.facts) == {partition_of(fact.rule + fact.key, PARTITIONS): [fact]}


@pytest.mark.parametrize("partitions", [1, PARTITIONS])
def test_a_large_run_leaves_as_columns_the_rows_that_it_consists_of(partitions: int) -> None:
    """With what takes the ways that are seldom: repeats, conflicts, late ones, defects, what is no event."""
    good = [
        encoded(number, text="字" if number % 3 else None, category="food-safety" if number % 2 else "price")
        for number in range(BULK_ROWS)
    ]
    odd = [
        b"{", good[1], encoded(2, product="other"), encoded(9_001, product=FoodMatcher.fails_on),
        encoded(9_002, occurred_at="2026-11-20T00:00:00Z"), encoded(9_003), encoded(9_003),
    ]  # fmt: skip
    result = ingest(partitions=partitions, max_age_ms=DAY).work(run(*good, *odd))
    assert result.outcomes == {"accepted": BULK_ROWS + 1, "duplicate": 2, "late": 1, "quarantined": 3}
    columns, put_aside = result.to_store()
    assert isinstance(columns, Columns)
    expected = result.records
    assert put_aside == Records(quarantine=expected.quarantine)
    assert rows_in([columns, put_aside]) == replace(
        expected, events=[event._replace(text=None) for event in expected.events]
    )
    assert sorted(fact for rows in rows_of(result.facts).values() for fact in rows) == sorted(expected.facts)
    assert {fact.event for fact in expected.facts} < {event.id for event in expected.events}


def test_the_prefix_of_a_topic_is_taken_off() -> None:
    result = ingest(prefix="test-").work(run(encoded(result="pass"), b"{", topic="test-violations"))
    assert [event.kind for event in result.records.events] == ["violation"]
    assert [row.topic for row in result.records.quarantine] == ["violations"]


def test_the_same_content_again_is_a_duplicate_and_other_content_a_conflict() -> None:
    result = ingest().work(run(encoded(), encoded(), encoded(product="x")))
    assert outcomes(result) == ["accepted", "duplicate", "quarantined"]
    assert [row.code for row in result.records.quarantine] == ["conflict"]
    assert len(result.records.events) == 1
    assert [len(facts) for facts in rows_of(result.facts).values()] == [1]


@pytest.mark.parametrize("others", [0, BULK_ROWS])
def test_a_conflict_is_linked_to_the_event_that_it_concerns_and_nothing_else_is(others: int) -> None:
    stage = ingest()
    first = stage.work(run(*(encoded(number) for number in range(others + 1)), b"{"))
    second = stage.work(run(encoded(0, product="x"), *(encoded(9_000 + number) for number in range(others))))
    steps = rows_in(Ingested.joined([first, second]).to_store()).trace
    assert len(steps) == 2 * others + 3
    (linked,) = [step for step in steps if step.links]
    (conflict,) = second.records.quarantine
    assert (linked.subject, tuple(linked.links)) == (conflict.id, (first.records.events[0].id,))


def test_a_receipt_that_a_sender_used_twice_does_not_replace_the_first_content() -> None:
    result = ingest().work(run(record(encoded(), 0, "r"), record(encoded(product="x"), 1, "r")))
    assert outcomes(result) == ["accepted", "quarantined"]


def test_the_same_record_read_again_is_accepted_again_with_the_same_ids() -> None:
    stage = ingest()
    first, again = stage.work(run(record(encoded(), 0, "r"))), stage.work(run(record(encoded(), 7, "r")))
    assert ids(first.records) == ids(again.records)
    assert rows_of(first.facts) == rows_of(again.facts)
    assert again.outcomes == {"accepted": 1}


def test_an_old_event_is_recorded_as_late_and_gives_no_fact() -> None:
    stage = ingest(max_age_ms=DAY)
    old = "2026-11-20T00:00:00Z"
    result = stage.work(run(encoded(1, occurred_at=old), encoded(2, occurred_at=old, historical=True)))
    assert outcomes(result) == ["late", "accepted"]
    assert len(result.records.events) == 2
    assert len(result.records.facts) == 1


def test_an_event_that_was_late_is_a_duplicate_as_history_and_a_new_one_under_another_source() -> None:
    stage = ingest(max_age_ms=DAY)
    old: dict[str, Any] = {"occurred_at": "2026-11-20T00:00:00Z"}
    first = record(encoded(1, **old), 0, "r-1")
    again = record(encoded(1, **old, historical=True), 1, "r-2")
    other = record(encoded(1, **old, historical=True, source="other-history"), 2, "r-3")
    result = stage.work(run(first, again, other))
    assert outcomes(result) == ["late", "duplicate", "accepted"]
    assert len(result.records.facts) == 1


def test_an_event_may_be_as_old_as_the_greatest_age_and_no_older() -> None:
    last = to_millis(datetime(2026, 11, 23, 6, tzinfo=UTC)) + DAY
    stage = ingest(max_age_ms=DAY, now=last + 1)
    sent = [record(encoded(over), over, f"r-{over}", received=last + over) for over in (0, 1)]
    assert outcomes(stage.work(run(*sent))) == ["accepted", "late"]


@pytest.mark.parametrize("timestamp", [-1, 0, NOW * 1_000, NOW * 1_000_000, NOW + DAY + 1])
def test_a_record_whose_producer_gave_no_time_of_ours_is_judged_by_now(timestamp: int) -> None:
    """None, microseconds, nanoseconds, or more than a day ahead: nothing can have come in by then."""
    result = ingest().work(run(PlainRecord(encoded(), 0, timestamp=timestamp)))
    assert result.outcomes == {"accepted": 1}
    assert [event.received_at for event in result.records.events] == [NOW]


@pytest.mark.parametrize("timestamp", [NOW - DAY, NOW + DAY])
def test_the_time_that_a_producer_gave_is_when_its_record_was_received(timestamp: int) -> None:
    result = ingest().work(run(PlainRecord(encoded(), 0, timestamp=timestamp)))
    assert [event.received_at for event in result.records.events] == [timestamp]


ODD_HEADERS: dict[str, tuple[tuple[str, Any], ...]] = {
    "no values": (("jg-receipt", None), ("jg-received", None), ("jg-submission", None), ("content-type", None)),
    "no text": (("jg-receipt", b"\xff"), ("content-type", b"\xff"), ("jg-submission", b"\xff" * 500)),
    "a number too long for Python": (("jg-received", b"9" * 5_000),),
    "a time beyond every calendar": (("jg-received", b"9" * 18),),
    "a time that has not come": (("jg-received", b"9" * 13),),
}


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_headers_of_another_program_do_not_stop_the_stage(name: str) -> None:
    odd = PlainRecord(encoded(), 0, headers=ODD_HEADERS[name], timestamp=NOW)
    result = ingest().work(run(odd))
    assert result.outcomes == {"accepted": 1}
    assert [event.received_at for event in result.records.events] == [NOW]
    assert all(len(step.submission) <= 64 for step in result.records.trace)


def test_a_defect_in_the_matcher_costs_that_record_only_and_tells_no_value() -> None:
    stage = ingest()
    result = stage.work(run(encoded(1), encoded(2, product="poison"), encoded(3)))
    assert outcomes(result) == ["accepted", "quarantined", "accepted"]
    (row,) = result.records.quarantine
    assert row.code == "internal-error"
    assert "13900001111" not in row.message
    assert row.raw == encoded(2, product="poison")


def test_an_event_that_met_a_defect_is_no_duplicate_when_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = ingest()
    stage.work(run(record(encoded(product="poison"), 0, "r-1")))
    monkeypatch.setattr(FoodMatcher, "fails_on", "mended")
    result = stage.work(run(record(encoded(product="poison"), 1, "r-2")))
    assert result.outcomes == {"accepted": 1}
    assert len(result.records.facts) == 1


def test_an_accepted_event_that_meets_a_defect_when_it_is_read_again_is_still_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FoodMatcher, "fails_on", "nothing")
    stage = ingest()
    stage.work(run(record(encoded(product="poison"), 0, "r-1")))
    monkeypatch.setattr(FoodMatcher, "fails_on", "poison")
    assert stage.work(run(record(encoded(product="poison"), 0, "r-1"))).outcomes == {"quarantined": 1}
    assert stage.work(run(record(encoded(product="poison"), 1, "r-2"))).outcomes == {"duplicate": 1}


@pytest.mark.parametrize("content_type", ["application/json", "application/cloudevents+json"])
def test_a_quarantined_record_keeps_its_content_type(content_type: str) -> None:
    odd = PlainRecord(b"{", 0, headers=(("content-type", content_type.encode()),), timestamp=NOW)
    (row,) = ingest().work(run(odd)).records.quarantine
    assert row.content_type == content_type


@pytest.mark.parametrize("size", [MAX_EVENT + 1, 1024 * 1024, MAX_KEPT])
def test_a_record_that_is_too_large_for_an_event_is_kept_whole(size: int) -> None:
    value = (b"0123456789" * (size // 10 + 1))[:size]
    (row,) = ingest().work(run(value)).records.quarantine
    assert (row.code, row.raw == value) == ("too-large", True)


def test_a_record_larger_than_any_door_takes_is_kept_cut_and_says_so() -> None:
    (row,) = ingest().work(run(b"x" * (MAX_KEPT + 10))).records.quarantine
    assert (row.code, len(row.raw)) == ("too-large", MAX_KEPT)
    assert f"the first {MAX_KEPT} are kept" in row.message


BINARY = (("ce_specversion", b"1.0"), ("ce_id", b"9"), ("ce_source", b"s"), ("ce_type", b"cn.jianguan.complaint.v1"))


def test_a_quarantined_binary_cloud_event_keeps_its_attributes() -> None:
    bad = encoded(category="NO SLUG", id=None, source=None)
    (row,) = ingest().work(run(PlainRecord(bad, 0, headers=BINARY, timestamp=NOW))).records.quarantine
    assert (row.code, row.content_type) == ("string-pattern-mismatch", "application/cloudevents+json")
    (again,) = ingest().work(run(record(row.raw))).records.quarantine
    assert (again.code, again.field) == (row.code, row.field)
    mended = row.raw.replace(b"NO SLUG", b"food-safety")
    (event,) = ingest().work(run(record(mended))).records.events
    assert event.id == event_id("s", "9")


def test_a_binary_cloud_event_whose_data_is_no_json_is_kept_as_it_is() -> None:
    (row,) = ingest().work(run(PlainRecord(b"{", 0, headers=BINARY, timestamp=NOW))).records.quarantine
    assert (row.code, row.raw, row.content_type) == ("not-json", b"{", "application/json")


def test_only_records_that_no_door_judged_count_towards_poison() -> None:
    result = ingest().work(run(record(b"{", 0, "r-1"), record(b"{", 1), record(encoded(), 2)))
    assert (result.unknown_doors, result.unknown_bad) == (2, 1)


SENT = st.one_of(
    st.binary(max_size=12),
    st.none(),
    st.builds(
        lambda serial, product, day: encoded(serial, product=product, occurred_at=f"2026-{day:02d}-11T00:00:00Z"),
        st.integers(0, 5),
        st.sampled_from([None, "a", "poison"]),
        st.integers(1, 12),
    ),
)


def runs_of(values: Sequence[bytes | None], sizes: Sequence[int]) -> list[Run]:
    """`values` as runs of these sizes; each record has a receipt of its own."""
    records = [record(value, place, f"r-{place}") for place, value in enumerate(values)]
    made, start = [], 0
    for size in [*sizes, len(records)]:
        if records[start : start + size]:
            made.append(Run("complaints", 0, records[start : start + size]))
        start += size
    return made


@settings(max_examples=100, deadline=None)
@given(st.lists(SENT, max_size=12), st.lists(st.integers(1, 4), max_size=4))
def test_accepted_duplicate_late_and_quarantined_add_up_to_what_was_sent(
    values: list[bytes | None], sizes: list[int]
) -> None:
    stage = ingest()
    counted: Counter[str] = Counter()
    stored = Records()
    for each in runs_of(values, sizes):
        result = stage.work(each)
        assert sum(result.outcomes.values()) == len(each)
        assert sum(result.reasons.values()) == result.outcomes["quarantined"] == len(result.records.quarantine)
        counted += result.outcomes
        stored.extend(result.records)
    assert set(counted) <= {"accepted", "duplicate", "late", "quarantined"}
    assert sum(counted.values()) == len(values)
    assert Counter(step.what for step in stored.trace) == counted
    assert len({step.id for step in stored.trace}) == len(values)
    assert len(stored.events) == counted["accepted"] + counted["late"]
    assert len({event.id for event in stored.events}) == len(stored.events)
    assert all(event.text is None for event in stored.events)


@settings(max_examples=100, deadline=None)
@given(st.lists(SENT, min_size=1, max_size=12), st.lists(st.integers(1, 4), max_size=4))
def test_runs_that_are_sent_together_leave_what_they_leave_one_by_one(
    values: list[bytes | None], sizes: list[int]
) -> None:
    stage, apart = ingest(), Records()
    results = [stage.work(each) for each in runs_of(values, sizes)]
    facts: dict[int, list[Fact]] = {}
    for each in results:
        apart.extend(each.records)
        for partition, runs in each.facts.items():
            facts.setdefault(partition, []).extend(fact for run in runs for fact in run.rows())
    counted = [sum((getattr(each, name) for each in results), Counter[str]()) for name in ("outcomes", "reasons")]
    doors = [(each.unknown_doors, each.unknown_bad) for each in results]
    spent = sum(each.condition_seconds for each in results)
    joined = Ingested.joined(results)
    assert joined.records == apart
    assert {at: [fact for run in runs for fact in run.rows()] for at, runs in joined.facts.items()} == facts
    assert [joined.outcomes, joined.reasons] == counted
    assert (joined.unknown_doors, joined.unknown_bad) == tuple(map(sum, zip(*doors, strict=True)))
    assert joined.condition_seconds == pytest.approx(spent)
    assert ids(rows_in(joined.to_store())) == ids(apart)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(SENT, max_size=10),
    st.lists(st.integers(1, 4), max_size=3),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(0, 10),
    st.integers(0, 10**9),
)
def test_reading_everything_again_after_a_restart_gives_the_same_rows(
    values: list[bytes | None], sizes: list[int], other_sizes: list[int], stored: int, later: int
) -> None:
    before = Records()
    stage = ingest()
    for each in runs_of(values, sizes):
        before.extend(stage.work(each).records)
    known = [step for step in before.trace if step.what in ("accepted", "late")][:stored]
    hashes = {event.id: event.content_hash for event in before.events}
    seen = SeenEvents(1_000)
    seen.restore((step.subject, hashes[step.subject], step.receipt) for step in known)
    after = Records()
    stage = ingest(seen, now=NOW + later)
    for each in runs_of(values, other_sizes):
        after.extend(stage.work(each).records)
    assert after.events == before.events
    assert after.facts == before.facts
    assert [(step.id, step.subject, step.what) for step in after.trace] == [
        (step.id, step.subject, step.what) for step in before.trace
    ]
    assert ids(after) == ids(before)


def test_a_restored_event_keeps_the_receipt_of_its_acceptance() -> None:
    seen = SeenEvents(10)
    seen.restore([("e", "c", "r-1"), ("e", "c", "r-2")])
    assert seen.see("e", "c", "r-1") == "again"
    assert seen.see("e", "c", "r-2") == "duplicate"
    assert seen.see("e", "d", "r-3") == "conflict"


def test_what_is_remembered_from_longer_ago_is_restored_once_and_can_be_forgotten() -> None:
    seen = SeenEvents(1)
    for event, receipt in [("e", "r-1"), ("f", "r"), ("e", "r-2")]:
        seen.restore([(event, "c", receipt)])
    assert seen.see("e", "c", "r-1") == "again"
    seen.forget("e", "r-1")
    assert seen.see("e", "c", "r-3") == "new"


def test_a_topic_is_poisoned_when_nearly_everything_of_a_large_sample_is_bad() -> None:
    guard = PoisonGuard(sample=100, ratio=0.95)
    assert not guard.add("a", 99, 99)
    assert guard.add("a", 1, 1)
    assert not guard.add("b", 100, 94)
    assert guard.add("b", 1_000, 1_000)


def test_a_topic_recovers_when_good_records_come() -> None:
    guard = PoisonGuard(sample=100, ratio=0.95)
    assert guard.add("a", 100, 100)
    assert not guard.add("a", 100, 0)


def test_records_that_a_door_judged_do_not_poison() -> None:
    guard = PoisonGuard(sample=10)
    assert not any(guard.add("a", 0, 0) for _ in range(100))


def test_a_record_that_no_door_named_is_named_by_its_topic_partition_and_offset() -> None:
    values = [PlainRecord(b"{", 5, timestamp=NOW)]
    rows = [
        ingest().work(Run(topic, partition, values)).records.quarantine[0]
        for topic in ("complaints", "violations")
        for partition in (0, 1)
    ]
    assert [row.receipt for row in rows] == ["complaints/0/5", "complaints/1/5", "violations/0/5", "violations/1/5"]


def test_ids_of_events_are_those_of_their_source() -> None:
    result = ingest().work(run(encoded(7)))
    assert [event.id for event in result.records.events] == [event_id("12315", "7")]
    assert to_millis(datetime(2026, 11, 23, 6, tzinfo=UTC)) == result.records.events[0].occurred_at


def test_a_cloud_event_in_binary_mode_is_judged_by_its_headers() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"9"), ("ce_source", b"s"))
    right, wrong = [("ce_type", f"cn.jianguan.{kind}.v1".encode()) for kind in ("complaint", "violation")]
    result = ingest().work(
        run(
            PlainRecord(encoded(), 0, headers=(*headers, right), timestamp=NOW),
            PlainRecord(encoded(), 1, headers=(*headers, wrong), timestamp=NOW),
        )
    )
    assert outcomes(result) == ["accepted", "quarantined"]
    assert [row.code for row in result.records.quarantine] == ["wrong-topic"]


def test_the_same_content_is_the_same_whichever_envelope_it_came_in() -> None:
    plain = encoded(
        reporter={"name": "a", "phone": "13900001111"},
        demand="退款",
        text="字",
        position={"latitude": 1, "longitude": 2},
    )
    envelope = {"specversion": "1.0", "id": "1", "source": "12315", "type": "cn.jianguan.complaint.v1"}
    structured = json.dumps({**envelope, "data": json.loads(plain)}).encode()
    assert outcomes(ingest().work(run(plain, structured, b" " + plain, plain))) == ["accepted"] + ["duplicate"] * 3
