"""What an author is told about a condition that is wrong."""

from __future__ import annotations

import pytest

from jianguan.errors import ConfigurationError, SourceError
from rules.cel import CelType, Environment

ENVIRONMENT = Environment(
    {"kind": CelType.STRING, "region": CelType.STRING, "amount_fen": CelType.INT, "extra": CelType.MAP},
    region_within=str.startswith,
)


def _fault(text: str, line: int = 7, column: int = 14) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ENVIRONMENT.check(text, path="rule.yaml", line=line, column=column)
    return caught.value


def test_a_misspelt_field_is_named_with_its_place_and_the_nearest_field() -> None:
    fault = _fault('kind == "a" && amuont_fen > 5')
    assert (fault.path, fault.line, fault.column) == ("rule.yaml", 7, 29)
    assert "amuont_fen" in fault.message
    assert fault.hint == "did you mean amount_fen?"


def test_a_misspelt_function_is_named_with_its_place_and_the_nearest_function() -> None:
    fault = _fault('kind == "a" || region_in(region, "cn:31")')
    assert (fault.line, fault.column) == (7, 29)
    assert fault.message == "there is no function region_in()"
    assert "region_within" in fault.hint


def test_columns_count_characters_and_not_bytes() -> None:
    assert _fault('kind == "投诉" && amuont_fen > 5', column=1).column == 17


def test_a_fault_in_a_later_line_of_a_block_has_the_line_of_the_file() -> None:
    fault = _fault('kind == "a" &&\n  amuont_fen > 5', line=10, column=5)
    assert (fault.line, fault.column) == (11, 7)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("kind == 3", 19, "(string, int)"),
        ("amount_fen > 3.5", 25, "(int, double)"),
        ("kind ==", 21, "ends too early"),
        ("amount_fen", 14, "gives int where bool is needed"),
        ('kind.matches("a(")', 27, "not a regular expression"),
        ("present(1 + 2)", 21, "present() takes a field"),
        ("contains_any(kind, [])", 33, "no words"),
        ('contains_any(kind, ["a", 1])', 39, "texts"),
    ],
)
def test_a_wrong_type_or_form_is_refused_at_its_place(text: str, column: int, said: str) -> None:
    fault = _fault(text)
    assert (fault.line, fault.column) == (7, column)
    assert said in fault.message


@pytest.mark.parametrize(
    ("text", "column", "said", "hint"),
    [
        ("kind == “a”", 9, "“ is a full-width character", 'write the ASCII `"`'),
        ("kind == ‘a’", 9, "‘ is a full-width character", "write the ASCII `'`"),
        ('kind in ["a"，"b"]', 13, "， is a full-width character", "write the ASCII `,`"),
        ("present（kind）", 8, "（ is a full-width character", "write the ASCII `(`"),
        ("！present(kind)", 1, "！ is a full-width character", "write the ASCII `!`"),
        ('kind ＝＝ "a"', 6, "＝ is a full-width character", "write the ASCII `=`"),
        ('kind ==\u3000"a"', 8, "U+3000 is not the space that is meant", "write a plain space"),
        ('kind ==\u00a0"a"', 8, "U+00A0 is not the space that is meant", "write a plain space"),
        ('kind = "a"', 6, "`=` is no operator", "compare with `==`"),
        ("present(kind) and present(region)", 15, "`and` is no operator", "write `&&`"),
        ("present(kind) OR present(region)", 15, "`OR` is no operator", "write `||`"),
        ("not present(kind)", 1, "`not` is no operator", "write `!`"),
        ("present(kind) &&", 17, "the expression ends too early", "something must follow"),
        ("(present(kind)", 15, "the expression ends too early", "`)` is missing"),
        ("present(kind) present(region)", 15, "`present` is not expected here", ""),
        ('kind == "a', 9, "the text that begins here has no end", 'close it with `"`'),
        ("类 == 1", 1, "`类` cannot be read", "a text stands in quotes"),
    ],
)
def test_a_condition_that_does_not_parse_is_explained_at_its_place(
    text: str, column: int, said: str, hint: str
) -> None:
    fault = _fault(text, column=1)
    assert (fault.line, fault.column, fault.message, fault.hint) == (7, column, said, hint)


def test_full_width_characters_may_stand_in_quotes() -> None:
    assert ENVIRONMENT.check('kind == "投诉，举报（食品）" && kind != "“”"').result == "bool"


def test_a_whole_number_against_a_double_is_explained() -> None:
    assert "5.0" in _fault("amount_fen > 3.5").hint


def test_a_condition_without_end_is_refused() -> None:
    assert "longer than" in _fault("kind == 'a' || " * 5000 + "true").message


def test_a_condition_that_nests_too_deeply_is_refused() -> None:
    assert "recursion limit" in _fault("(" * 60 + "true" + ")" * 60).message


def test_a_function_whose_data_was_not_given_is_unknown() -> None:
    assert _fault('industry_within(kind, "cn:H")').message == "there is no function industry_within()"


def test_a_checked_condition_knows_its_fields_and_its_type() -> None:
    checked = ENVIRONMENT.check('kind == "a" && present(region) && extra.shops > 3')
    assert checked.fields == {"kind", "region", "extra"}
    assert checked.result == "bool"


def test_a_field_type_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="money"):
        Environment({"amount": "money"})
