"""Who leads and who assists: a decision table is read from the top, and the first row that fits decides."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.judging import Extras
from rules.model import RuleFile
from rules.rule import Rule, build
from tests.rules.support import reference, rule_file

COUNTIES = ["cn:310115", "cn:310104", "cn:330106", "cn:110105"]
PLACES = [*COUNTIES, "cn:310000", "cn:330000", "cn:330100"]
CATEGORIES = ["food-safety", "price", "wages"]
DEPARTMENTS = ["market-regulation", "public-security", "human-resources", "fire"]

cells: dict[str, st.SearchStrategy[Any]] = {
    "region.county": st.sampled_from(PLACES) | st.lists(st.sampled_from(PLACES), min_size=1, max_size=3),
    "category": st.sampled_from(CATEGORIES) | st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=2),
}
tables = st.lists(
    st.fixed_dictionaries(
        {
            "when": st.fixed_dictionaries({}, optional=cells).filter(bool),
            "lead": st.sampled_from(DEPARTMENTS),
            "joint": st.lists(st.sampled_from(DEPARTMENTS), unique=True, max_size=3),
        }
    ),
    max_size=5,
)


def rule_of(table: list[dict[str, Any]]) -> Rule:
    file = rule_file(
        group_by=["category", "region.county"], case={"key": "group"}, lead=DEPARTMENTS[0], joint=[DEPARTMENTS[1]],
        decision_table=table,
    )  # fmt: skip
    return build(RuleFile.model_validate(file), extras=Extras(within=reference().within()))


def lies_in(code: str, place: str) -> bool:
    """By the six digits of GB/T 2260: two of the province, two of the city, two of the county."""
    wanted = place.removeprefix("cn:")
    while wanted.endswith("00"):
        wanted = wanted[:-2]
    return code.removeprefix("cn:").startswith(wanted)


def fits(row: dict[str, Any], category: str, county: str) -> bool:
    when = {name: [cell] if isinstance(cell, str) else cell for name, cell in row["when"].items()}
    return category in when.get("category", [category]) and any(
        lies_in(county, place) for place in when.get("region.county", [county])
    )


@settings(deadline=None)
@given(tables, st.sampled_from(CATEGORIES), st.sampled_from(COUNTIES))
def test_departments_are_those_of_the_first_row_that_fits_or_the_rules_own(
    table: list[dict[str, Any]], category: str, county: str
) -> None:
    a_rule = rule_of(table)
    expected = next(
        (row for row in table if fits(row, category, county)), {"lead": DEPARTMENTS[0], "joint": [DEPARTMENTS[1]]}
    )
    values = (category, county)
    assert a_rule.lead_of(values) == expected["lead"]
    assert a_rule.joint_of(values) == tuple(each for each in expected["joint"] if each != expected["lead"])
    assert a_rule.case_key_of(values) == f"{expected['lead']}|category+region.county|{category}\x1f{county}"
