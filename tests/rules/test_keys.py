"""What is kept of a key: facts as their rule asks for them, in the order of time and id."""

from __future__ import annotations

from typing import Any

import pytest

from jianguan.domain.fact import Fact, runs_of
from jianguan.errors import InputError
from rules.keys import FIRST_BIT, HISTORICAL, INHIBITS, KeyState, carry, kept, kept_of
from tests.rules.support import NOW, fact

NOBODY: dict[str, Any] = {"enterprise_name": None, "region": None, "industry": None}


def carrying(number: int, text: str | None, **changes: Any) -> Fact:
    return fact(number, NOW + number, carried=text, **changes)


@pytest.mark.parametrize("changes", [{}, NOBODY, {"enterprise_name": None}, {"region": None}, {"industry": None}])
def test_facts_that_are_kept_at_once_are_those_kept_one_by_one(changes: dict[str, Any]) -> None:
    facts = [carrying(number, carry(number, [number, "x"]), **changes) for number in (0, 1, FIRST_BIT)]
    found = [each for run in runs_of(facts) for each in kept_of(run, 2)]
    assert found == [kept(each, 2) for each in facts]
    assert [each.values for each in found] == [(0, "x"), (1, "x"), (FIRST_BIT, "x")]
    assert [each.historical for each in found] == [False, bool(1 & HISTORICAL), False]


@pytest.mark.parametrize(
    "text",
    [
        None, "", "[]", "{}", "[0", "[0]", "[0,1,2]", '["0",1]', "[null,1]",
        carry(INHIBITS, []), carry(INHIBITS, [1, 2]),
    ],
)  # fmt: skip
def test_a_fact_that_carries_something_else_than_its_rule_asks_for_is_refused_by_name(text: str | None) -> None:
    bad = carrying(1, text)
    with pytest.raises(InputError, match=f"{bad.id} does not carry"):
        kept(bad, 1)
    (run,) = runs_of([bad])
    with pytest.raises(InputError, match=f"{bad.id} does not carry"):
        kept_of(run, 1)


@pytest.mark.parametrize("width", [0, 1, 3])
def test_an_alert_that_silences_a_rule_carries_one_value_whatever_the_rule_asks_for(width: int) -> None:
    assert kept(carrying(1, carry(INHIBITS, [NOW])), width).values == (NOW,)


def test_facts_lie_by_time_and_of_one_time_by_id() -> None:
    state = KeyState("k")
    facts = [carrying(number, carry(0, []))._replace(time=NOW + number // 2, id=f"ft-{number}") for number in range(6)]
    for each in facts[::-1]:
        index, there = state.place(each)
        assert (index, there) == (0, False)
        state.facts.insert(index, kept(each, 0))
    assert [state.place(each) for each in facts] == [(number, True) for number in range(6)]
    assert state.place(facts[2]._replace(id="ft-2x")) == (3, False)
    assert state.place(facts[5]._replace(id="ft-6")) == (6, False)
    assert state.place(facts[0]._replace(time=NOW - 1)) == (0, False)
    assert [state.at(NOW + time) for time in range(-1, 4)] == [0, 0, 2, 4, 6]
    assert [state.after(NOW + time) for time in range(-1, 4)] == [0, 2, 4, 6, 6]
