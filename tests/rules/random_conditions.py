"""Random conditions over the fields of an event, and random events that meet some of them. Both are drawn from the same
few values, so that tests hold about as often as not."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

from jianguan.domain.event import Event
from tests.rules.support import DAY, NOW, event

TEXTS = [
    "food-safety",
    "price",
    "退款",
    "退款不成 it's",
    "",
    'quote " and \\ back',
    "line\nbreak\tand %_",
    "A",
    "a",
    "é€😀",
]
REGIONS = ["cn:310115", "cn:310000", "cn:310112", "cn:110101", "us-il-chicago:ward-1", "nowhere"]
ANCESTORS = ["cn:31", "cn:310000", "cn:310115", "cn:11"]
INDUSTRIES = ["cn:P8336", "cn:P83", "cn:H62", "cn:H6210"]
INTS = [-(2**63), -100, -1, 0, 1, 2, 100, 99_999, 100_000, 2**53 + 1, 2**63 - 1]
DOUBLES = [-90.0, -0.0, 0.5, 31.23, 31.230001, 121.47, float("nan"), float("inf")]
TEXT_FIELDS = ["category", "product", "enterprise", "address", "text", "demand", "number", "kind", "reporter", "id"]
INT_FIELDS = ["amount_fen", "severity", "penalty_fen"]
DOUBLE_FIELDS = ["latitude", "longitude"]
TIMES = [NOW - 10 * DAY, NOW - DAY, NOW - 1, NOW, NOW + 1]
_ZONES = ['"Asia/Shanghai"', '"+08:00"', ""]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _among(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


_text = _among(TEXT_FIELDS)
_constant_text = _among(TEXTS).map(_quoted)
_int = _among([str(each) for each in INTS if each > -(2**63)])
_int_term = st.one_of(
    _among(INT_FIELDS), _int, st.tuples(_among(INT_FIELDS), _among(["+", "-", "*", "/", "%"]), _int).map(" ".join)
)
_double = _among(["0.5", "31.23", "-90.0", "121.47", "0.0"])
_ANY_FIELD = [*TEXT_FIELDS, *INT_FIELDS, *DOUBLE_FIELDS, "tags", "historical", "region"]
_sign = _among(["==", "!=", "<", "<=", ">", ">="])


def _listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda found: f"[{', '.join(found)}]")


_words = st.lists(_constant_text, min_size=1, max_size=3).map(lambda found: f"[{', '.join(found)}]")
_moment = _among(["2027-01-14T08:00:00Z", "2027-01-15T07:59:59.999Z", "2027-01-15T08:00:00+08:00"])
TESTS: list[st.SearchStrategy[str]] = [
    st.builds("{} {} {}".format, _text, _sign, st.one_of(_constant_text, _text)),
    st.builds("{} {} {}".format, _int_term, _sign, _int_term),
    st.builds("{} {} {}".format, _among(DOUBLE_FIELDS), _sign, _double),
    st.builds("{} in {}".format, _text, _listed(_constant_text)),
    st.builds("{} in {}".format, _among(INT_FIELDS), _listed(_int)),
    st.builds("{} in tags".format, _constant_text),
    st.builds("present({})".format, _among(_ANY_FIELD)),
    st.builds("{}.{}({})".format, _text, _among(["startsWith", "endsWith", "contains"]), _constant_text),
    st.builds("contains_any({}, {})".format, _text, _words),
    st.builds("{}.matches({})".format, _text, _among(['"^退"', '"[a-z]+-"', '"."', '"款$"'])),
    st.builds("region_within(region, {})".format, _among(ANCESTORS).map(_quoted)),
    st.builds("industry_within(industry, {})".format, _among(["cn:P", "cn:P83", "cn:H"]).map(_quoted)),
    st.builds("size({}) {} {}".format, _among([*TEXT_FIELDS, "tags"]), _sign, _among(["0", "1", "2", "9"])),
    st.builds("{} {} timestamp({})".format, _among(["occurred_at", "received_at"]), _sign, _moment.map(_quoted)),
    st.builds("occurred_at.getHours({}) {} {}".format, _among(_ZONES), _sign, _among(["0", "8", "16"])),
    st.builds("distance_m(latitude, longitude, 31.23, 121.47) < {}".format, _among(["10.0", "100000.0"])),
    st.builds("working_days_between(occurred_at, received_at) {} {}".format, _sign, _among(["0", "1", "5"])),
    st.builds("tags.{}(t, t == {})".format, _among(["exists", "all"]), _constant_text),
    _among(["historical", "true", "false", "1 == 2"]),
]  # fmt: skip


@st.composite
def _condition(draw: st.DrawFn, depth: int) -> str:
    shape = draw(st.integers(0, 6)) if depth else 0
    if shape < 2:
        return draw(_test)
    parts = [f"({draw(_condition(depth - 1))})" for _ in range({4: 1, 5: 3}.get(shape, 2))]
    return {2: "{} && {}", 3: "{} || {}", 4: "!{}", 5: "{} ? {} : {}", 6: "{} == {}"}[shape].format(*parts)


_test = st.one_of(TESTS)
conditions: st.SearchStrategy[str] = _condition(depth=3)


def _maybe(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), _among(values))


_numbers = st.integers(0, 2**40)
events: st.SearchStrategy[Event] = st.builds(
    lambda number, fields: event(number)._replace(**fields),
    _numbers,
    st.fixed_dictionaries(
        {
            "category": _among(TEXTS),
            "kind": _among(["complaint", "violation", "consumer-rights"]),
            "historical": st.booleans(),
            "tags": st.lists(_among(TEXTS), max_size=3).map(tuple),
            "occurred_at": _among(TIMES),
        },
        optional={
            **{name: _maybe(TEXTS) for name in TEXT_FIELDS if name not in ("id", "kind", "category")},
            **{name: _maybe(INTS) for name in INT_FIELDS},
            "latitude": _maybe(DOUBLES),
            "longitude": _maybe(DOUBLES),
            "region": _maybe(REGIONS),
            "industry": _maybe(INDUSTRIES),
        },
    ),
)  # fmt: skip


def many_events(count: int, seed: int) -> list[Event]:
    """So many events with values like those of `events`, the same for a seed: for tests that store them once."""
    chance = Random(seed)
    found = []
    for number in range(count):
        fields: dict[str, Any] = {name: chance.choice([None, *TEXTS]) for name in TEXT_FIELDS if name != "id"}
        fields |= {name: chance.choice([None, *INTS]) for name in INT_FIELDS}
        fields |= {name: chance.choice([None, *DOUBLES]) for name in DOUBLE_FIELDS}
        fields |= {"region": chance.choice([None, *REGIONS]), "industry": chance.choice([None, *INDUSTRIES])}
        fields["category"] = chance.choice(TEXTS)
        fields["kind"] = chance.choice(["complaint", "violation", "consumer-rights"])
        fields["historical"] = chance.random() < 0.5
        fields["tags"] = tuple(chance.sample(TEXTS, chance.randrange(4)))
        fields["occurred_at"] = chance.choice(TIMES)
        found.append(event(number)._replace(**fields))
    return found
