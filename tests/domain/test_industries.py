"""Industries: sections and divisions are complete, deeper codes are inside what is known, Chicago's list is open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.industries import Industries
from jianguan.errors import InputError

INDUSTRIES = Industries.load()


def test_all_sections_and_divisions_are_there() -> None:
    assert [code[3:] for code in INDUSTRIES.codes("cn", "section")] == list("ABCDEFGHIJKLMNOPQRST")
    divisions = [code[4:] for code in INDUSTRIES.codes("cn", "division")]
    assert divisions == [f"{n:02}" for n in range(1, 98)]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("F", "cn:F"),
        ("f52", "cn:F52"),
        ("52", "cn:F52"),
        ("5212", "cn:F5212"),
        ("cn:f5212", "cn:F5212"),
        ("6432", "cn:I6432"),
        ("cn:i6432", "cn:I6432"),
        ("us-chi:Restaurant", "us-chi:restaurant"),
        ("us-chi:1006", "us-chi:1006"),
        ("us-chi:candy-store", "us-chi:candy-store"),
    ],
)
def test_a_code_has_one_spelling(written: str, spelled: str) -> None:
    assert INDUSTRIES.normalise(written) == spelled


@pytest.mark.parametrize("written", ["F53", "A0199x", "52123", "cn:F5", "99", "U", "cn:A52", "us-chi:a b", "零售业"])
def test_what_is_no_industry_is_refused(written: str) -> None:
    with pytest.raises(InputError) as caught:
        INDUSTRIES.normalise(written)
    assert caught.value.code == "unknown-industry"


def test_an_unknown_industry_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(InputError, match=r"nearest is cn:F5[12]"):
        INDUSTRIES.normalise("F53")


def test_names_are_in_two_languages() -> None:
    assert INDUSTRIES.name("cn:H62") == "餐饮业"
    assert INDUSTRIES.name("cn:H62", "en") == "Catering"
    assert INDUSTRIES.name("us-chi:restaurant", "zh") == "餐馆"


@given(st.sampled_from(list(INDUSTRIES.codes("cn", "division"))), st.text("0123456789", min_size=1, max_size=2))
def test_a_deeper_code_is_inside_each_of_its_prefixes_and_nothing_else(division: str, digits: str) -> None:
    code = INDUSTRIES.normalise(division + digits)
    assert INDUSTRIES.known(code)
    for end in range(len("cn:F52"), len(code) + 1):
        assert INDUSTRIES.within(code, code[:end])
    assert INDUSTRIES.within(code, code[:4])
    assert INDUSTRIES.within(code, "cn:ALL")
    assert [each for each in INDUSTRIES.codes("cn", "division") if INDUSTRIES.within(code, each)] == [division]
    assert INDUSTRIES.at_level(code, "division") == division
    assert INDUSTRIES.level(code) == ("group" if len(digits) == 1 else "class")
    assert INDUSTRIES.name(code)


def test_chicagos_types_are_businesses_in_chicago() -> None:
    for code in ("us-chi:restaurant", "us-chi:1006", "us-chi:never-seen"):
        assert INDUSTRIES.within(code, "us-chi:business")
        assert not INDUSTRIES.within(code, "cn:ALL")


@given(
    st.sampled_from(["cn:P", "cn:P83", "cn:P8336", "cn:F52", "cn:F521", "us-chi:business", "us-chi:restaurant"]),
    st.one_of(
        st.sampled_from(list(INDUSTRIES.codes())),
        st.from_regex(r"(cn:[FP][0-9]{2,4}|us-chi:[a-z]{1,5})", fullmatch=True),
    ),
)
def test_what_is_within_a_code_is_listed_inside_it_or_begins_so(ancestor: str, code: str) -> None:
    listed, beginnings = INDUSTRIES.inside(ancestor)
    told = code in listed or code.startswith(beginnings)
    assert told or not INDUSTRIES.within(code, ancestor)
    assert all(INDUSTRIES.within(each, ancestor) for each in listed)
