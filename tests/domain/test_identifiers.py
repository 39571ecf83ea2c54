"""Unified social credit codes: public ones are valid, damaged ones are not, and the error says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.identifiers import (
    USCC_ALPHABET,
    check_uscc,
    is_valid_uscc,
    make_uscc,
    organisation_check_character,
    uscc_check_character,
)
from jianguan.errors import InputError

# Published by the companies themselves.
PUBLIC = [
    "91110000600037341L",
    "9144030071526726XG",  # Tencent Computer Systems
    "91330100799655058B",  # Alibaba (China)
    "914403001922038216",  # Huawei Technologies
    "91110000802100433B",  # Baidu Online
]

characters = st.sampled_from(USCC_ALPHABET)


@st.composite
def valid_codes(draw: st.DrawFn) -> str:
    first = draw(st.sampled_from("123456789ANY")) + draw(characters)
    region = draw(st.text("0123456789", min_size=6, max_size=6))
    rest = draw(st.text(USCC_ALPHABET, min_size=9, max_size=9))
    return first + region + rest + uscc_check_character(first + region + rest)


@pytest.mark.parametrize("code", PUBLIC)
def test_codes_that_companies_publish_are_valid(code: str) -> None:
    assert is_valid_uscc(code)
    check_uscc(code)
    assert organisation_check_character(code[8:16]) == code[16]
    assert make_uscc(code[0], code[1], code[2:8], code[8:17]) == code


@given(valid_codes(), st.integers(0, 17), characters)
def test_any_change_of_one_character_is_caught(code: str, place: int, character: str) -> None:
    changed = code[:place] + character + code[place + 1 :]
    assert is_valid_uscc(code)
    assert is_valid_uscc(changed) == (changed == code)


@given(valid_codes(), st.integers(2, 7), st.sampled_from("ABCX"))
def test_a_region_with_a_letter_is_caught_though_the_check_character_is_right(
    code: str, place: int, letter: str
) -> None:
    first = code[:place] + letter + code[place + 1 : 17]
    wrong = first + uscc_check_character(first)
    assert not is_valid_uscc(wrong)
    with pytest.raises(InputError, match="a region has digits only"):
        check_uscc(wrong)


@given(valid_codes(), st.integers(0, 16))
def test_any_swap_of_two_neighbours_is_caught(code: str, place: int) -> None:
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert is_valid_uscc(swapped) == (swapped == code)


@given(st.text(max_size=20) | st.text(USCC_ALPHABET + "IO", min_size=16, max_size=19) | valid_codes())
def test_the_check_raises_exactly_where_the_code_is_not_valid(code: str) -> None:
    if is_valid_uscc(code):
        check_uscc(code)
    else:
        with pytest.raises(InputError):
            check_uscc(code, "enterprise.id")


@pytest.mark.parametrize("first", ["N", "Y", "A"])
def test_codes_of_the_departments_n_y_and_a_are_accepted(first: str) -> None:
    assert is_valid_uscc(make_uscc(first, "1", "310115", "59169385" + organisation_check_character("59169385")))


@pytest.mark.parametrize(
    ("code", "slug", "words"),
    [
        ("9144030071526726XB", "bad-check-digit", "check digit expected G, found B"),
        ("9144030071526726X", "bad-uscc", "this has 17"),
        ("9144030071526726OG", "bad-uscc", "character 17 is 'O'"),
        ("914403AA71526726XG", "bad-uscc", "character 7 is 'A'"),
        ("B144030071526726XG", "bad-uscc", "character 1 is 'B'"),
    ],
)
def test_the_error_names_what_is_wrong(code: str, slug: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        check_uscc(code, "enterprise.id")
    assert (caught.value.code, caught.value.field) == (slug, "enterprise.id")


def test_a_code_is_not_made_from_a_damaged_organisation_code() -> None:
    with pytest.raises(InputError, match="expected X, found 1"):
        make_uscc("9", "1", "440300", "715267261")
    with pytest.raises(InputError, match="region has 6 characters, not 2"):
        make_uscc("9", "1", "44", "71526726X")
