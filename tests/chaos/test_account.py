"""The comparison is one that can fail: whatever is lost, too much or different is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.account import SHOWN, Wanted, differences, either

names = st.sampled_from(["alerts", "cases", "outcomes"])
texts = st.frozensets(st.text("abc", min_size=1, max_size=4), max_size=8)
sets = st.dictionaries(names, texts)


@given(sets)
def test_what_is_as_it_should_be_gives_no_difference(some: dict[str, frozenset[str]]) -> None:
    assert differences(Wanted(some), some) == {}


@given(sets, names, st.text("xyz", min_size=1))
def test_a_lost_id_is_told(some: dict[str, frozenset[str]], name: str, lost: str) -> None:
    should = {**some, name: some.get(name, frozenset()) | {lost}}
    (found,) = differences(Wanted(should), {**some, name: should[name] - {lost}}).items()
    assert found[0] == name
    assert (found[1].lost, found[1].extra, found[1].examples_lost) == (1, 0, (lost,))


@given(sets, names, st.text("xyz", min_size=1))
def test_an_id_too_many_is_told(some: dict[str, frozenset[str]], name: str, extra: str) -> None:
    there = {**some, name: some.get(name, frozenset()) | {extra}}
    (found,) = differences(Wanted(some), there).items()
    assert found[0] == name
    assert (found[1].lost, found[1].extra, found[1].examples_extra) == (0, 1, (extra,))


def test_a_record_with_another_outcome_is_one_lost_and_one_too_many() -> None:
    found = differences(
        Wanted({"outcomes": frozenset({"r-1 accepted", "r-2 duplicate"})}),
        {"outcomes": frozenset({"r-1 accepted", "r-2 accepted"})},
    )["outcomes"]
    assert (found.examples_lost, found.examples_extra) == (("r-2 duplicate",), ("r-2 accepted",))


def test_a_table_that_is_not_there_at_all_is_lost_whole() -> None:
    assert differences(Wanted({"alerts": frozenset({"a", "b"})}), {})["alerts"].lost == 2


def test_a_table_that_nobody_expected_must_be_empty() -> None:
    assert differences(Wanted({}), {"badly-signed": frozenset()}) == {}
    assert differences(Wanted({}), {"badly-signed": frozenset({"dl-1"})})["badly-signed"].extra == 1


def test_many_differences_are_counted_and_some_are_shown() -> None:
    found = differences(Wanted({"alerts": frozenset(map(str, range(100)))}), {})["alerts"]
    assert found.lost == 100
    assert len(found.examples_lost) == SHOWN


def test_of_two_readings_either_is_right_and_nothing_else() -> None:
    should = either([{"alerts": frozenset("ab")}, {"alerts": frozenset("bc")}])
    assert differences(should, {"alerts": frozenset("ab")}) == {}
    assert differences(should, {"alerts": frozenset("bc")}) == {}
    assert differences(should, {"alerts": frozenset("ac")})["alerts"].examples_lost == ("b",)
    assert differences(should, {"alerts": frozenset("bd")})["alerts"].examples_extra == ("d",)
