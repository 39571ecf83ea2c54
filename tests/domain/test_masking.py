"""Masking: the secret is never in what is shown, numbers in free text are found however written, hashes match."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jianguan.domain.identifiers import make_uscc, organisation_check_character
from jianguan.domain.masking import (
    hidden_text,
    mask_address,
    mask_id_card,
    mask_name,
    mask_phone,
    match_hash,
    redact,
    without_hashes,
)
from jianguan.domain.regions import Regions
from jianguan.errors import ConfigurationError

KEY = b"k" * 32
NAMES = Regions.load().names_zh()
mobiles = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)
id_cards = st.from_regex(r"[1-8][0-9]{16}[0-9X]", fullmatch=True)
DASHES = [mark for mark in map(chr, range(sys.maxunicode)) if unicodedata.category(mark) == "Pd"]
INVISIBLE = ["\u200b", "\u034f", "\ufe0f", "\ufe0f\u20e3", "\u180b", "\u180c", "\u180d", "\U000e0100", "\u3164"]
LINES = ["\n", "\r\n", "\t", " \n ", "\v", "\u2028"]
MARKS = ["", " ", "  ", " - ", ".", "·", "_", "\u3000", "\u2212", "\u2043"]
separators = st.sampled_from([*MARKS, *DASHES, *INVISIBLE, *LINES])
surroundings = st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters="*@"), max_size=20)


@pytest.mark.parametrize(("name", "shown"), [("张三", "张*"), ("张小三", "张**"), ("张", "*"), ("", ""), (" ", "")])
def test_a_name_keeps_its_first_character(name: str, shown: str) -> None:
    assert mask_name(name) == shown


@pytest.mark.parametrize(
    ("phone", "shown"),
    [
        ("13812341234", "138****1234"),
        ("+86 138-1234-1234", "138****1234"),
        ("１３８１２３４１２３４", "138****1234"),
        ("021-12345678", "021****5678"),
        ("12345678", "****78"),
        ("12345", "***"),
        ("", ""),
    ],
)
def test_a_phone_keeps_its_ends(phone: str, shown: str) -> None:
    assert mask_phone(phone) == shown


def test_an_id_card_keeps_three_and_two() -> None:
    assert mask_id_card("31011519800101123x") == "310*************3X"
    assert mask_id_card("12345") == "***"
    assert mask_id_card("") == ""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("上海市浦东新区世纪大道100号", "上海市浦东新区***"),
        ("浙江省杭州市临平区南苑街道1号", "浙江省杭州市临平区***"),
        ("上海市阳光小区5号", "上海市***"),
        ("阳光小区5号", "***"),
        ("3352 N BROADWAY", "***"),
        ("浦东新区", "浦东新区***"),
        ("", ""),
    ],
)
def test_an_address_keeps_at_most_its_district(address: str, shown: str) -> None:
    assert mask_address(address, NAMES) == shown


def test_a_hidden_text_tells_only_its_length() -> None:
    assert hidden_text("我要举报") == "[已隐藏 4 字]"
    assert hidden_text("我要举报", "en") == "[4 characters hidden]"
    assert hidden_text("") == ""


@given(st.text(st.characters(categories=["L"]), min_size=1, max_size=12))
def test_a_masked_name_never_contains_the_name(name: str) -> None:
    assert name not in mask_name(name)
    assert sum(character != "*" for character in mask_name(name)) <= 1


@given(mobiles, id_cards)
def test_masked_numbers_never_contain_the_number(mobile: str, card: str) -> None:
    assert mobile not in mask_phone(mobile)
    assert sum(character.isdigit() for character in mask_phone(mobile)) == 7
    assert sum(character != "*" for character in mask_id_card(card)) == 5


@given(st.text("0123456789号弄路室 ", min_size=1))
def test_a_masked_address_never_shows_house_numbers(rest: str) -> None:
    assert mask_address("上海市浦东新区" + rest, NAMES) == "上海市浦东新区***"


@example("", "13000000000", "", "", "X")
@given(surroundings, mobiles, separators, separators, surroundings)
def test_a_mobile_number_in_a_text_is_taken_out_however_it_is_set(
    before: str, mobile: str, gap: str, other: str, after: str
) -> None:
    shown = redact(f"{before}{mobile[:3]}{gap}{mobile[3:7]}{other}{mobile[7:]}{after}")
    assert not any(character in "0123456789" for character in shown.text)
    assert shown.counts.get("phone", 0) + shown.counts.get("id-card", 0) == 1


@pytest.mark.parametrize("gap", [*MARKS, *DASHES, *INVISIBLE])
def test_a_mobile_number_is_taken_out_with_a_mark_after_every_digit(gap: str) -> None:
    assert redact("打" + "".join(digit + gap for digit in "13812345678") + "吧").text.startswith("打[电话]")


@example("电话13812345678，5551234")
@example("13812345678+5551234")
@example("电话 6222021234567890 5551234")
@given(
    st.lists(st.sampled_from([*"0123456789X", *MARKS, *LINES, "电话", "，", "a@b", "13812345678", "(", "+"])).map(
        "".join
    )
)
def test_redacting_what_was_redacted_changes_nothing(text: str) -> None:
    once = redact(text)
    twice = redact(once.text)
    assert (twice.text, dict(twice.counts)) == (once.text, {})


@pytest.mark.parametrize("gap", LINES[:5])
def test_numbers_of_different_lines_or_cells_are_not_read_as_one(gap: str) -> None:
    assert redact(f"2024{gap}13812345678{gap}20240415").text == f"2024{gap}[电话]{gap}20240415"
    assert redact(f"13812345678{gap}13912345678").text == f"[电话]{gap}[电话]"
    assert redact(f"110105{gap}19491231{gap}002X").text == "[身份证号]"
    assert redact(f"（021）{gap}61234567").text == "[电话]"
    for kept in (
        ("1999", "1599", "899"),
        ("199", "20240415"),
        ("15", "2024-05-01", "9"),
        ("110105", "19491231", "0021"),
    ):
        assert redact(gap.join(kept)).text == gap.join(kept)


@pytest.mark.parametrize("text", ["电话20231215", "tel:19991231", "QQ 19991231", "电话2023-1215"])
def test_an_announced_number_is_a_phone_though_it_reads_as_a_day(text: str) -> None:
    shown = redact(text)
    assert shown.text.endswith("[电话]")
    assert dict(shown.counts) == {"phone": 1}


@pytest.mark.parametrize("text", ["打电话的日子是 2023-12-15", "电话 2023.12.15", "2023—12—15 10:30", "共 20231215 件"])
def test_a_day_stays_if_it_is_not_announced_or_is_written_in_parts(text: str) -> None:
    assert redact(text).text == text


@given(surroundings, id_cards, st.booleans())
def test_an_id_card_in_a_text_is_taken_out_in_any_width(before: str, card: str, wide: bool) -> None:
    written = "".join(chr(ord(character) + 0xFEE0) for character in card) if wide else card
    shown = redact(before + written).text
    assert card[:17] not in shown
    assert written not in shown


@pytest.mark.parametrize(
    ("text", "shown", "kinds"),
    [
        ("打我电话 13812341234 谢谢", "打我电话 [电话] 谢谢", {"phone": 1}),
        ("电话：5551234", "电话：[电话]", {"phone": 1}),
        ("call (312) 555-0199 now", "call [号码] now", {"number": 1}),
        ("身份证31011519800101123X", "身份证[身份证号]", {"id-card": 1}),
        ("写信到 zhang.san@example.com。", "写信到 [邮箱]。", {"email": 1}),
        ("卡号 6222 0212 3456 7890 123", "卡号 [号码]", {"number": 1}),
        ("010-12345678 or 13812341234", "[电话] or [电话]", {"phone": 2}),
        ("2024-04-15 10:30 花了 1999 元，批号 20240415", "2024-04-15 10:30 花了 1999 元，批号 20240415", {}),
        ("店名 7-11，两天 3 次", "店名 7-11，两天 3 次", {}),
    ],
)
def test_free_text_keeps_what_is_not_personal(text: str, shown: str, kinds: dict[str, int]) -> None:
    redaction = redact(text)
    assert (redaction.text, dict(redaction.counts)) == (shown, kinds)


def test_an_enterprises_code_stays_in_the_text_but_not_a_phone_beside_it() -> None:
    assert redact("企业91110000600037341L").text == "企业91110000600037341L"
    assert redact("914403001922038216 13812341234").text == "[号码]"
    assert redact("企业914403001922038216，电话13812341234").text == "企业914403001922038216，电话[电话]"


def test_codes_of_enterprises_stay_unless_they_could_be_an_id_card() -> None:
    source = random.Random(1)
    kept = 0
    for _ in range(200):
        first8 = "".join(source.choices("0123456789", k=8))
        text = f"被举报人：{make_uscc('9', '1', '310115', first8 + organisation_check_character(first8))}。"
        kept += redact(text).text == text
    assert kept >= 185


def test_a_long_text_leaves_no_number_behind() -> None:
    shown = redact("1 2 - 3" * 20_000 + "a" * 20_000).text
    assert sum(character.isdigit() for character in shown) < 7


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("13812341234", "+86 138-1234-1234"),
        ("13812341234", "１３８ 1234 1234"),
        ("13812341234", "138·1234·1234"),
        ("13812341234", "138‑1234−1234"),
        ("13812341234", "(86)138\t1234\t1234"),
        ("13812341234", "1️⃣3️⃣8️⃣1️⃣2️⃣3️⃣4️⃣1️⃣2️⃣3️⃣4️⃣"),
        ("02161234567", "(021)61234567"),
        ("02161234567", "（021）61234567"),
        ("02161234567", "021—61234567"),
        ("31011519800101123x", "31011519800101123X"),
        ("Zhang San", "ZHANG  SAN"),
        ("张 三", "张三"),
        ("ﬁsh", "fish"),
    ],
)
def test_spellings_of_the_same_value_match(one: str, other: str) -> None:
    assert match_hash(one, KEY) == match_hash(other, KEY)


def test_hashes_depend_on_value_and_key_and_blank_values_match_nothing() -> None:
    assert match_hash("张三", KEY) != match_hash("李四", KEY)
    assert match_hash("张三", KEY) != match_hash("张三", b"x" * 32)
    assert match_hash("1-2-301", KEY) != match_hash("12-301", KEY)
    assert match_hash(" \u200b", KEY) == ""
    assert len(match_hash("张三", KEY)) == 32
    for key in (b"", b"short", b"x" * 65):
        with pytest.raises(ConfigurationError):
            match_hash("张三", key)


def test_a_key_keeps_all_but_the_hashes_in_it() -> None:
    reporter = match_hash("13800138000", b"k" * 32)
    assert without_hashes(reporter) == "***"
    assert without_hashes(f"cn:310104\x1f{reporter}\x1ffood-safety") == "cn:310104\x1f***\x1ffood-safety"
    assert without_hashes(f"wages|reporter+region|{reporter}\x1fcn:310104") == "wages|reporter+region|***\x1fcn:310104"
    for kept in ("", "uscc:91310000MA1FL0000X", f"{reporter}0", f"licence:{reporter}"):
        assert without_hashes(kept) == kept
