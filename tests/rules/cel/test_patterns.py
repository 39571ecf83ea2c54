"""Patterns mean what RE2 means by them, whichever engine searches."""

from __future__ import annotations

import re

import pytest
from cel_expr_python import cel
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.cel.functions import WordFinder
from rules.cel.patterns import fault_of, matches, searcher
from rules.cel.values import EvaluationError

PIECES = ["a", "b", "中", "1", "_", "-", ".", "*", "+", "?", "|", "^", "$", "(", ")", "[ab]", "[a-c]", "[^a]", "[-a]"]
PIECES += [
    r"\.",
    r"\\",
    r"\*",
    r"\d",
    r"\w",
    r"\s",
    r"\b",
    r"\z",
    r"\Z",
    "(?i)",
    "{2}",
    "{1,2}",
    "{",
    "}",
    "]",
    " ",
    "\n",
    "/",
]
PIECES += [
    "*?",
    "++",
    "(?:",
    "(?P<n>",
    r"\pL",
    "[[:alpha:]]",
    "é",
    "[一-龥]",
    "[b-a]",
    "#",
    "&&",
    "[a&&b]",
    "--",
    "[a||b]",
]
GOOGLE = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING}).compile("text.matches(pattern)")


def _re2(text: str, pattern: str) -> bool | None:
    found = GOOGLE.eval(data={"text": text, "pattern": pattern}).value()
    return found if isinstance(found, bool) else None


def _ours(text: str, pattern: str) -> bool | None:
    try:
        return matches(text, pattern)
    except EvaluationError:
        return None


@settings(max_examples=1500, deadline=None)
@given(
    pattern=st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    text=st.text(alphabet="abc中一1_-.é \nAB|", max_size=8),
)
def test_a_pattern_finds_what_re2_finds(pattern: str, text: str) -> None:
    expected = _re2(text, pattern)
    assert _ours(text, pattern) is expected
    if expected is not None:
        assert searcher(pattern)(text) is expected


@pytest.mark.parametrize("pattern", ["a$", r"a\$", r"a\\$", r"a\\\$", r"^\\\\$", "$"])
@pytest.mark.parametrize("text", ["a", "a\n", "a$", "a\\", "a\\\n", "a\\$\n", "\\\\", "\\\\\n", ""])
def test_the_end_is_the_very_end_whatever_backslashes_stand_before_its_sign(pattern: str, text: str) -> None:
    assert matches(text, pattern) is searcher(pattern)(text) is _re2(text, pattern)


@pytest.mark.parametrize("pattern", ["(", "a**", "[b-a]", r"(a)\1", "(?=a)"])
def test_what_re2_refuses_is_a_fault_and_has_no_value(pattern: str) -> None:
    assert fault_of(pattern)
    with pytest.raises(EvaluationError):
        matches("a", pattern)


def test_a_pattern_that_python_would_try_forever_is_searched_in_linear_time() -> None:
    assert matches("a" * 5000, "(a*)*b") is False
    assert matches("a" * 5000, "(a|aa)+$") is True


@settings(max_examples=500, deadline=None)
@given(
    words=st.lists(st.text(alphabet="ab中]^-\\.", max_size=4), max_size=15),
    text=st.text(alphabet="ab中]^-\\.", max_size=20),
)
def test_one_pass_finds_every_word_that_is_in_the_text(words: list[str], text: str) -> None:
    found = WordFinder(words)(text)
    assert found == {word for word in words if word in text}
    assert WordFinder([*words, *(f"w{each}" for each in range(9))])(text) == found


def test_words_in_a_long_text_are_found_with_their_overlaps() -> None:
    words = [f"词{each}" for each in range(2000)] + ["词19", "9词"]
    text = "。".join(f"词{each}" for each in range(0, 4000, 7)) + "词1999词"
    assert WordFinder(words)(text) == {word for word in words if re.search(re.escape(word), text)}
