"""What is called impossible never holds; what is impossible in the common ways is called so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.event import Event
from rules.cel.contradictions import dead_alternatives, impossible
from rules.cel.matching import compile_one
from rules.cel.writing import text_of
from tests.rules.random_conditions import conditions, events
from tests.rules.support import reference

ENVIRONMENT = reference().environment()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('category == "a" && category == "b"', '`category == "a"` and `category == "b"` exclude each other'),
        ("severity > 3 && severity < 4", "`severity > 3` and `severity < 4` exclude each other"),
        ("latitude >= 3.0 && latitude < 3.0", "`latitude >= 3.0` and `latitude < 3.0` exclude each other"),
        ("historical && 1 == 2", "`1 == 2` never holds"),
        ('!present(text) && text.contains("x")', '`!present(text)` and `text.contains("x")` exclude each other'),
        ("historical && !historical", "`historical` and `!historical` exclude each other"),
        ('"a" in tags && !("a" in tags)', '`"a" in tags` and `!("a" in tags)` exclude each other'),
        (
            'category in ["a", "b"] && category.startsWith("c")',
            '`category in ["a", "b"]` and `category.startsWith("c")` exclude each other',
        ),
        (
            'region_within(region, "cn:31") && region_within(region, "cn:11")',
            '`region_within(region, "cn:31")` and `region_within(region, "cn:11")` exclude each other',
        ),
        ('product == "a" ? product == "b" : product == "a"', None),
    ],
)
def test_a_contradiction_is_seen_and_named(text: str, why: str | None) -> None:
    found = impossible(ENVIRONMENT.check(text))
    assert found is not None
    assert why is None or str(found) == why


@pytest.mark.parametrize(
    "text",
    [
        "severity > 3 && severity < 5",
        "latitude > 3.0 && latitude < 3.1",
        'region_within(region, "cn:31") && region_within(region, "cn:310115")',
        'category == "a" || category == "b"',
        "!(latitude < 3.0) && !(latitude >= 3.0)",  # what is no number is neither
        " && ".join(f"(severity == {n} || amount_fen > {n})" for n in range(10)),
    ],
)
def test_what_may_hold_is_not_called_impossible(text: str) -> None:
    assert impossible(ENVIRONMENT.check(text)) is None


def test_an_alternative_that_cannot_hold_is_named_alone() -> None:
    checked = ENVIRONMENT.check('category == "a" && (severity > 3 || category == "b" || historical)')
    assert [text for text, _ in dead_alternatives(checked)] == ['category == "b"']
    assert list(dead_alternatives(ENVIRONMENT.check("1 == 2 || 2 == 3"))) == []  # all of it is, and said to be


@given(conditions, st.lists(events, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_no_event_meets_an_impossible_condition(text: str, some: list[Event]) -> None:
    checked = ENVIRONMENT.check(text)
    if impossible(checked) is not None:
        assert not any(map(compile_one(checked), some))


@given(conditions)
@settings(max_examples=300, deadline=None)
def test_a_condition_that_is_written_again_is_the_same_condition(text: str) -> None:
    once = text_of(ENVIRONMENT.check(text).tree.root)
    assert text_of(ENVIRONMENT.check(once).tree.root) == once


@given(conditions, st.lists(events, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_condition_that_is_written_again_means_the_same(text: str, some: list[Event]) -> None:
    checked = ENVIRONMENT.check(text)
    again = ENVIRONMENT.check(text_of(checked.tree.root))
    assert list(map(compile_one(checked), some)) == list(map(compile_one(again), some))
