"""Regions by what people type."""

from __future__ import annotations

from datetime import date

import pytest

from jianguan.domain.region_search import RegionSearch, packaged_spellings
from jianguan.domain.regions import Regions

REGIONS = Regions.load()
SEARCH = RegionSearch(REGIONS, date(2026, 11, 23))


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("上海市浦东新区", ["cn:310115"]), ("浦东新区", ["cn:310115"]), ("上海市 浦东新区", ["cn:310115"]),
        ("浦东新区, Shanghai", ["cn:310115"]), ("上海市", ["cn:310000"]), ("Shanghai", ["cn:310000"]),
        ("shanghai", ["cn:310000"]), ("浙江省杭州市西湖区", ["cn:330106"]), ("杭州市西湖区", ["cn:330106"]),
        ("Hangzhou", ["cn:330100"]), ("沈阳市和平区", ["cn:210102"]), ("和平区", ["cn:120101", "cn:210102"]),
        ("CN:310115", ["cn:310115"]), ("Ｓｈａｎｇｈａｉ", ["cn:310000"]), ("no such place", []), ("", []),
        ("Brooklyn", ["us-nyc:BROOKLYN"]),
    ],
)  # fmt: skip
def test_a_whole_name_is_the_region_that_has_it(text: str, codes: list[str]) -> None:
    assert SEARCH.named(text) == codes


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("浦东", "cn:310115"), ("Pudong", "cn:310115"), ("pudongxin", "cn:310115"), ("上海 浦", "cn:310115"),
        ("shanghai xuhui", "cn:310104"), ("Guang", "cn:440000"), ("广州", "cn:440100"), ("310115", "cn:310115"),
        ("hangzhou xihu", "cn:330106"), ("brook", "us-nyc:BROOKLYN"),
    ],
)  # fmt: skip
def test_a_part_of_a_name_finds_the_likeliest_region_first(text: str, first: str) -> None:
    assert SEARCH.like(text, 5)[0] == first


def test_a_withdrawn_region_is_not_offered_and_is_found_by_its_name() -> None:
    assert "cn:440102" not in SEARCH.like("东山区", 500)
    assert SEARCH.named("广州市东山区") == ["cn:440102"]


def test_what_is_offered_is_bounded_and_nothing_is_offered_for_nothing() -> None:
    assert len(SEARCH.like("区", 20)) == 20
    assert SEARCH.like(" ,", 20) == []


def test_every_chinese_region_has_letters_by_which_it_is_found() -> None:
    assert set(packaged_spellings()) == set(REGIONS.codes(tree="cn"))
