"""What a restarting stage is told, over every store, however often the records were told before."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import pytest

from jianguan.domain.alert import Alert, Raised
from jianguan.domain.fact import Fact, FactRun, FactsWanted
from jianguan.domain.trace import Records, Step
from sinks.archive import SqlArchive
from sinks.store import BlockStore
from tests.contract.samples import MINUTE, NOW, SECRETS, alert, case, delivery, event, fact, personal, step, task


def rows(runs: Iterable[FactRun]) -> list[Fact]:
    """The facts of runs, one by one."""
    return [fact for run in runs for fact in run.rows()]


def twice(store: BlockStore, records: Records) -> None:
    """Tell the records, and tell them again as after a crash."""
    store.write(records, "run-1")
    store.write(records, "run-2")


def test_all_facts_of_the_windows_that_moved_since_come_by_time(store: BlockStore, archive: SqlArchive) -> None:
    moved = [event(number, occurred_at=NOW - number * MINUTE) for number in (1, 2, 3)]
    still = event(4, enterprise="uscc:other")
    facts = [fact(each) for each in moved]
    facts[0] = facts[0]._replace(received_at=NOW + 1)
    twice(store, Records(facts=[*facts, fact(still), fact(moved[1], "rule-b"), fact(moved[1], version=2)]))
    assert list(archive.facts_of_keys_since(NOW + 1)) == list(reversed(facts))
    assert list(archive.facts_of_keys_since(NOW + 2)) == []


def test_facts_of_several_windows_come_window_by_window(store: BlockStore, archive: SqlArchive) -> None:
    facts = [fact(event(number, enterprise=f"uscc:{number % 2}", occurred_at=NOW - number)) for number in range(6)]
    twice(store, Records(facts=facts))
    found = list(archive.facts_of_keys_since(0))
    assert found == sorted(facts, key=lambda each: (each.key, each.time))


def test_facts_to_fold_reach_back_from_the_newest_of_their_own_key(store: BlockStore, archive: SqlArchive) -> None:
    early = [
        fact(event(number, enterprise="uscc:early", occurred_at=NOW - number * MINUTE)) for number in (100, 101, 102)
    ]
    late = [fact(event(number, enterprise="uscc:late", occurred_at=NOW - number * MINUTE)) for number in (0, 1, 2)]
    twice(store, Records(facts=[*early, *late, fact(event(5), "rule-b"), fact(event(6), version=2)]))
    assert sorted(rows(archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE)))) == sorted([*early[:2], *late[:2]])
    assert sorted(rows(archive.facts_to_fold(FactsWanted("rule-a", 1, 0)))) == sorted([early[0], late[0]])


def test_facts_to_fold_come_key_by_key_and_in_each_by_time(store: BlockStore, archive: SqlArchive) -> None:
    facts = [
        fact(event(number, enterprise=f"uscc:{number % 3}", occurred_at=NOW - number // 4)) for number in range(24)
    ]
    twice(store, Records(facts=facts))
    found = rows(archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE)))
    assert found == sorted(facts, key=lambda each: (each.key, each.time, each.event))


def test_a_rule_that_counts_is_told_only_what_it_needs_of_its_facts(store: BlockStore, archive: SqlArchive) -> None:
    facts = [fact(event(number))._replace(number=number / 2, member=f"m{number}") for number in range(3)]
    twice(store, Records(facts=facts))
    bare = [each._replace(enterprise=None, enterprise_name=None, region=None, industry=None) for each in facts]
    bare = [each._replace(category="", carried=None) for each in bare]
    (told,) = archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE, {"member", "number"}))
    assert sorted(told.rows()) == sorted(bare)
    (told,) = archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE, ()))
    assert sorted(told.rows()) == sorted(each._replace(number=None, member=None) for each in bare)
    assert list(archive.facts_to_fold(FactsWanted("rule-b", 1, MINUTE, ()))) == []


def test_facts_to_fold_are_those_of_some_keys_if_only_these_are_asked_for(
    store: BlockStore, archive: SqlArchive
) -> None:
    number = count(100)

    def of_enterprise(name: str) -> list[Fact]:
        times = [NOW - number * MINUTE for number in (0, 1, 5)]
        return [fact(event(next(number), enterprise=f"uscc:{name}", occurred_at=time)) for time in times]

    of_key = {name: of_enterprise(name) for name in ("a", "b", "it's; DROP TABLE facts")}
    other = fact(event(9, enterprise="uscc:a"), "rule-b")
    twice(store, Records(facts=[other, *[each for facts in of_key.values() for each in facts]]))
    keys = {name: facts[0].key for name, facts in of_key.items()}
    for asked in (["a"], ["it's; DROP TABLE facts", "b"], []):
        found = rows(archive.facts_to_fold(FactsWanted("rule-a", 1, 2 * MINUTE, keys=[keys[name] for name in asked])))
        assert sorted(found) == sorted(each for name in asked for each in of_key[name][:2])
    many = [keys["b"], *[f"unknown-{number}" for number in range(2_500)]]
    assert sorted(rows(archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE, keys=many)))) == sorted(of_key["b"][:2])


def test_facts_to_fold_reach_back_from_the_newest_that_was_received_before_if_a_time_is_given(
    store: BlockStore, archive: SqlArchive
) -> None:
    facts = [
        fact(event(number, occurred_at=NOW - number * MINUTE))._replace(received_at=NOW - number * MINUTE)
        for number in range(5)
    ]
    twice(store, Records(facts=facts))
    assert sorted(rows(archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE, before=NOW)))) == sorted(facts[1:3])
    assert sorted(rows(archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE, before=NOW + 1)))) == sorted(facts[:2])
    assert rows(archive.facts_to_fold(FactsWanted("rule-a", 1, MINUTE, before=NOW + 1, keys=["unknown"]))) == []


def test_facts_to_fold_reach_back_from_the_oldest_that_may_be_open(store: BlockStore, archive: SqlArchive) -> None:
    def made(number: int, ago: int, received_ago: int, enterprise: str) -> Fact:
        of = event(number, enterprise=enterprise, occurred_at=NOW - ago * MINUTE)
        return fact(of)._replace(received_at=NOW - received_ago * MINUTE)

    imported = [made(number, ago, 1, "uscc:imported") for number, ago in enumerate((0, 60, 100))]
    before = [made(number + 10, ago, ago, "uscc:imported") for number, ago in enumerate((103, 105, 106, 200))]
    decided = [made(number + 20, ago, ago, "uscc:decided") for number, ago in enumerate((50, 51, 53))]
    twice(store, Records(facts=[*imported, *before, *decided]))
    open_ones = FactsWanted("rule-a", 1, 2 * MINUTE, open_since=NOW - 5 * MINUTE, back=5 * MINUTE)
    assert sorted(rows(archive.facts_to_fold(open_ones))) == sorted([*imported, *before[:2], *decided[:2]])
    none_open = FactsWanted("rule-a", 1, 2 * MINUTE, open_since=NOW, back=5 * MINUTE)
    assert sorted(rows(archive.facts_to_fold(none_open))) == sorted([imported[0], *decided[:2]])
    of_one = FactsWanted("rule-a", 1, 0, keys=["uscc:decided"], open_since=NOW - 51 * MINUTE, back=MINUTE)
    assert sorted(rows(archive.facts_to_fold(of_one))) == sorted(decided[:2])


def test_the_newest_receipt_is_that_of_a_fact(store: BlockStore, archive: SqlArchive) -> None:
    assert archive.last_received() is None
    twice(store, Records(facts=[fact(event(number))._replace(received_at=NOW + number) for number in (1, 3, 2)]))
    assert archive.last_received() == NOW + 3


def test_alerts_are_told_of_whose_episode_goes_on_or_that_were_raised_since(
    store: BlockStore, archive: SqlArchive
) -> None:
    def ends(number: int, after: int, raised_at: int, **of: str) -> Alert:
        made = alert([event(number)], raised_at=NOW + raised_at, **of)
        return made._replace(id=f"al-{number:024x}", episode_end=NOW + after, key=f"key-{number % 2}")

    told = [ends(1, 0, -9), ends(2, 5, -9), ends(3, -5, 0), ends(4, 0, 0, rule="rule-b")]
    over = [ends(5, -1, -1), ends(6, 9, 9, rule="rule-c")]
    twice(store, Records(alerts=[*told, *over]))
    rules = ["rule-a", "rule-b"]
    raised = {Raised(each.id, each.rule, each.version, each.key, each.episode, each.time) for each in told}
    assert set(archive.raised(rules, NOW)) == raised
    assert set(archive.raised(rules, NOW, ["key-1", "key-unknown"])) == {each for each in raised if each.key == "key-1"}
    assert sorted(each.id for each in archive.alerts_of(rules, NOW)) == sorted(each.id for each in told)
    assert list(archive.alerts_of(["rule-d"], NOW)) == []
    assert list(archive.raised(rules, NOW, [])) == []


def test_the_oldest_receipt_is_that_of_an_event(store: BlockStore, archive: SqlArchive) -> None:
    assert archive.first_received() is None
    events = [event(number)._replace(received_at=NOW + number) for number in (3, 1, 2)]
    twice(store, Records(events=events))
    assert archive.first_received() == NOW + 1


def test_alerts_since_a_moment_include_that_moment(store: BlockStore, archive: SqlArchive) -> None:
    raised = [alert([event(1)], f"rule-{number}", raised_at=NOW + number) for number in range(3)]
    twice(store, Records(alerts=raised))
    assert sorted(each.id for each in archive.alerts_since(NOW + 1)) == sorted(each.id for each in raised[1:])
    assert list(archive.alerts_since(NOW + 3)) == []


def test_an_alert_of_a_record_received_since_is_among_them_though_the_clock_was_set_back_before_it_was_raised(
    store: BlockStore, archive: SqlArchive
) -> None:
    """What follows from it may have been cut off, as from any other of a record that is read again."""
    received = event(1)
    raised = alert([received], raised_at=received.received_at - 2 * MINUTE)
    twice(store, Records(alerts=[raised]))
    assert [each.id for each in archive.alerts_since(received.received_at)] == [raised.id]
    assert list(archive.alerts_since(received.received_at + 1)) == []


def test_the_alerts_that_are_known_are_told_apart(store: BlockStore, archive: SqlArchive) -> None:
    raised = alert([event(1)])
    twice(store, Records(alerts=[raised]))
    unknown = [f"al-{number:024x}" for number in range(2_500)]
    assert archive.known_alerts([*unknown, raised.id]) == {raised.id}
    assert archive.known_alerts([]) == set()


@pytest.mark.parametrize(
    ("state", "finished"), [("delivered", True), ("dead", True), ("pending", False), ("disabled", False)]
)
def test_a_delivery_is_finished_when_its_last_revision_says_so(
    store: BlockStore, archive: SqlArchive, state: str, finished: bool
) -> None:
    work = task(case([alert([event(1)])]))
    last = delivery(work, state=state, revision=2)
    store.write(Records(deliveries=[delivery(work, state="delivered" if state == "pending" else "pending")]), "run-1")
    twice(store, Records(deliveries=[last]))
    assert list(archive.finished_deliveries(last.updated_at)) == ([(last.id, "hook")] if finished else [])
    assert list(archive.finished_deliveries(last.updated_at + 1)) == []
    assert list(archive.pending_deliveries()) == ([] if finished else [last])


def test_cases_closed_lately_are_told_with_the_open_ones_and_all_their_tasks(
    store: BlockStore, archive: SqlArchive
) -> None:
    raised = alert([event(1)])
    still_open, closed = case([raised]), case([raised], ordinal=2, revision=2, state="closed")
    tasks = [task(closed, "police", state="closed", revision=2), task(closed, state="closed", revision=2)]
    store.write(Records(cases=[case([raised], ordinal=2)], tasks=[task(closed)]), "run-0")
    twice(store, Records(cases=[still_open, closed], tasks=tasks))
    assert list(archive.open_cases()) == [(still_open, [])]
    lately = list(archive.open_cases(closed.closed_at))
    assert sorted(lately, key=lambda each: each[0].ordinal) == [(still_open, []), (closed, [tasks[1], tasks[0]])]
    assert list(archive.open_cases((closed.closed_at or 0) + 1)) == [(still_open, [])]


def test_seen_events_are_told_in_the_order_of_receipt(store: BlockStore, archive: SqlArchive) -> None:
    events = [event(number)._replace(received_at=NOW - number) for number in range(5)]
    steps = [_accepted(each.id, number) for number, each in enumerate(events)]
    twice(store, Records(events=events, trace=steps[:4]))
    expected = [(each.id, each.content_hash, f"complaints/0/{number}") for number, each in enumerate(events)]
    # The last one has no step: a crash cut it off, and it counts as new.
    assert list(archive.seen_events(100)) == list(reversed(expected[:4]))
    assert list(archive.seen_events(2)) == list(reversed(expected[:2]))


def test_the_length_of_a_text_is_told_and_nothing_else_of_it(store: BlockStore, archive: SqlArchive) -> None:
    told, silent, empty = event(1), event(2), event(3)
    twice(store, Records(events=[told, silent, empty], personal=[personal(told), personal(empty)._replace(text=None)]))
    for of, length in ((told, len(SECRETS[4])), (silent, 0), (empty, 0)):
        history = archive.history(of.id)
        assert history is not None
        assert [each.text_length for each in history.events] == [length]
        assert SECRETS[4] not in repr(history)


def _accepted(subject: str, number: int) -> Step:
    return step(subject, "accepted", receipt=f"complaints/0/{number}")
