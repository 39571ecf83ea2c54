"""What the archive must answer, over every store, however often the records were told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.case import place_of
from jianguan.domain.fact import FactsWanted
from jianguan.domain.trace import Records
from jianguan.ports import OUTLINE, History, Resubmission
from sinks.archive import SqlArchive
from sinks.store import BlockStore
from tests.contract.samples import (
    MINUTE,
    NOW,
    SECRETS,
    alert,
    case,
    delivery,
    event,
    fact,
    quarantined,
    step,
    task,
    world,
)
from tests.contract.test_store import HOSTILE

DAY = 24 * 60 * MINUTE


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest) -> Records:
    """The story, told once whole and once again in part, as after a crash."""
    store: BlockStore = request.getfixturevalue("store")
    records = world()
    store.write(records, "run-1")
    store.write(Records(events=records.events, facts=records.facts, trace=records.trace[:3]), "run-2")
    store.write(world(), "run-3")
    return records


def ids_of(history: History) -> dict[str, list[str]]:
    return {
        "events": [each.event.id for each in history.events],
        "facts": [each.id for each in history.facts],
        "alerts": [each.id for each in history.alerts],
        "cases": [each.id for each in history.cases],
        "tasks": [each.id for each in history.tasks],
        "deliveries": [each.id for each in history.deliveries],
        "quarantine": [each.id for each in history.quarantine],
    }


def test_an_event_leads_forward_to_what_followed_and_not_to_its_neighbours(archive: SqlArchive, told: Records) -> None:
    history = archive.history(told.events[0].id)
    assert history is not None
    assert history.kind == "event"
    assert ids_of(history) == {
        "events": [told.events[0].id],
        "facts": [told.facts[0].id],
        "alerts": [told.alerts[0].id],
        "cases": [told.cases[0].id],
        "tasks": [each.id for each in told.tasks],
        "deliveries": [told.deliveries[0].id],
        "quarantine": [],
    }
    assert [each.what for each in history.steps] == ["accepted", "raised", "opened", "assigned", "assigned", "pending"]


@pytest.mark.parametrize("merged", [False, True])
def test_a_step_that_is_told_again_keeps_the_time_of_its_first_telling(
    store: BlockStore, archive: SqlArchive, told: Records, merged: bool
) -> None:
    before = archive.history(told.events[0].id)
    assert before is not None
    counted = archive.overview(NOW)
    for minutes in (3, 1):
        again = [each._replace(at=each.at + minutes * 60_000) for each in told.trace]
        store.write(Records(trace=again), f"again-{minutes}")
        if merged:
            store.command("OPTIMIZE TABLE trace FINAL")
    after = archive.history(told.events[0].id)
    assert after is not None
    assert after.steps == before.steps
    assert archive.overview(NOW).events_by_outcome == counted.events_by_outcome
    assert archive.submission("up-1") == counted.events_by_outcome


def test_a_conflict_is_in_the_history_of_the_event_that_it_concerns(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    conflict = step("qu-conflict", "quarantined", told.events[0].id, at=NOW + 9)
    store.write(Records(trace=[conflict]), "run-4")
    history = archive.history(told.events[0].id)
    assert history is not None
    assert history.steps[-1].subject == "qu-conflict"
    assert [each.event.id for each in history.events] == [told.events[0].id]


def test_an_event_that_comes_between_two_questions_is_told_with_its_step(
    store: BlockStore, told: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = store.query, []

    def before_it_came(sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        if " FROM events " in sql:
            asked.append(sql)
        return [] if len(asked) == 1 and " FROM events " in sql else ask(sql, parameters)

    monkeypatch.setattr(store, "query", before_it_came)
    history = SqlArchive(store, VirtualClock(from_millis(NOW))).history(told.events[0].id)
    assert history is not None
    assert [each.event.id for each in history.events] == [told.events[0].id]


@pytest.mark.parametrize("table", ["alerts", "cases", "tasks", "deliveries"])
def test_a_consequence_leads_back_to_every_event_behind_it(archive: SqlArchive, told: Records, table: str) -> None:
    subject = getattr(told, table)[0]
    history = archive.history(subject.id)
    assert history is not None
    assert ids_of(history) == {
        "events": [each.id for each in told.events],
        "facts": [each.id for each in told.facts],
        "alerts": [told.alerts[0].id],
        "cases": [told.cases[0].id],
        "tasks": [each.id for each in told.tasks],
        "deliveries": [told.deliveries[0].id],
        "quarantine": [],
    }
    assert history.kind == {"deliveries": "delivery"}.get(table, table[:-1])
    assert len(history.steps) == len(told.trace) - 1
    assert history.steps == sorted(history.steps, key=lambda each: (each.at, each.stage, each.id))
    assert not history.truncated


def test_a_case_that_names_only_its_last_alerts_leads_back_to_all_of_them(
    store: BlockStore, archive: SqlArchive
) -> None:
    events = [event(number) for number in (51, 52)]
    earlier, last = alert(events[:1], "rule-long"), alert(events[1:], "rule-last")
    long = case([earlier, last])._replace(id="ca-" + "5" * 24, alerts=(last.id,), alert_count=2)
    steps = [step(long.id, "opened", earlier.id, stage=3), step(long.id, "joined", last.id, stage=3)]
    store.write(Records(events=events, alerts=[earlier, last], cases=[long], trace=steps), "run-4")
    history = archive.history(long.id)
    assert history is not None
    assert {each.id for each in history.alerts} == {earlier.id, last.id}
    assert {each.event.id for each in history.events} == {each.id for each in events}
    assert not history.truncated


@pytest.mark.parametrize(
    ("name", "kind"), [("N1", "number"), ("S1", "event"), ("complaints/0/1", "event"), (" N1 ", "number")]
)
def test_a_name_from_outside_finds_its_event(archive: SqlArchive, told: Records, name: str, kind: str) -> None:
    history = archive.history(name)
    assert history is not None
    assert history.kind == kind
    assert [each.event.id for each in history.events] == [told.events[0].id]
    assert [each.id for each in history.cases] == [told.cases[0].id]


@pytest.mark.parametrize("name", ["uscc:91110000123456789X", "91110000123456789X"])
def test_an_enterprise_is_found_with_and_without_its_scheme(archive: SqlArchive, told: Records, name: str) -> None:
    history = archive.history(name)
    assert history is not None
    assert history.kind == "enterprise"
    assert len(history.events) == 2
    assert [each.id for each in history.tasks] == [each.id for each in told.tasks]


def test_a_fact_leads_to_its_event_and_to_the_alerts_of_its_rule(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    other = alert(told.events, rule="rule-b")._replace(case_key=None)
    store.write(Records(facts=[fact(told.events[0], "rule-b")], alerts=[other]), "run-4")
    history = archive.history(told.facts[0].id)
    assert history is not None
    assert history.kind == "fact"
    assert ids_of(history)["events"] == [told.events[0].id]
    assert ids_of(history)["facts"] == [told.facts[0].id]
    assert ids_of(history)["alerts"] == [told.alerts[0].id]


@pytest.mark.parametrize("which", ["id", "receipt"])
def test_a_refused_record_is_found_whole(archive: SqlArchive, told: Records, which: str) -> None:
    refused = told.quarantine[0]
    history = archive.history(getattr(refused, which))
    assert history is not None
    assert history.kind == "quarantine"
    assert history.quarantine == [refused]
    assert [each.what for each in history.steps] == ["quarantined"]


@pytest.mark.parametrize("table", ["events", "facts", "alerts", "cases", "tasks", "deliveries", "quarantine"])
def test_an_id_is_found_without_its_prefix(archive: SqlArchive, told: Records, table: str) -> None:
    whole = getattr(told, table)[0].id
    found = archive.history(f" {whole[3:]} ")
    assert found is not None
    assert found.asked == whole
    assert found == archive.history(whole)


def test_an_event_of_which_there_are_only_steps_is_found_without_its_prefix(
    store: BlockStore, archive: SqlArchive
) -> None:
    refused = "ev-" + "7" * 24
    store.write(Records(trace=[step(refused, "quarantined")]), "run-4")
    found = archive.history("7" * 24)
    assert found is not None
    assert (found.asked, [each.subject for each in found.steps]) == (refused, [refused])


def test_of_things_with_the_same_bits_the_one_that_people_ask_for_is_found(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    bits = "5" * 24
    others = Records(
        cases=[told.cases[0]._replace(id=f"ca-{bits}")], quarantine=[told.quarantine[0]._replace(id=f"qu-{bits}")]
    )
    store.write(others, "run-4")
    found = archive.history(bits)
    assert found is not None
    assert (found.kind, found.asked) == ("case", f"ca-{bits}")


def test_a_number_that_looks_like_an_id_without_its_prefix_is_found_as_a_number(
    store: BlockStore, archive: SqlArchive
) -> None:
    number = "202603020000000000000123"
    numbered = event(1)._replace(number=number)
    store.write(Records(events=[numbered], trace=[step(numbered.id, "accepted")]), "run-4")
    found = archive.history(number)
    assert found is not None
    assert (found.kind, found.asked) == ("number", number)
    assert ids_of(found)["events"] == [numbered.id]


@pytest.mark.parametrize(
    "name", ["", "   ", "nobody", "0" * 24, "ev-" + "0" * 24, "al-" + "0" * 24, "cm-" + "0" * 24, "x" * 9999]
)
def test_an_unknown_name_has_no_history(archive: SqlArchive, name: str) -> None:
    assert archive.history(name) is None


def test_a_history_shows_nothing_personal(archive: SqlArchive, told: Records) -> None:
    history = archive.history(told.cases[0].id)
    assert history is not None
    assert all(each.event.text is None for each in history.events)
    assert {each.text_length for each in history.events} == {len(SECRETS[4])}
    assert {each.rules for each in history.events} == {("rule-a",)}
    assert not [secret for secret in SECRETS if secret in repr(history)]


def test_a_history_that_is_cut_says_so(archive: SqlArchive, told: Records) -> None:
    history = archive.history(told.cases[0].id, limit=1)
    assert history is not None
    assert history.truncated
    assert len(history.steps) == 1
    assert len(history.events) == 1


@pytest.mark.parametrize("steps", [True, False])
def test_an_outline_has_what_its_history_has_as_far_as_lists_show_it(
    archive: SqlArchive, told: Records, steps: bool
) -> None:
    for name in (told.cases[0].id, told.events[0].enterprise or ""):
        history, outline = archive.history(name), archive.outline(name, steps=steps)
        assert history is not None
        assert outline is not None
        expected = {**ids_of(history), "facts": [], **({} if steps else {"deliveries": []})}
        assert ids_of(outline) == expected
        assert [each.id for each in outline.steps] == ([each.id for each in history.steps] if steps else [])
        assert (outline.kind, outline.truncated) == (history.kind, history.truncated)
        assert (outline.cases, outline.tasks) == (history.cases, history.tasks)
        assert [each.text_length for each in outline.events] == [each.text_length for each in history.events]
        for table, whole, listed in (
            ("events", [each.event for each in history.events], [each.event for each in outline.events]),
            ("alerts", history.alerts, outline.alerts),
            ("deliveries", history.deliveries if steps else [], outline.deliveries),
            ("trace", history.steps if steps else [], outline.steps),
        ):
            of = OUTLINE[table]
            assert [[getattr(each, name) for name in of] for each in listed] == [
                [getattr(each, name) for name in of] for each in whole
            ]
            others = [getattr(each, name) for each in listed for name in each._fields if name not in of]
            assert not any(others)


@pytest.mark.parametrize("many", [2, 60])
def test_a_case_that_steps_alone_know_is_found_with_and_without_them(
    store: BlockStore, archive: SqlArchive, many: int
) -> None:
    events = [event(number, enterprise="uscc:many", occurred_at=NOW + number) for number in range(100, 100 + many)]
    alerts = [alert([each], f"rule-{number}") for number, each in enumerate(events)]
    joined = case(alerts[-1:])._replace(id="ca-" + "6" * 24, enterprise=None, alerts=(), alert_count=many)
    trace = [step(joined.id, "joined", each.id, stage=3) for each in alerts]
    store.write(Records(events=events, alerts=alerts, cases=[joined], trace=trace), "run-4")
    for found in (archive.history("uscc:many"), archive.outline("uscc:many", steps=False)):
        assert found is not None
        assert [each.id for each in found.cases] == [joined.id]
        assert len(found.alerts) == len(found.events) == many


def test_an_alert_knows_the_facts_of_its_episode_that_it_does_not_name(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    later = event(3, occurred_at=told.alerts[0].episode_end - 1)
    after = event(4, occurred_at=told.alerts[0].episode_end)
    elsewhere = event(5, enterprise="uscc:other")
    store.write(Records(events=[later, after, elsewhere], facts=[fact(later), fact(after), fact(elsewhere)]), "run-4")
    history = archive.history(told.alerts[0].id)
    assert history is not None
    assert [each.event.id for each in history.events] == [told.events[0].id, told.events[1].id, later.id]


def test_the_overview_counts_each_thing_once(archive: SqlArchive, told: Records) -> None:
    figures = archive.overview(NOW + MINUTE)
    assert figures.events_total == 2
    assert figures.events_by_outcome == {"accepted": 2, "duplicate": 0, "late": 0, "quarantined": 1}
    assert figures.alerts_by_severity == {"info": 0, "low": 0, "medium": 0, "high": 1, "critical": 0}
    assert (figures.alerts_total, figures.open_cases, figures.open_tasks) == (1, 1, 2)
    assert (figures.overdue_tasks, figures.pending_deliveries, figures.quarantined) == (0, 1, 1)
    assert figures.newest_alerts == told.alerts
    minutes = [minute for minute, _ in figures.events_per_minute]
    assert minutes == list(range(minutes[0], NOW + MINUTE, MINUTE))
    assert dict(figures.events_per_minute)[NOW // MINUTE * MINUTE] == 2
    assert sum(count for _, count in figures.events_per_minute) == 2


def test_the_overview_tells_the_rules_and_regions_with_most_alerts_of_today(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    (first,) = told.alerts
    more = [
        alert(told.events, f"rule-{rule}", "low", NOW + place)._replace(id=f"al-{rule}-{place}", region=region)
        for rule, region, count in (("b", "cn:310115", 3), ("c", None, 2), ("d", "cn:310104", 2), ("e", "cn:110105", 1))
        for place in range(count)
    ]
    others = [
        alert(told.events, f"rule-{rule}", "low", NOW)._replace(id=f"al-{rule}", region=f"cn:32010{rule}")
        for rule in range(4)
    ]
    store.write(Records(alerts=[*more, more[0], *others]), "run-5")
    figures = archive.overview(NOW + MINUTE)
    assert list(figures.alerts_by_rule.items())[:3] == [("rule-b", 3), ("rule-c", 2), ("rule-d", 2)]
    assert list(figures.alerts_by_region.items())[:2] == [("cn:310115", 3), ("cn:310104", 2)]
    assert len(figures.alerts_by_rule) == len(figures.alerts_by_region) == 5
    later = archive.overview(NOW + DAY + 1)
    assert first.rule not in later.alerts_by_rule
    assert later.alerts_by_region == {"cn:310115": 1}


def test_the_overview_of_an_old_alert_is_not_of_today(archive: SqlArchive) -> None:
    figures = archive.overview(NOW + DAY + 1)
    assert sum(figures.alerts_by_severity.values()) == 0
    assert figures.alerts_total == 1


def test_alerts_are_newest_first_and_filtered(store: BlockStore, archive: SqlArchive, told: Records) -> None:
    newer = alert(told.events, "rule-b", "low", NOW + 5)._replace(region="gbt2260:310000")
    store.write(Records(alerts=[newer]), "run-4")
    (first,) = told.alerts
    assert archive.alerts() == [newer, first]
    assert archive.alerts(limit=1) == [newer]
    assert archive.alerts(before=NOW + 5) == [first]
    assert archive.alerts(severity="low") == [newer]
    assert archive.alerts(rule="rule-a") == [first]
    assert archive.alerts(region="gbt2260:11") == [first]
    assert archive.alerts(region="gbt2260:310000", severity="high") == []


def test_many_alerts_and_cases_of_one_moment_are_told_part_by_part(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    alerts = [alert(told.events, f"rule-{number}", "low", NOW + 9) for number in range(7)]
    cases = [case(told.alerts, ordinal=number)._replace(opened_at=NOW + 9) for number in range(2, 9)]
    store.write(Records(alerts=alerts, cases=cases), "run-4")
    ids = sorted(each.id for each in alerts)
    parts = [archive.alerts(before=NOW + 10, after=after, limit=3) for after in (None, ids[2], ids[5])]
    assert [each.id for part in parts for each in part][:7] == ids
    assert parts[2][1:] == told.alerts
    ids = sorted(each.id for each in cases)
    found = archive.cases(before=NOW + 10, after=ids[4], limit=3)
    assert [each.id for each, _ in found] == [ids[5], ids[6], told.cases[0].id]


def test_cases_come_with_their_tasks_newest_first_and_filtered(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    second = case(told.alerts, ordinal=2)
    late = task(second, "health")._replace(overdue=True)
    store.write(Records(cases=[second], tasks=[late]), "run-4")
    first = told.cases[0]
    assert archive.cases() == [(second, [late]), (first, told.tasks)]
    assert archive.cases(before=NOW + 2) == [(first, told.tasks)]
    assert archive.cases(overdue=True) == [(second, [late])]
    assert archive.cases(overdue=False) == [(first, told.tasks)]
    assert [each.id for each, _ in archive.cases(department="health")] == [second.id]
    assert [each.id for each, _ in archive.cases(department="police")] == [first.id]
    assert archive.cases(state="closed") == []


def test_cases_are_found_by_their_ids(store: BlockStore, archive: SqlArchive, told: Records) -> None:
    second = case(told.alerts, ordinal=2)
    store.write(Records(cases=[second._replace(revision=second.revision - 1, state="closed"), second]), "run-4")
    first = told.cases[0]
    wanted = [first.id, second.id, first.id, "ca-" + "0" * 24]
    assert archive.cases_of(wanted) == {first.id: first, second.id: second}
    assert archive.cases_of([]) == {}


def test_a_list_of_large_quarantined_records_holds_what_memory_can_bear(
    store: BlockStore, archive: SqlArchive, told: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = told.quarantine[0]
    large = [old._replace(id=f"qu-{number:024d}", at=NOW + 10 + number, raw=b"x" * 400) for number in range(4)]
    store.write(Records(quarantine=large), "run-4")
    assert archive.quarantine() == [*reversed(large), old]
    monkeypatch.setattr("sinks.archive.MOST_LISTED_BYTES", 800)
    assert archive.quarantine() == [large[3], large[2]]
    monkeypatch.setattr("sinks.archive.MOST_LISTED_BYTES", 10)
    assert archive.quarantine() == [large[3]]
    assert archive.quarantine(code="no-such-code") == []


def test_a_task_has_its_case_and_its_latest_revision(store: BlockStore, archive: SqlArchive, told: Records) -> None:
    accepted = task(told.cases[0], revision=2, state="accepted")
    store.write(Records(tasks=[accepted]), "run-4")
    assert archive.task(accepted.id) == (accepted, told.cases[0])
    assert archive.task("ta-" + "0" * 24) is None


def test_tasks_are_most_urgent_first(store: BlockStore, archive: SqlArchive, told: Records) -> None:
    owner = told.cases[0]
    closed = task(owner, "a", state="closed")._replace(due_at=NOW)
    late = task(owner, "b")._replace(overdue=True)
    soon = task(owner, "c")._replace(due_at=NOW + 1)
    never = task(owner, "d")._replace(due_at=None)
    store.write(Records(tasks=[closed, late, soon, never]), "run-4")
    order = [each.department for each in archive.tasks()]
    assert order[:2] == ["b", "c"]
    assert set(order[2:4]) == {"market", "police"}
    assert order[4:] == ["d", "a"]
    assert archive.tasks(overdue=True) == [late]
    assert archive.tasks(department="c") == [soon]
    assert archive.tasks(state="closed") == [closed]
    assert len(archive.tasks(limit=2)) == 2


def test_a_list_of_tasks_goes_on_after_any_place(store: BlockStore, archive: SqlArchive, told: Records) -> None:
    owner = told.cases[0]
    ends = (None, NOW, NOW + 1)
    many = [
        task(owner, f"{state}-{due}-{overdue}", state=state)._replace(due_at=due, overdue=overdue)
        for state in ("assigned", "closed")
        for due in ends
        for overdue in (False, True)
    ]
    store.write(Records(tasks=many), "run-4")
    whole = archive.tasks()
    assert whole == sorted([*many, *told.tasks], key=place_of)
    for index, each in enumerate(whole):
        assert archive.tasks(after=place_of(each), limit=2) == whole[index + 1 : index + 3]


def test_notices_and_quarantined_records_of_one_millisecond_are_told_in_parts(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    records = [told.quarantine[0]._replace(id=f"qu-{number:024d}", at=NOW + 99) for number in range(4)]
    notices = [told.deliveries[0]._replace(id=f"dl-{number:024d}", created_at=NOW + 99) for number in range(4)]
    store.write(Records(quarantine=records, deliveries=notices), "run-4")
    assert archive.quarantine(before=NOW + 100, after=records[1].id) == [*records[2:], *told.quarantine]
    assert archive.deliveries(before=NOW + 100, after=notices[1].id) == [*notices[2:], *told.deliveries]
    assert archive.quarantine(before=NOW + 99) == told.quarantine
    assert archive.deliveries(before=NOW + 99) == told.deliveries


def test_enterprises_are_found_by_part_of_id_or_name(archive: SqlArchive) -> None:
    found = [("uscc:91110000123456789X", "长城酒业有限公司🍷", 2)]
    assert archive.enterprises("长城") == found
    assert archive.enterprises("123456789x") == found
    assert archive.enterprises("%") == []


def test_deliveries_and_refused_records_are_listed_and_filtered(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    done = delivery(told.tasks[1], state="delivered", revision=2)._replace(created_at=NOW + 1)
    retried = quarantined(9, told.quarantine[0].raw, state="retried")
    store.write(Records(deliveries=[done], quarantine=[retried, quarantined(10, b"x", code="unknown")]), "run-4")
    assert archive.deliveries() == [done, told.deliveries[0]]
    assert archive.deliveries(state="delivered", receiver="hook") == [done]
    assert list(archive.pending_deliveries()) == told.deliveries
    assert [each.offset for each in archive.quarantine()] == [10, 9]
    assert archive.quarantine(state="retried") == [retried]
    assert [each.offset for each in archive.quarantine(code="unknown")] == [10]
    assert archive.quarantined(retried.id) == retried
    assert archive.quarantined("qu-" + "0" * 24) is None


@pytest.mark.parametrize(
    "raw",
    [
        '{"id": "T-1.5", "text": "x"}', '{"number":"T-1.5"', '{"number" : T-1.5}',
        '{"specversion": "1.0", "data": {"number": "T-1.5"}}', '{"id": "T-1.5", "x": "\udcff"}', '{"id": T-1.5',
    ],
)  # fmt: skip
def test_a_quarantined_record_is_found_by_its_own_name_whatever_is_wrong_with_it(
    store: BlockStore, archive: SqlArchive, raw: str
) -> None:
    refused = quarantined(20, raw.encode("utf-8", "surrogateescape"))
    newer = quarantined(21, b'{"id": "T-1.5"}')
    store.write(Records(quarantine=[refused, newer, newer._replace(state="retried", revision=2)]), "run-4")
    assert [each.offset for each in archive.quarantined_as(" T-1.5 ")] == [21, 20]
    assert [each.offset for each in archive.quarantined_as("T-1.5", 1)] == [21]


def test_a_quarantined_record_is_found_by_no_part_of_its_name_and_by_nothing_personal(
    store: BlockStore, archive: SqlArchive
) -> None:
    raw = '{"id": "投诉-15", "reporter": {"phone": "13800138000", "id_card": "310104199001011234"}, "text": "甲"}'
    escaped = quarantined(21, json.dumps({"id": "投诉-15"}).encode())
    store.write(Records(quarantine=[quarantined(20, raw.encode()), escaped]), "run-4")
    assert [each.offset for each in archive.quarantined_as("投诉-15")] == [21, 20]
    for name in ("投诉-1", "15", ".*", "投诉.15", "13800138000", "310104199001011234", "甲", "", " ", "x" * 9999):
        assert archive.quarantined_as(name) == [], name


def test_a_record_that_was_submitted_again_leads_to_what_became_of_it(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    taken, refused, waiting = (quarantined(number, b"x", state="retried") for number in (11, 12, 13))
    again = quarantined(14, b"x")
    steps = [step(each.id, "retried", stage=5, receipt=f"r-{each.offset}") for each in (taken, refused, waiting)]
    steps += [step(told.events[0].id, "duplicate", receipt="r-11"), step(again.id, "quarantined", receipt="r-12")]
    for run in ("run-4", "run-5"):
        store.write(Records(quarantine=[taken, refused, waiting, again], trace=steps), run)
    assert archive.resubmitted([taken.id, refused.id, waiting.id, told.quarantine[0].id]) == {
        taken.id: Resubmission("r-11", "duplicate", told.events[0].id),
        refused.id: Resubmission("r-12", "quarantined", again.id),
        waiting.id: Resubmission("r-13"),
    }
    assert archive.resubmitted([]) == {}


def test_an_upload_is_counted_by_outcome(archive: SqlArchive) -> None:
    assert archive.submission("up-1") == {"accepted": 2, "duplicate": 0, "late": 0, "quarantined": 1}
    assert archive.submission("up-2") == {"accepted": 0, "duplicate": 0, "late": 0, "quarantined": 0}


def test_a_restarting_stage_gets_its_state_back(store: BlockStore, archive: SqlArchive, told: Records) -> None:
    assert list(archive.seen_events(10)) == [
        (told.events[0].id, "hash-1", "complaints/0/1"),
        (told.events[1].id, "hash-2", "complaints/0/2"),
    ]
    assert list(archive.seen_events(1)) == [(told.events[1].id, "hash-2", "complaints/0/2")]
    assert list(archive.seen_events(0)) == []
    assert list(archive.facts_to_fold(FactsWanted("rule-a", 2, MINUTE))) == []
    assert [run.rows() for run in archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE - 1))] == [[told.facts[1]]]
    assert [sorted(run.rows()) for run in archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE))] == [
        sorted(told.facts)
    ]
    assert list(archive.open_cases()) == [(told.cases[0], told.tasks)]
    assert list(archive.alert_ids_of([told.cases[0].id])) == [(told.alerts[0].id, told.cases[0].id)]
    assert list(archive.alert_ids_of([])) == []
    store.write(Records(cases=[case(told.alerts, revision=2, state="closed"), case(told.alerts, ordinal=2)]), "run-4")
    assert [each.ordinal for each, _ in archive.open_cases()] == [2]
    assert sorted(each.ordinal for each, _ in archive.open_cases(NOW + MINUTE)) == [1, 2]
    assert [each.ordinal for each, _ in archive.open_cases(NOW + MINUTE + 1)] == [2]
    assert list(archive.case_ordinals()) == [(told.cases[0].case_key, 2)]


def test_the_tasks_of_which_a_step_tells_that_they_are_overdue_are_told(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    first, *others = [each.id for each in told.tasks]
    store.write(
        Records(trace=[step(first, "overdue", stage=3), *[step(each, "task-accepted") for each in others]]), "r"
    )
    assert archive.told_overdue([first, *others, "ta-unknown"]) == {first}
    assert archive.told_overdue([]) == set()


def test_an_alert_that_only_the_trace_ties_to_a_case_is_tied(
    store: BlockStore, archive: SqlArchive, told: Records
) -> None:
    joined = alert(told.events, "rule-b")
    joins = step(told.cases[0].id, "joined", joined.id, stage=3)
    store.write(Records(alerts=[joined], trace=[joins]), "run-4")
    assert set(archive.alert_ids_of([told.cases[0].id])) == {
        (told.alerts[0].id, told.cases[0].id),
        (joined.id, told.cases[0].id),
    }
    history = archive.history(joined.id)
    assert history is not None
    assert [each.id for each in history.cases] == [told.cases[0].id]


@pytest.mark.parametrize("text", [each for each in HOSTILE if each])
def test_no_text_that_is_asked_for_is_read_as_sql(archive: SqlArchive, text: str) -> None:
    assert archive.history(text) is None
    assert archive.alerts(severity=text) == archive.alerts(rule=text) == archive.alerts(region=text) == []
    assert archive.cases(state=text) == archive.cases(department=text) == []
    assert archive.tasks(department=text) == archive.tasks(state=text) == []
    assert archive.deliveries(state=text) == archive.deliveries(receiver=text) == []
    assert archive.quarantined_as(text) == []
    assert archive.quarantine(code=text) == archive.quarantine(state=text) == []
    assert archive.enterprises(text) == []
    assert archive.task(text) is None
    assert archive.quarantined(text) is None
    assert sum(archive.submission(text).values()) == 0
    assert list(archive.facts_to_fold(FactsWanted(text, 1, 0))) == []
    assert list(archive.alert_ids_of([text])) == []
    assert archive.overview(NOW).events_total == 2
