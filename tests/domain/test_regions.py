"""Regions: spelling, names, what is inside what, and what was in force when."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.codes import Code, CodeTree
from jianguan.domain.regions import Regions
from jianguan.errors import ConfigurationError, InputError

REGIONS = Regions.load()
HEAD = "code,parent,level,name_zh,name_en,valid_from,valid_until\n"
codes = st.sampled_from(list(REGIONS.codes()))


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("310115", "cn:310115"),
        (" CN:310115 ", "cn:310115"),
        ("３１０１１５", "cn:310115"),
        ("310115000000", "cn:310115"),
        ("31", "cn:310000"),
        ("us-chi:Ward-20", "us-chi:ward-20"),
        ("us-nyc:queens", "us-nyc:QUEENS"),
        ("us-nyc:unspecified", "us-nyc:Unspecified"),
    ],
)
def test_a_code_has_one_spelling(written: str, spelled: str) -> None:
    assert REGIONS.normalise(written) == spelled


@given(codes)
def test_normalising_a_normal_code_changes_nothing(code: str) -> None:
    assert REGIONS.normalise(code) == code
    assert REGIONS.normalise(code.upper()) == code


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("310199", "nearest is cn:3101"),
        ("浦东新区", "cn:310115"),
        ("us-chi:ward-51", "us-chi:ward-5"),
        ("mars:1", "trees are cn, us-chi, us-nyc"),
        ("", "trees are cn"),
        ("x" * 5000, "…"),
    ],
)
def test_an_unknown_region_is_refused_with_a_hint(written: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint) as caught:
        REGIONS.normalise(written, "region")
    assert (caught.value.code, caught.value.field) == ("unknown-region", "region")
    assert len(str(caught.value)) < 250


def test_pudong_is_in_shanghai_is_in_china() -> None:
    assert REGIONS.ancestors("cn:310115") == ("cn:310100", "cn:310000", "cn:000000")
    assert REGIONS.within("cn:310115", "cn:310000")
    assert not REGIONS.within("cn:310000", "cn:310115")
    assert not REGIONS.within("cn:310115", "cn:320000")
    assert REGIONS.at_level("cn:310115", "province") == "cn:310000"
    assert REGIONS.at_level("cn:310000", "city") is None
    assert REGIONS.name("cn:310115") == "浦东新区"
    assert REGIONS.name("cn:310115", "en") == "浦东新区"
    assert REGIONS.name("cn:330100", "en") == "Hangzhou"


def test_every_ward_borough_and_district_has_its_place() -> None:
    assert [REGIONS.parent(f"us-chi:ward-{n}") for n in (1, 50)] == ["us-chi:chicago"] * 2
    assert len(list(REGIONS.codes("us-chi", "ward"))) == 50
    assert len(list(REGIONS.codes("us-chi", "community-area"))) == 77
    assert len(list(REGIONS.codes("us-nyc", "borough"))) == 6
    assert len(list(REGIONS.codes("cn", "province"))) == 34
    assert 2800 < len(list(REGIONS.codes("cn", "county", on=date(2026, 6, 1)))) < 2900
    assert len(REGIONS.names_zh()) > 2500


@given(codes, codes)
def test_within_agrees_with_climbing_parent_by_parent(child: str, other: str) -> None:
    climbed = [child]
    while (parent := REGIONS.parent(climbed[-1])) is not None:
        assert climbed[-1] in REGIONS.children(parent)
        climbed.append(parent)
    assert REGIONS.lineage(child) == tuple(climbed)
    assert REGIONS.within(child, other) == (other in climbed)
    assert all(REGIONS.within(child, each) for each in climbed)


def test_every_chinese_county_has_city_province_and_country() -> None:
    for code in REGIONS.codes("cn", "county"):
        assert REGIONS.at_level(code, "city"), code
        assert REGIONS.at_level(code, "province") == f"cn:{code[3:5]}0000"
        assert REGIONS.at_level(code, "country") == "cn:000000"


@pytest.mark.parametrize(
    ("code", "zh", "en"),
    [
        ("cn:210102", "沈阳市和平区", "和平区, Shenyang"),
        ("cn:120101", "天津市和平区", "和平区, Tianjin"),
        ("cn:310104", "上海市徐汇区", "徐汇区, Shanghai"),
        ("cn:310100", "上海市", "Shanghai"),
        ("cn:310000", "上海市", "Shanghai"),
        ("cn:429004", "湖北省仙桃市", "仙桃市, Hubei"),
        ("cn:210100", "沈阳市", "Shenyang"),
        ("cn:000000", "中国", "China"),
        ("us-nyc:BRONX", "纽约市布朗克斯", "Bronx, New York City"),
    ],
)
def test_a_place_is_told_with_its_city_since_districts_share_names(code: str, zh: str, en: str) -> None:
    regions = Regions.load()
    assert (regions.place(code, "zh"), regions.place(code, "en")) == (zh, en)


@pytest.mark.parametrize(
    ("code", "name", "since"),
    [("330113", "临平区", 2021), ("330383", "龙港市", 2019), ("653228", "和康县", 2024), ("500157", "两江新区", 2025)],
)
def test_districts_created_since_2015_are_known_from_their_year_on(code: str, name: str, since: int) -> None:
    spelled = REGIONS.normalise(code)
    assert REGIONS.name(spelled) == name
    assert REGIONS.known(spelled, date(since + 1, 1, 1))
    assert not REGIONS.known(spelled, date(since - 1, 12, 31))


def test_a_withdrawn_code_is_known_but_not_in_force() -> None:
    assert REGIONS.known("cn:330104")
    assert REGIONS.known("cn:330104", date(2020, 1, 1))
    assert not REGIONS.known("cn:330104", date(2023, 1, 1))
    assert not REGIONS.known("cn:999999")


def test_a_code_is_in_force_from_its_first_day_on_and_no_more_on_the_day_of_its_end(tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    path.write_text(HEAD + "x:A,,city,甲,A,2020-01-01,2021-01-01\n", encoding="utf-8")
    own = Regions.load([path])
    days = [date(2019, 12, 31), date(2020, 1, 1), date(2020, 12, 31), date(2021, 1, 1)]
    assert [own.known("x:A", day) for day in days] == [False, True, True, False]


def test_another_countrys_list_loads_beside_the_packaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    rows = "sg:SG,,city,新加坡,Singapore,,\nsg:BEDOK,sg:SG,area,勿洛,Bedok,2020-01-01,\n"
    path.write_text(HEAD + rows + "cn:310115,cn:310100,county,浦东新区,Pudong,,\n", encoding="utf-8")
    own = Regions.load([path])
    assert own.within(own.normalise("sg:bedok"), "sg:SG")
    assert own.name("cn:310115", "en") == "Pudong"
    assert not REGIONS.known("sg:SG")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("sg:1,,city,一,,2020-13-01,", r"regions\.csv:2"),
        ("1,,city,一,,,", "form tree:code"),
        ("sg:1,,,一,,,", "must not be empty"),
        ("sg:1,,city,一,,2020-01-02,2020-01-02", "after valid_from"),
        ("sg:1,sg:2,city,一,,,", "not in the list"),
        ("sg:1,sg:1,city,一,,,", "its own ancestor"),
        ("sg:*,sg:2,city,一,,,", "not in the list"),
    ],
)
def test_a_faulty_list_is_refused_with_its_place(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "regions.csv"
    path.write_text(f"{HEAD}{row}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        Regions.load([path])


def test_a_list_without_its_columns_or_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("code,name\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="columns level"):
        Regions.load([tmp_path / "a.csv"])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Regions.load([tmp_path / "b.csv"])


def test_an_open_tree_takes_any_well_formed_code_below_one_parent() -> None:
    tree = CodeTree([Code("x:top", "", "all", "全部"), Code("x:*", "x:top", "kind", "其他")])
    assert tree.normalise("X:new-kind") == "x:new-kind"
    assert tree.within("x:new-kind", "x:top")
    assert (tree.name("x:new-kind"), tree.level("x:new-kind")) == ("new-kind", "kind")
    assert not tree.within("x:new-kind", "x:other")
    assert not tree.known("y:new-kind")
    with pytest.raises(InputError):
        tree.normalise("x:two words")
