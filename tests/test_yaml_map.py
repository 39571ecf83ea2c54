"""The line-map loader: exact positions, plain values, and a SourceError for everything that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.errors import SourceError
from jianguan.yaml_map import MAX_CHARACTERS, load_yaml

TEXT = """\
name: a rule
when:
  - {field: x, at: 2024-01-31}
  - "no"
limit: 1_000
"""


def test_a_value_is_found_by_its_path() -> None:
    value, positions = load_yaml(TEXT, "r.yaml")
    assert value == {"name": "a rule", "when": [{"field": "x", "at": "2024-01-31"}, "no"], "limit": 1000}
    assert positions.at(("when", 0, "at")) == (3, 20)
    assert positions.key_at(("when", 0, "at")) == (3, 16)
    assert positions.at(("limit",)) == (5, 8)


def test_a_path_that_is_not_there_gives_its_nearest_ancestor() -> None:
    _, positions = load_yaml(TEXT, "r.yaml")
    assert positions.at(("when", 1, "nothing", 3)) == positions.at(("when", 1)) == (4, 5)
    assert str(positions.error("bad", ("limit",), "say 3", key=True)) == "r.yaml:5:1: bad (say 3)"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("12:30", "12:30"),
        ("007", "007"),
        ("0", 0),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("2024-01-31", "2024-01-31"),
        ("0x1f", "0x1f"),
    ],
)
def test_plain_scalars_are_read_as_a_person_means_them(text: str, value: Any) -> None:
    loaded, _ = load_yaml(f"a: {text}", "f")
    assert loaded == {"a": value}
    assert type(loaded["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3", "here twice", 3, 1),
        ("a: &x 1", "anchor", 1, 4),
        ("a: *x", "alias", 1, 4),
        ("a: !!python/object:os.system x", "tag", 1, 4),
        ("<<: {a: 1}", "merge key", 1, 1),
        ("? [a]\n: b", "must be a text", 1, 3),
        ("a: 1\n---\nb: 2", "second document", 2, 1),
        ("a: [1", "not valid YAML", 1, 6),
        ("x: 1\na: \x00", "U.0000", 2, 4),
        ("[" * 60 + "]" * 60, "levels deep", 1, 42),
        ("a: " + "9" * 5000, "too large", 1, 4),
    ],
)
def test_what_is_refused_says_where(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        load_yaml(text, "f.yaml")
    assert (caught.value.path, caught.value.line, caught.value.column) == ("f.yaml", line, column)


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: 1\nb：2\nc: 3", 2, 2, "： is a full-width character (write the ASCII `:` and a space)"),
        ("a: 1\nb： 2\n\nc: 3", 2, 2, "： is a full-width character (write the ASCII `:` and a space)"),
        ("b：2\nc: 3", 1, 2, "： is a full-width character (write the ASCII `:` and a space)"),
        ("a:\n  - b：2\n    c: 3", 2, 6, "： is a full-width character (write the ASCII `:` and a space)"),
        ("a: 1\nb:\u00a02\nc: 3", 2, 3, "U+00A0 is not the space that is meant (write a plain space)"),
        ("a: 1\nb:2\nc: 3", 2, 2, "a colon behind a key needs a space (write a space behind it)"),
        ("a: {b: '一，二'，c: 3}", 1, 13, "， is a full-width character (write the ASCII `,`)"),
        ("a:\n\tb: 1", 2, 1, "a tab cannot begin anything here (indent with spaces)"),
        ("a: !b && c", 1, 4, "YAML reads what begins with ! as a tag (put the whole text in quotes)"),
        ("a: !b", 1, 4, "the tag !b is not allowed (leave it out, or put the whole text in quotes)"),
        ("a: b ? c : d", 1, 10, "not valid YAML: mapping values are not allowed here (put the whole text in quotes)"),
    ],
)
def test_what_is_easily_mistyped_is_told_where_it_was_typed(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_yaml(text, "f.yaml")
    assert str(caught.value) == f"f.yaml:{line}:{column}: {said}"


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(SourceError, match="characters"):
        load_yaml("a" * (MAX_CHARACTERS + 1), "f")


def test_a_file_with_too_many_values_is_refused() -> None:
    with pytest.raises(SourceError, match="values"):
        load_yaml("- a\n" * 100_001, "f")


@given(st.text(alphabet=st.sampled_from(list("ab:-[]{},&*!'\"\n #>|%@`?<0.\t")), max_size=60) | st.text(max_size=60))
def test_any_text_gives_a_value_or_a_source_error(text: str) -> None:
    try:
        load_yaml(text, "f")
        position = (1, 1)
    except SourceError as error:
        position = (error.line, error.column)
    assert min(position) >= 1


CHARACTERS = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(CHARACTERS, max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_json_is_yaml_and_gives_the_same_value(value: Any) -> None:
    assert load_yaml(json.dumps(value), "f")[0] == value
