"""What rules are given in hindsight, over every store: the events that were judged, as they were when they came."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import HealthCheck, given, settings

from jianguan.domain.admission import without_personal
from jianguan.domain.event import Event, Personal
from jianguan.domain.filters import ANYTHING, NOTHING, All, Filter, Some, Test
from jianguan.domain.trace import Records
from rules.cel.matching import compile_one
from rules.fields import FIELDS
from rules.pushdown import filter_of
from sinks.archive import SqlArchive
from sinks.store import BlockStore
from tests.contract.samples import MINUTE, NOW, event
from tests.rules.random_conditions import conditions, many_events
from tests.rules.support import reference

EVER = 2**52
ENVIRONMENT = reference().environment()


def tell(store: BlockStore, events: list[Event]) -> None:
    """Store events with their free texts, twice as after a crash."""
    told = [each for each in events if each.text is not None]
    personal = [Personal(each.id, each.occurred_at, None, None, None, None, each.text) for each in told]
    records = Records(events=[without_personal(each) for each in events], personal=personal)
    store.write(records, "run-1")
    store.write(records, "run-2")


def asked(
    archive: SqlArchive,
    wanted: Filter = ANYTHING,
    fields: Collection[str] = (),
    since: int = 0,
    until: int = EVER,
    max_age: int = EVER,
) -> list[Event]:
    """The answer, each event once."""
    found = [each for block in archive.events_to_judge(wanted, fields, since, until, max_age) for each in block]
    return list(dict.fromkeys(found))


def test_events_come_in_the_order_of_their_arrival_with_what_was_asked_for(
    store: BlockStore, archive: SqlArchive
) -> None:
    events = [event(number, received_at=NOW - number, text=f"text {number}") for number in range(5)]
    tell(store, [*events, event(9, received_at=NOW)])
    found = asked(archive, fields=("product", "text", "tags"))
    assert [each.id for each in found[:4]] == [each.id for each in reversed(events)][:4]
    first = found[0]
    assert (first.product, first.text, first.tags) == ("酒", "text 4", ("热点", "it's"))
    assert (first.demand, first.reporter, first.latitude) == (None, None, None)  # nobody asked
    assert asked(archive)[0].text is None


def test_a_moment_is_that_of_the_fact(store: BlockStore, archive: SqlArchive) -> None:
    past, ahead = (
        event(1, occurred_at=NOW - 10, received_at=NOW - 1),
        event(2, occurred_at=NOW + MINUTE, received_at=NOW),
    )
    tell(store, [past, ahead])
    ids = [past.id, ahead.id]
    assert [each.id for each in asked(archive, since=NOW - 10, until=NOW + 1)] == ids
    assert [each.id for each in asked(archive, since=NOW - 9, until=NOW + 1)] == ids[1:]
    assert [each.id for each in asked(archive, since=NOW - 10, until=NOW)] == ids[:1]


def test_what_was_too_old_to_be_judged_is_left_out(store: BlockStore, archive: SqlArchive) -> None:
    events = [
        event(1, occurred_at=NOW - 100, received_at=NOW),
        event(2, occurred_at=NOW - 101, received_at=NOW),
        event(3, occurred_at=NOW - 101, received_at=NOW, historical=True),
    ]
    tell(store, events)
    assert {each.id for each in asked(archive, max_age=100)} == {events[0].id, events[2].id}


@pytest.mark.parametrize("needed", [True, False])
def test_words_are_looked_for_in_the_free_text(store: BlockStore, archive: SqlArchive, needed: bool) -> None:
    events = [event(1, text="老板跑路了"), event(2, text="退款"), event(3), event(4, product="跑路")]
    tell(store, events)
    words: Filter = Test("text", "holds", ("跑路", "失联"))
    wanted = words if needed else Some((words, Test("product", "=", ("跑路",))))
    found = asked(archive, wanted, fields=("text",))
    assert sorted(each.id for each in found) == sorted([events[0].id] if needed else [events[0].id, events[3].id])


@pytest.mark.parametrize(
    "wanted", [Test("text", "missing"), Some((Test("text", "missing"), Test("text", "=", ("b",))))]
)
def test_an_event_without_a_text_passes_where_none_is_asked_for(
    store: BlockStore, archive: SqlArchive, wanted: Filter
) -> None:
    events = [event(1, text="a"), event(2)]
    tell(store, events)
    assert [each.id for each in asked(archive, wanted, fields=("text",))] == [events[1].id]


def test_nothing_passes_the_filter_that_nothing_passes(store: BlockStore, archive: SqlArchive) -> None:
    tell(store, [event(1)])
    assert asked(archive, NOTHING) == []


@pytest.mark.parametrize(
    "wanted",
    [
        All((Some((Test("text", "=", ("a",)), Test("product", "=", ("x",)))), Test("category", "in"))),
        Some((Test("text", "=", ("a",)), All((Test("category", "=", ("x",)), Test("category", "=", ("y",)))))),
    ],
    ids=["never", "only with words"],
)
def test_a_filter_that_no_event_without_a_text_can_pass_is_still_a_question(
    store: BlockStore, archive: SqlArchive, wanted: Filter
) -> None:
    events = [event(1, text="a"), event(2, text="b"), event(3)]
    tell(store, events)
    expected = [] if isinstance(wanted, All) else [events[0].id]
    assert [each.id for each in asked(archive, wanted, fields=("text",))] == expected


MANY = many_events(400, seed=20_260_101)


@pytest.fixture
def many(store: BlockStore, archive: SqlArchive) -> SqlArchive:
    """An archive of random events."""
    tell(store, MANY)
    return archive


def test_no_event_that_a_condition_accepts_is_dropped(many: SqlArchive) -> None:
    narrowed = 0

    @given(conditions)
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(text: str) -> None:
        nonlocal narrowed
        checked = ENVIRONMENT.check(text)
        passed = asked(many, filter_of(checked, reference()), fields=[*checked.fields, "content_hash"])
        ids = {each.id for each in passed}
        holds = compile_one(checked)
        accepted = [each for each in MANY if holds(each)]
        narrowed += len(accepted) <= len(ids) < len(MANY)
        assert [each for each in accepted if each.id not in ids] == []
        # And what passes is decided alike on what was stored.
        assert {each.id for each in passed if holds(each)} == {each.id for each in accepted}

    ask()
    assert narrowed > 50  # it does decide something: of 300 conditions of chance, mostly 97 to 130


def test_every_field_of_an_event_comes_back_as_it_was(store: BlockStore, archive: SqlArchive) -> None:
    events = [each._replace(latitude=None, longitude=None) for each in MANY[:50]]
    tell(store, events)
    found = asked(archive, fields=[*FIELDS, "content_hash"])
    assert len(found) == len(events)
    by_id = {each.id: each for each in found}
    assert all(by_id[each.id] == each for each in events)
