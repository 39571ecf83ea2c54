"""The generated function: what is true of an event, what is missing, what it costs, what it never does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from rules.cel import Environment, compile_many, compile_one

FIELDS = {
    "kind": "string",
    "category": "string",
    "region": "string",
    "text": "string",
    "amount": "int",
    "severity": "int",
    "latitude": "double",
    "longitude": "double",
    "occurred_at": "timestamp",
    "received_at": "timestamp",
    "historical": "bool",
    "tags": "list(string)",
    "extra": "map(string, dyn)",
}


class Counted:
    """A function that counts its calls."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.calls = 0
        self._answer = answer

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self._answer(*arguments)


def _environment(**functions: Any) -> Environment:
    return Environment(FIELDS, **{"region_within": str.startswith} | functions)


def _event(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(**dict.fromkeys(FIELDS) | fields)


def _true(text: str, **fields: Any) -> bool:
    return compile_one(_environment().check(text))(_event(**fields))


def _matching(texts: list[str], event: Any, **functions: Any) -> list[str]:
    environment = _environment(**functions)
    matcher = compile_many([(text, environment.check(text)) for text in texts])
    return [texts[place] for place in matcher(event)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amount > 5", False),
        ("!(amount > 5)", False),
        ("amount != 5", False),
        ("amount > 5 || true", True),
        ("!(amount > 5 && false)", True),
        ("amount > 5 ? true : true", False),
        ("true ? true : amount > 5", True),
        ("present(amount)", False),
        ("!present(amount)", True),
        ("present(amount) ? amount > 5 : true", True),
        ("!(kind in ['a'])", False),
        ("!kind.startsWith('a')", False),
        ("!contains_any(text, ['a'])", False),
        ("!region_within(region, 'cn:31')", False),
        ("!historical", False),
        ("amount == severity", False),
        ("size(tags) == 0", False),
        ("present(extra.shops)", False),
        ("kind == region", False),
    ],
)
def test_what_needs_a_missing_field_is_neither_true_nor_false(text: str, expected: bool) -> None:
    assert _true(text) is expected


def test_a_field_inside_a_map_is_present_when_it_is_there_and_not_null() -> None:
    assert _true("present(extra.shops)", extra={"shops": 3})
    assert not _true("present(extra.shops)", extra={"shops": None})
    assert not _true("present(extra.shops)", extra={})
    assert _true("extra.shops > 2 && extra.owner.name == 'Li'", extra={"shops": 3, "owner": {"name": "Li"}})


def test_a_mapping_is_an_event_too() -> None:
    condition = compile_one(_environment().check("amount > 5 && !present(kind)"))
    assert condition({"amount": 6})
    assert not condition({"amount": 6, "kind": "a"})


def test_true_conditions_come_in_their_order() -> None:
    texts = [
        "amount > 1",
        "kind == 'a'",
        "true",
        "kind == 'b'",
        "kind in ['a', 'c']",
        "kind == 'a' && amount > 9",
        "false",
    ]
    assert _matching(texts, _event(kind="a", amount=2)) == ["amount > 1", "kind == 'a'", "true", "kind in ['a', 'c']"]


def test_no_conditions_are_true_of_nothing() -> None:
    assert compile_many([])(_event()) == []


def test_conditions_for_other_categories_cost_nothing() -> None:
    asked = Counted(lambda code, ancestor: True)
    texts = [f'category == "c{each}" && region_within(region, "r{each}")' for each in range(500)]
    assert _matching(texts, _event(category="c7", region="x"), region_within=asked) == [texts[7]]
    assert asked.calls == 1


def test_overlapping_words_are_all_found() -> None:
    words = ["假药", "药店", "假药店", "店里", "药", "假", "a", "ab", "abc", "bcd", "卖", "卖假"]
    texts = [f'contains_any(text, ["{word}"])' for word in words]
    found = _matching(texts, _event(text="在店里有假药店 abcd"))
    assert found == [text for text, word in zip(texts, words, strict=True) if word in "在店里有假药店 abcd"]


def test_conditions_with_several_of_the_words_found_are_true_once() -> None:
    texts = [f'contains_any(text, ["word{each}", "shared", "both"])' for each in range(20)]
    assert _matching(texts, _event(text="shared and both and word3")) == texts


def test_a_shared_value_is_computed_once_an_event() -> None:
    days = Counted(lambda first, second: 3)
    texts = [f"working_days_between(occurred_at, received_at) > {each}" for each in range(6)]
    texts += [f'kind == "k{each}" || working_days_between(occurred_at, received_at) > 2' for each in range(3)]
    environment = _environment(working_days_between=days)
    matcher = compile_many([(text, environment.check(text)) for text in texts])
    event = _event(occurred_at=0, received_at=1, kind="a")
    assert matcher(event) == [0, 1, 2, 6, 7, 8]
    assert days.calls == 1
    event.received_at = 2
    matcher(event)
    assert days.calls == 2


def test_working_days_are_asked_for_with_utc_datetimes() -> None:
    asked: list[datetime] = []

    def none(*moments: datetime) -> int:
        asked.extend(moments)
        return 0

    environment = _environment(working_days_between=none)
    compile_one(environment.check("working_days_between(occurred_at, received_at) == 0"))(
        _event(occurred_at=1_700_000_000_123, received_at=datetime(2024, 1, 1, tzinfo=UTC))
    )
    assert asked == [datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]


def test_a_code_that_the_data_lacks_makes_a_condition_neither_true_nor_false() -> None:
    def within(code: str, ancestor: str) -> bool:
        raise KeyError(code)

    texts = ["region_within(region, 'cn:31')", "!region_within(region, 'cn:31')", "true"]
    assert _matching(texts, _event(region="?"), region_within=within) == ["true"]


@pytest.mark.parametrize(
    ("place", "metres"),
    [((31.2304, 121.4737), 0.0), ((39.9042, 116.4074), 1_067_000.0), ((-31.2304, -58.5263), 20_015_000.0)],
)
def test_distance_is_that_over_the_earths_surface(place: tuple[float, float], metres: float) -> None:
    text = "distance_m(latitude, longitude, 31.2304, 121.4737)"
    fields = {"latitude": place[0], "longitude": place[1]}
    assert _true(f"{text} >= {metres - metres / 500!r} && {text} <= {metres + metres / 500 + 0.01!r}", **fields)


def test_an_event_that_breaks_its_types_spoils_only_the_conditions_that_look() -> None:
    texts = ["kind == 'a'", "amount > 5", "kind in ['a', 'b']", "tags.exists(tag, tag == 'x')", "severity == 3"]
    told: list[str] = []
    environment = _environment()
    matcher = compile_many(
        [(text, environment.check(text)) for text in texts], on_error=lambda name, error: told.append(name)
    )
    assert matcher(_event(kind=["a"], amount="much", tags=7, severity=3)) == [4]
    assert "amount > 5" in told


def test_an_event_without_the_fields_raises_nothing() -> None:
    assert _matching(["kind == 'a'", "true"], object()) == ["true"]


def test_a_text_that_looks_like_generated_code_is_only_a_text() -> None:
    texts = [
        'text == "«kind»"',
        'text.contains("⟨w0⟩")',
        'contains_any(text, ["‹g1›", "«kind»"])',
        'text == "\\") or e.kind or (\\""',
    ]
    assert _matching(texts, _event(text="«kind» ⟨w0⟩", kind="x")) == texts[1:3]
    assert _matching(texts, _event(text='") or e.kind or ("', kind="x")) == texts[3:]


def test_deep_and_long_conditions_compile() -> None:
    assert _true(" || ".join(f"amount == {each}" for each in range(400)), amount=399)
    assert _true("(" * 30 + "amount" + " + 1)" * 30 + " > 29", amount=0)
    assert _true("!" * 40 + "historical", historical=True)
    nested = "amount > 0"
    for each in range(12):
        nested = f"(({nested}) && severity == {each % 2} || amount == {each})"
    assert _true(nested, amount=11, severity=5)
    chosen = "historical"
    for each in range(12):
        chosen = f"({chosen} ? amount > {each} : amount < {each})"
    assert _true(chosen, amount=20, historical=True)


def test_expressions_read_their_maps_by_name() -> None:
    bindings: Mapping[str, Any] = {"kind": "a", "extra": {"a.b": 1}}
    assert compile_one(_environment().check('extra["a.b"] == 1'))(bindings)
