"""What of a condition a store decides: each form that has a counterpart there, and nothing that has none."""

from __future__ import annotations

import pytest

from jianguan.domain.filters import ANYTHING, NOTHING, Filter, Test, all_of, some_of
from rules.pushdown import filter_of
from tests.rules.support import reference
from tests.rules.test_facts import loaded

HISTORICAL = Test("historical", "=", (True,))
LIVE = Test("historical", "=", (True,), False)
A, B = Test("category", "=", ("a",)), Test("product", "=", ("b",))
NOT_A, NOT_B = Test("category", "=", ("a",), False), Test("product", "=", ("b",), False)


@pytest.mark.parametrize(("condition", "passes"), [
    ("historical", HISTORICAL), ("!historical", LIVE), ("historical == false", LIVE),
    ("historical != false", HISTORICAL),
    ("false == historical", LIVE), ("historical == true", HISTORICAL), ("!(historical == true)", LIVE),
    ("5 < amount_fen", Test("amount_fen", ">", (5,))), ("5 <= amount_fen", Test("amount_fen", ">=", (5,))),
    ("5 > amount_fen", Test("amount_fen", "<", (5,))), ("5 >= amount_fen", Test("amount_fen", "<=", (5,))),
    ("5 == amount_fen", Test("amount_fen", "=", (5,))), ("amount_fen < 5", Test("amount_fen", "<", (5,))),
    ("amount_fen != 5", Test("amount_fen", "=", (5,), False)), ("!(amount_fen != 5)", Test("amount_fen", "=", (5,))),
    ("!(amount_fen < 5)", Test("amount_fen", "<", (5,), False)),
    ('category == "a" && product == "b"', all_of([A, B])), ('category == "a" || product == "b"', some_of([A, B])),
    ('!(category == "a" && product == "b")', some_of([NOT_A, NOT_B])),
    ('!(category == "a" || product == "b")', all_of([NOT_A, NOT_B])),
    ('historical ? category == "a" : product == "b"', some_of([all_of([HISTORICAL, A]), all_of([LIVE, B])])),
    ('!(historical ? category == "a" : product == "b")', some_of([all_of([HISTORICAL, NOT_A]), all_of([LIVE, NOT_B])])),
    ("present(product)", Test("product", "present")), ("!present(product)", Test("product", "missing")),
    ('product in ["a", "b"]', Test("product", "in", ("a", "b"))),
    ('!(product in ["a", "b"])', Test("product", "in", ("a", "b"), False)),
    ('"x" in tags', Test("tags", "has", ("x",))), ('!("x" in tags)', Test("tags", "has", ("x",), False)),
    ('product.contains("a")', Test("product", "holds", ("a",))),
    ('product.startsWith("a")', Test("product", "begins", ("a",))),
    ('!product.endsWith("a")', Test("product", "ends", ("a",), False)),
    ('contains_any(product, ["a", "b"])', Test("product", "holds", ("a", "b"))),
    ('industry_within(industry, "cn:P83")',
     some_of([Test("industry", "in", ("cn:P83",)), Test("industry", "begins", ("cn:P83",))])),
    ('!region_within(region, "cn:31")', Test("region", "present")),
    ("true", ANYTHING), ("false", NOTHING), ("!true", NOTHING), ("!false", ANYTHING),
])  # fmt: skip
def test_what_a_store_can_decide_of_a_condition(condition: str, passes: Filter) -> None:
    assert filter_of(loaded(condition=f"({condition})").checked, reference()) == of_complaints(passes)


@pytest.mark.parametrize("condition", [
    "amount_fen * 2 > 5", "product == platform", "occurred_at < received_at", 'product.matches("a")',
    "size(product) > 2", '(product + "x").contains("a")', "bool(product)",
    "product in [platform]", 'product in ["a", platform]', 'contains_any(product, ["a", platform])',
    "contains_any(product, tags)", "product.contains(platform)", 'tags.exists(each, each == "a")',
    "amount_fen != severity", 'size([product, "a"]) == 2',
])  # fmt: skip
@pytest.mark.parametrize("negated", [False, True])
def test_what_it_cannot_decide_passes_everything(condition: str, negated: bool) -> None:
    a_rule = loaded(condition=f"{'!' if negated else ''}({condition})", on=["complaint"])
    assert filter_of(a_rule.checked, reference()) == of_complaints(ANYTHING)


def test_every_code_of_a_region_passes_and_none_of_another() -> None:
    listed, beginnings = reference().regions.inside("cn:310100")
    assert {"cn:310100", "cn:310115"} <= set(listed)
    assert "cn:310200" not in listed
    passes = filter_of(loaded(condition='region_within(region, "cn:3101")').checked, reference())
    assert passes == of_complaints(Test("region", "in", listed))
    assert not beginnings


def of_complaints(passes: Filter) -> Filter:
    """Of the kind that the rule looks at."""
    return all_of([Test("kind", "=", ("complaint",)), passes])
