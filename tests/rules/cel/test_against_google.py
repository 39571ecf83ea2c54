"""The compiled conditions against Google's own evaluator, over generated expressions and events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.cel import Environment, compile_many, compile_one
from rules.cel.reference import reference

FIELDS = {
    "kind": "string",
    "category": "string",
    "region": "string",
    "industry": "string",
    "text": "string",
    "amount": "int",
    "severity": "int",
    "weight": "double",
    "latitude": "double",
    "historical": "bool",
    "tags": "list(string)",
    "extra": "map(string, int)",
    "at": "timestamp",
    "until": "timestamp",
}


def _within(code: str, ancestor: str) -> bool:
    if code == "nowhere":
        raise KeyError(code)
    return code.startswith(ancestor)


ENVIRONMENT = Environment(
    FIELDS,
    region_within=_within,
    industry_within=_within,
    working_days_between=lambda first, second: (second - first).days,
)

WORDS = ["假药", "药", "fake", "fak", "ake", "", "假药店"]
strings = st.sampled_from(["a", "b", "cn:31", "cn:3101", "nowhere", "假药店 fake", "fa", ""])
ints = st.one_of(st.integers(-3, 5), st.sampled_from([2**63 - 1, -(2**63), 2**62]))
doubles = st.sampled_from([0.0, -0.0, 1.5, -2.25, 31.2, 1e300])
moments = st.integers(50 * 365 * 86_400 * 10**6, 60 * 365 * 86_400 * 10**6).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


events = st.fixed_dictionaries(
    {
        "kind": _maybe(strings),
        "category": _maybe(strings),
        "region": _maybe(strings),
        "industry": _maybe(strings),
        "text": _maybe(strings),
        "amount": _maybe(ints),
        "severity": _maybe(ints),
        "weight": _maybe(st.one_of(doubles, st.sampled_from([float("nan"), float("inf")]))),
        "latitude": _maybe(doubles),
        "historical": _maybe(st.booleans()),
        "tags": _maybe(st.lists(strings, max_size=3)),
        "extra": _maybe(st.dictionaries(st.sampled_from(["a", "b"]), ints, max_size=2)),
        "at": _maybe(moments),
        "until": _maybe(moments),
    }
)

names = st.sampled_from(["kind", "category", "region", "industry", "text"])
string_terms = st.one_of(
    names,
    strings.map(_quoted),
    st.tuples(names, strings.map(_quoted)).map(lambda pair: f"({pair[0]} + {pair[1]})"),
)


@st.composite
def int_terms(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(st.one_of(st.sampled_from(["amount", "severity", "extra.a", "extra['b']"]), ints.map(str)))
    inner = int_terms(depth - 1)
    shape = draw(
        st.sampled_from(
            [
                "({0} + {1})",
                "({0} - {1})",
                "({0} * {1})",
                "({0} / {1})",
                "({0} % {1})",
                "-({0})",
                "size(text)",
                "size(tags)",
                "int(weight)",
                "at.getHours()",
                'until.getDayOfWeek("+08:00")',
                "working_days_between(at, until)",
                "(historical ? {0} : {1})",
            ]
        )
    )
    return shape.format(draw(inner), draw(inner))


double_terms = st.one_of(
    st.sampled_from(["weight", "latitude", "double(amount)", "(weight * latitude)", "(weight / latitude)"]),
    doubles.map(repr),
)
signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
lists = st.lists(strings.map(_quoted), min_size=1, max_size=4).map(lambda each: f"[{', '.join(each)}]")


def _compared(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(terms, signs, terms).map(" ".join)


atoms = st.one_of(
    _compared(string_terms),
    _compared(int_terms()),
    _compared(double_terms),
    _compared(st.sampled_from(["at", "until", 'timestamp("2025-01-01T00:00:00Z")', 'at + duration("24h")'])),
    st.sampled_from(["historical", "true", "false", "historical == true", "false != historical"]),
    st.tuples(string_terms, lists).map(" in ".join),
    st.tuples(st.sampled_from(["amount", "severity"]), st.lists(st.integers(-3, 5), max_size=3)).map(
        lambda pair: f"{pair[0]} in {pair[1]}"
    ),
    st.tuples(string_terms, st.just("tags")).map(" in ".join),
    st.sampled_from(sorted(FIELDS)).map(lambda name: f"present({name})"),
    st.tuples(names, st.sampled_from(["startsWith", "endsWith", "contains", "matches"]), strings.map(_quoted)).map(
        lambda each: f"{each[0]}.{each[1]}({each[2]})"
    ),
    st.lists(st.sampled_from(WORDS).map(_quoted), min_size=1).map(
        lambda each: f"contains_any(text, [{', '.join(each)}])"
    ),
    st.tuples(names, strings).map(lambda each: f'region_within({each[0]}, "{each[1]}")'),
    st.tuples(names, strings).map(lambda each: f'industry_within({each[0]}, "{each[1]}")'),
    st.tuples(signs, doubles).map(lambda each: f"distance_m(latitude, weight, 31.2, 121.4) {each[0]} {each[1]!r}"),
    st.tuples(st.sampled_from(["all", "exists", "exists_one"]), strings).map(
        lambda each: f'tags.{each[0]}(tag, tag == "{each[1]}" || amount / (size(tag) - 1) > 0)'
    ),
    st.sampled_from(
        [
            'tags.filter(tag, tag != "a").size() > 0',
            'tags.map(tag, tag + "x") == ["ax"]',
            "has(extra.a)",
            'extra.exists(key, key == "a" && extra[key] > 0)',
            "until - at > duration('1000h')",
            "type(amount) == int",
            "string(amount) == '3'",
        ]
    ),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} && {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        inner.map(lambda each: f"!({each})"),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} ? {three[1]} : {three[2]})"),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(text=conditions, some=st.lists(events, min_size=1, max_size=6))
def test_a_compiled_condition_is_true_exactly_when_googles_evaluator_says_so(
    text: str, some: list[dict[str, Any]]
) -> None:
    compiled = compile_one(ENVIRONMENT.check(text))
    expected = reference(ENVIRONMENT, text)
    for event in some:
        assert compiled(SimpleNamespace(**event)) is (expected(event) is True)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(conditions, min_size=1, max_size=30), some=st.lists(events, min_size=1, max_size=6))
def test_many_conditions_together_give_what_each_gives_alone(texts: list[str], some: list[dict[str, Any]]) -> None:
    checked = [(text, ENVIRONMENT.check(text)) for text in texts]
    together = compile_many(checked)
    alone = [compile_one(each) for _, each in checked]
    for fields in some:
        event = SimpleNamespace(**fields)
        assert together(event) == [place for place, condition in enumerate(alone) if condition(event)]


@settings(max_examples=100, deadline=None)
@given(amounts=st.lists(ints, min_size=1, max_size=20), at=moments)
def test_times_in_milliseconds_mean_what_datetimes_mean(amounts: list[int], at: datetime) -> None:
    whole = at.replace(microsecond=at.microsecond // 1000 * 1000)
    milliseconds = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    texts = ["at.getMonth() > 5", 'at < timestamp("2025-06-01T00:00:00Z")', 'at.getHours("Asia/Shanghai") >= 12']
    matcher = compile_many([(text, ENVIRONMENT.check(text)) for text in texts])
    empty = dict.fromkeys(FIELDS)
    given_moment = matcher(SimpleNamespace(**empty | {"at": whole}))
    assert matcher(SimpleNamespace(**empty | {"at": milliseconds})) == given_moment
