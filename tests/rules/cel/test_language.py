"""The whole language against Google's evaluator: any operator and function on any values."""

from __future__ import annotations

from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.errors import JianguanError, SourceError
from rules.cel import Environment, EvaluationError, Uint, compile_value, evaluate
from rules.cel.binding import to_runtime
from rules.cel.values import KeyedMap, Value, kind_of

LITERALS = [
    "0", "1", "-1", "2", "9223372036854775807", "-9223372036854775808", "0u", "3u", "18446744073709551615u", "0.0",
    "1.0", "-1.5", "2.5", "1e300", "-0.0", "9007199254740993", "9007199254740992.0", '""', '"a"', '"abc"', '"中文"',
    '"1"', '"true"', 'b""', 'b"a"', r'b"\xff"', "true", "false", "null", "[]", "[1, 2]", '["a", 1.0]', "[[1], [2]]",
    "{}", '{"a": 1}', '{1: "a"}', "{true: 1}", 'timestamp("2020-02-29T12:34:56.789Z")', "timestamp(0)",
    'duration("1h30m")', 'duration("-1.5s")', '"2020-01-01T00:00:00Z"', '"1h"', '"+08:00"', "x",
]  # fmt: skip
UNARY = [
    "!{0}", "-{0}", "size({0})", "int({0})", "uint({0})", "double({0})", "string({0})", "bytes({0})", "bool({0})",
    "timestamp({0})", "duration({0})", "{0}.size()", "{0}.getFullYear()", "{0}.getMonth()", "{0}.getDayOfYear()",
    "{0}.getDate()", "{0}.getDayOfMonth()", "{0}.getHours()", "{0}.getMinutes()", "{0}.getSeconds()",
    "{0}.getMilliseconds()", "{0}.a", "has({0}.a)", "{0}.all(y, y)", "{0}.exists(y, 1 / y > 0)",
    "{0}.exists_one(y, y)", "{0}.map(y, string(y))", "{0}.filter(y, y)", "{0}.map(y, y == 1, [y])", "[{0}]",
]  # fmt: skip
BINARY = [
    "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / {1}", "{0} % {1}", "{0} == {1}", "{0} != {1}", "{0} < {1}",
    "{0} <= {1}", "{0} > {1}", "{0} >= {1}", "{0} && {1}", "{0} || {1}", "{0} in {1}", "{0}[{1}]",
    "{0}.contains({1})", "{0}.startsWith({1})", "{0}.matches({1})", "[{0}, {1}]", "{0}.getHours({1})",
    "{0} ? {1} : 0", "true ? {0} : {1}",
]  # fmt: skip

literals = st.sampled_from(LITERALS)
expressions = st.recursive(
    st.one_of(literals, literals.map("dyn({})".format)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(UNARY), inner).map(lambda pair: f"dyn({pair[0].format(f'({pair[1]})')})"),
        st.tuples(st.sampled_from(BINARY), inner, inner).map(
            lambda three: f"dyn({three[0].format(f'({three[1]})', f'({three[2]})')})"
        ),
    ),
    max_leaves=4,
)
OURS = Environment({"x": "int"})
GOOGLES = cel.NewEnv(variables={"x": cel.Type.INT})
ERROR = object()


def _ours(text: str, fields: dict[str, Any]) -> Value:
    try:
        checked = OURS.check(text, result="dyn")
    except SourceError:
        checked = OURS.parse(text)
    try:
        return compile_value(checked)(fields)
    except EvaluationError:
        return ERROR


def _runtime(value: Any) -> Value:
    if value.type() == cel.Type.ERROR:
        return ERROR
    plain = value.value()
    if value.type() == cel.Type.UINT:
        return Uint(plain)
    if isinstance(plain, list):
        return [_runtime(each) for each in plain]
    if isinstance(plain, dict):
        return KeyedMap([(key, _runtime(each)) for key, each in plain.items()])
    return to_runtime(plain)


def _googles(text: str, fields: dict[str, Any]) -> Value:
    try:
        compiled = GOOGLES.compile(text)
    except RuntimeError:
        compiled = GOOGLES.compile(text, disable_check=True)
    return _runtime(compiled.eval(data=fields))


def _same(left: Value, right: Value) -> bool:
    if left is ERROR or right is ERROR:
        return left is right
    if kind_of(left) != kind_of(right):
        return False
    if kind_of(left) == "list":
        return len(left) == len(right) and all(map(_same, left, right))
    if kind_of(left) == "map":
        return len(left) == len(right) and all(key in right and _same(left[key], right[key]) for key in left)
    return bool(left == right or (left != left and right != right))


@settings(max_examples=800, deadline=None)
@given(text=expressions, fields=st.sampled_from([{}, {"x": 3}]))
def test_any_expression_has_googles_value_or_no_value_as_googles_has_none(text: str, fields: dict[str, Any]) -> None:
    assert _same(_ours(text, fields), _googles(text, fields))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"tacocat".indexOf("a", 3)', 5),
        ('"a,b,c".split(",", 2)', ["a", "b,c"]),
        ('["x", "y"].join("-")', "x-y"),
        ('" TEXT ".trim().lowerAscii()', "text"),
        ('"%s is %d, %.2f, %x".format(["a", 3, 1.5, 255])', "a is 3, 1.50, ff"),
        ("math.greatest(1, 2.5, 2u)", 2.5),
        ("math.round(-2.5)", -3.0),
        ("math.bitShiftRight(-1024, 3)", 2305843009213693824),
        ("cel.bind(x, [1, 2], x.map(y, y + x[1]))", [3, 4]),
        ("{'a': 1}.?b.orValue(7)", 7),
        ("optional.of(1).optMap(x, x + 1).value()", 2),
        ("[?{'a': 1}.?a, 2]", [1, 2]),
        ("{?'a': optional.none(), 'b': 1}", {"b": 1}),
        ("base64.encode(b'hello')", "aGVsbG8="),
        ("[1, 2].transformList(place, each, place + each)", [1, 3]),
        ("{'a': 1, 'b': 2}.transformMap(key, each, each > 1, each * 2)", {"b": 4}),
        ("{'a': 'b'}.transformMapEntry(key, each, {each: key})", {"b": "a"}),
        ("[3, 4].exists(place, each, place == 1 && each == 4)", True),
        ("[1, 2].existsOne(each, each > 1)", True),
        ("google.protobuf.Int32Value{value: 3} + 1", 4),
        ("google.protobuf.StringValue{}", ""),
        ("google.protobuf.Duration{seconds: 60} == duration('1m')", True),
        ("google.protobuf.Struct{fields: {'a': google.protobuf.Value{number_value: 1.5}}}.a", 1.5),
    ],
)
def test_the_extension_libraries_are_there_for_expressions_that_are_not_rules(text: str, value: Value) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    ["math.abs(-9223372036854775808)", "'a'.charAt(3)", "optional.none().value()", "'%d'.format([])", "nothing",
     "google.protobuf.Int32Value{value: 3000000000}", "some.Message{}", "cel.bind(x, 1 / 0, x)"],
)  # fmt: skip
def test_what_has_no_value_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        evaluate(text)


def test_what_does_not_parse_says_so() -> None:
    with pytest.raises(JianguanError):
        evaluate("1 +")


def test_rules_do_without_the_extension_libraries() -> None:
    with pytest.raises(SourceError, match="no function"):
        OURS.check('"A".lowerAscii() == "a"')
