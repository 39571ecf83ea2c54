"""The quick decoder and the contract are one: what it accepts, the contract accepts, with the same values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from jianguan.domain.admission import decode
from jianguan.domain.contract import KIND_OF_TOPIC, MODELS
from streams.quick_decode import QuickDecoder

QUICK = QuickDecoder()

TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "a", "a b", " a", "a ", "食品", "\u3000a", "a\n", "a\u200b", "\x00", "\x7f", "\x1f", "a" * 201]
    ),
    st.text(max_size=12),
)
SLUGS = st.sampled_from(["food-safety", "service", "Food", "food_safety", "", "a-", "a\n", "x" * 65, "uscc"])
CODES = st.sampled_from(["310115", "cn:310115", "F5212", "us-chi:ward-1", "cn:", "a b", "cn:31\n", "Ü"])
TIMES = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(
        [
            "2026-03-02T09:30:00+08:00",
            "2026-03-02T09:30:00.123456789+08:00",
            "2026-03-02T09:30:00",
            "2026-03-02 09:30:00Z",
            "2026-03-02",
            "20260302T093000Z",
            "2026-03-02T24:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-03-02T09:30:60Z",
            "2026-03-02T09:30:00-00:00",
            "2026-03-02t09:30:00z",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00+14:00",
            " 2026-03-02T09:30:00Z",
            "1772415000",
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-5, 10**16), st.floats(allow_nan=False, allow_infinity=False), st.just(5.0), st.just(True)
)
ANYTHING = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.lists(SLUGS, max_size=3), st.just({}))
NESTED = {
    "enterprise": st.fixed_dictionaries({"id": TEXTS}, optional={"scheme": SLUGS, "name": TEXTS, "extra": TEXTS}),
    "position": st.fixed_dictionaries({"latitude": NUMBERS, "longitude": NUMBERS}),
    "reporter": st.fixed_dictionaries({}, optional={"name": TEXTS, "phone": TEXTS, "id_card": TEXTS, "address": TEXTS}),
}


def field(name: str) -> st.SearchStrategy[Any]:
    """Values for a field: mostly of its kind."""
    if name in NESTED:
        return st.one_of(NESTED[name], ANYTHING)
    if name == "occurred_at":
        return st.one_of(TIMES, ANYTHING)
    if name in ("category", "channel", "right", "status", "kind", "nature", "result", "outcome"):
        kinds = ["complaint", "violation", "consumer-rights", "report", "pass", "fail", "none", "pending", "mediated"]
        return st.one_of(SLUGS, st.sampled_from(kinds), ANYTHING)
    if name in ("region", "industry"):
        return st.one_of(CODES, ANYTHING)
    if name == "tags":
        return st.one_of(st.lists(SLUGS, max_size=34), ANYTHING)
    return st.one_of(TEXTS, NUMBERS, ANYTHING)


def plainly_valid(kind: str) -> dict[str, Any]:
    """An event that both accept, to be changed in a field or two."""
    event: dict[str, Any] = {
        "id": "1",
        "source": "12315",
        "occurred_at": "2026-03-02T09:30:00+08:00",
        "category": "food-safety",
        "kind": kind,
    }
    return event | ({"result": "fail"} if kind == "violation" else {})


def same(quick: Any, model: Any) -> bool:
    if isinstance(model, BaseModel):
        return all(same(getattr(quick, name), getattr(model, name)) for name in type(model).model_fields)
    return type(quick) is type(model) and bool(quick == model)


@pytest.mark.parametrize("topic", sorted(KIND_OF_TOPIC))
@given(data=st.data())
@settings(max_examples=600, deadline=None)
def test_what_the_quick_decoder_accepts_the_contract_accepts_with_the_same_values(
    topic: str, data: st.DataObject
) -> None:
    kind = KIND_OF_TOPIC[topic]
    event = plainly_valid(kind)
    names = st.sampled_from([*MODELS[kind].model_fields, "extra", "specversion"])
    for name in data.draw(st.lists(names, max_size=4, unique=True), label="changed"):
        event[name] = data.draw(field(name), label=name)
    for name in data.draw(st.lists(st.sampled_from(sorted(event)), max_size=1), label="left out"):
        del event[name]
    text = json.dumps(event, ensure_ascii=data.draw(st.booleans(), label="escaped"))
    value = text.encode("utf-8", "surrogatepass")
    quick = QUICK.decode(value, topic)
    if quick is not None:
        assert same(quick, decode(value, topic))


@pytest.mark.parametrize("text", ["a\x7f", "a\x00", "a\x1f", " a", "a\u3000", "a\ud800"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_text_that_the_contract_refuses_or_changes_is_left_to_it(text: str, escaped: bool) -> None:
    for name in ("product", "text"):
        event = plainly_valid("complaint") | {name: text}
        value = json.dumps(event, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
        assert QUICK.decode(value, "complaints") is None


@pytest.mark.parametrize("fraction", [".5", ".123456", ".1234567", ".9999999", ".123456789", ".0000005"])
def test_a_time_finer_than_a_microsecond_is_the_same_by_both_ways(fraction: str) -> None:
    event = plainly_valid("complaint") | {"occurred_at": f"2026-03-02T09:30:59{fraction}+08:00"}
    value = json.dumps(event).encode()
    quick = QUICK.decode(value, "complaints")
    assert (quick is None) == (len(fraction) > len(".123456"))
    assert quick is None or same(quick, decode(value, "complaints"))


def escaped(text: str, places: frozenset[int]) -> str:
    """JSON of `text` with the characters at `places` written as escapes."""
    return '"' + "".join(f"\\u{ord(each):04x}" if at in places else each for at, each in enumerate(text)) + '"'


@given(
    st.from_regex(r"\A2026-03-02[T t_]09:30:59(\.[0-9]{1,9})?(Z|z|[+-](08:00|14:00|23:59|0800|24:00))\Z"),
    st.frozensets(st.integers(0, 35), max_size=3),
)
@settings(max_examples=500, deadline=None)
def test_a_time_is_the_same_by_both_ways_also_when_it_is_written_with_escapes(
    time: str, places: frozenset[int]
) -> None:
    event = plainly_valid("complaint") | {"occurred_at": "TIME"}
    value = json.dumps(event).replace('"TIME"', escaped(time, places)).encode()
    quick = QUICK.decode(value, "complaints")
    assert quick is None or same(quick, decode(value, "complaints"))


@pytest.mark.parametrize("place", range(len("2026-03-02T09:30:59.1234567")))
def test_a_time_finer_than_a_microsecond_is_left_to_the_contract_whatever_of_it_is_escaped(place: int) -> None:
    event = plainly_valid("complaint") | {"occurred_at": "TIME"}
    time = escaped("2026-03-02T09:30:59.1234567Z", frozenset([place]))
    assert QUICK.decode(json.dumps(event).replace('"TIME"', time).encode(), "complaints") is None


@pytest.mark.parametrize("topic", sorted(KIND_OF_TOPIC))
def test_plainly_valid_events_take_the_quick_way(topic: str) -> None:
    event = plainly_valid(KIND_OF_TOPIC[topic])
    event |= {
        "enterprise": {"id": "91310115MA1K3BXY0D", "name": "某某餐饮有限公司"},
        "region": "310115",
        "tags": ["a", "b"],
        "text": "买到过期牛奶，“要求退款”\n第二行",
        "position": {"latitude": 31, "longitude": 121.5},
        "amount_fen": 12_345,
    }
    assert QUICK.decode(json.dumps(event, ensure_ascii=False).encode(), topic) is not None
    assert QUICK.decode(json.dumps(event).encode(), topic) is not None


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"1", b"null", b"\xff", b'{"id": "\\ud800"}', b"[" * 10_000, b'{"id":1}']
)
def test_rubbish_is_left_to_the_contract(value: bytes) -> None:
    assert QUICK.decode(value, "complaints") is None


def test_a_topic_without_a_kind_is_left_to_the_contract() -> None:
    assert QUICK.decode(json.dumps(plainly_valid("complaint")).encode(), "other") is None
