"""That the number of conditions hardly matters when most are about other categories."""

from __future__ import annotations

import pytest

from bench.conditions import TYPICAL, environment, measure


def test_the_measured_conditions_are_thirty_and_type_check() -> None:
    fields = environment()
    assert len({fields.check(text).text for text in TYPICAL}) == 30


@pytest.mark.slow
def test_ten_thousand_conditions_cost_at_most_five_times_what_thirty_do() -> None:
    few, _, _ = measure(30, some=5_000)
    many, _, _ = measure(10_000, some=5_000)
    assert many < 5 * few
