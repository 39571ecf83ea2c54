"""What the pages are told about the rules that run."""

from __future__ import annotations

import pytest

from jianguan.wiring.web import rule_info
from rules.ruleset import RuleSet
from tests.rules.support import reference


@pytest.mark.parametrize(
    ("identifier", "measured"),
    [
        ("prepaid-card-losses", ("sum", "amount_fen")),
        ("heavy-penalties-in-a-year", ("sum", "penalty_fen")),
        ("food-safety-cluster", ("distinct", "reporter")),
    ],
)
def test_pages_know_which_field_a_rule_measures_so_that_money_is_told_as_money(
    identifier: str, measured: tuple[str, str]
) -> None:
    rule = RuleSet.load([RuleSet.library_path()], reference()).by_id(identifier)
    assert rule is not None
    assert measured in rule_info(rule).measured
