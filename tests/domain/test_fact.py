"""Facts field by field, as a store tells them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.fact import SAID, Fact, FactRun, FactsWanted, runs_of, stored_runs
from jianguan.domain.ids import fact_id, make_id
from jianguan.errors import InputError

EVENTS = [make_id("ev", str(number)) for number in range(5)]
ALERTS = [make_id("al", str(number)) for number in range(5)]
TEXTS = st.sampled_from([None, "a", "b"])


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    event = draw(st.sampled_from(EVENTS + ALERTS))
    return Fact(
        fact_id("a-rule", 3, event), "a-rule", 3, draw(st.sampled_from("xyz")), draw(st.integers(0, 9)), event,
        draw(st.integers(0, 9)), draw(st.none() | st.floats(0, 9)), draw(TEXTS), draw(TEXTS), draw(TEXTS), draw(TEXTS),
        draw(TEXTS), draw(st.sampled_from(["", "food"])), draw(TEXTS),
    )  # fmt: skip


def stored(told: list[Fact], *said: str) -> list[FactRun]:
    """As a store tells them: column by column."""
    columns = {name: [getattr(each, name) for each in told] for name in Fact._fields}
    keys, times, events, received = (columns[name] for name in ("key", "time", "event", "received_at"))
    asked = {name: columns[name] for name in said}
    return stored_runs(told[0].rule, told[0].version, keys, times, events, received, asked)


def rows(runs: list[FactRun]) -> list[Fact]:
    return [fact for run in runs for fact in run.rows()]


@given(st.lists(facts(), min_size=1))
def test_facts_that_are_told_by_column_are_the_same_facts(told: list[Fact]) -> None:
    runs = stored(told, *SAID)
    assert sorted(map(repr, rows(runs))) == sorted(map(repr, told))
    assert sorted(run.kind for run in runs) == sorted({fact.event[:2] for fact in told})
    for run in runs:  # each in the order in which they were told
        assert run.rows() == [fact for fact in told if fact.event.startswith(run.kind)]


@given(st.lists(facts(), min_size=1), st.sets(st.sampled_from(SAID)))
def test_what_was_not_asked_of_them_is_not_there(told: list[Fact], said: set[str]) -> None:
    nothing = {name: "" if name == "category" else None for name in SAID if name not in said}
    expected = [fact._replace(**nothing) for fact in told]  # type: ignore[arg-type]
    assert sorted(map(repr, rows(stored(told, *said)))) == sorted(map(repr, expected))


def test_one_run_is_made_as_from_the_facts_themselves() -> None:
    told = [
        Fact(fact_id("r", 1, event), "r", 1, "x", 1, event, 2, None, "m", None, None, "cn:1", None, "c")
        for event in EVENTS
    ]
    (by_column,), (by_fact,) = stored(told, *SAID), runs_of(told)
    assert by_column.rows() == by_fact.rows()
    assert (by_column.numbers, by_column.carried) == (by_fact.numbers, by_fact.carried) == (None, None)


def test_an_event_that_is_no_id_is_an_error() -> None:
    with pytest.raises(InputError, match="is not an id"):
        stored_runs("r", 1, ["x"], [1], ["ev-1"], [1], {})


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (FactsWanted("a-rule", 3, 0), True),
        (FactsWanted("b-rule", 3, 0), False),
        (FactsWanted("a-rule", 4, 0), False),
        (FactsWanted("a-rule", 3, 0, before=6), True),
        (FactsWanted("a-rule", 3, 0, before=5), False),
        (FactsWanted("a-rule", 3, 0, keys=["x", "y"]), True),
        (FactsWanted("a-rule", 3, 0, keys=["x"]), False),
        (FactsWanted("a-rule", 3, 0, keys=[]), False),
    ],
)
def test_a_fact_is_wanted_by_its_rule_and_version_its_receipt_and_its_key(wanted: FactsWanted, taken: bool) -> None:
    fact = Fact("f", "a-rule", 3, "y", 1, EVENTS[0], 5, None, None, None, None, None, None, "", None)
    assert wanted.may_take(fact) is taken
