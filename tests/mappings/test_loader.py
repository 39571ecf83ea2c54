"""A mapping is refused with the place of its fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.errors import SourceError
from jianguan.mappings import library_names, load_mapping, parse_mapping

GOOD = """\
mapping: test
source: here
kind: complaint
zone: Asia/Shanghai
fields:
  id: {column: Id}
  category: {constant: other}
  occurred_at: {column: When}
"""


def test_every_shipped_mapping_loads_and_is_named_like_its_file() -> None:
    assert library_names() == ["chicago-food-inspections", "chicago-sanitation-complaints", "new-york-311"]
    for name in library_names():
        assert load_mapping(name).name == name


def test_a_mapping_needs_no_more_than_this() -> None:
    mapping = parse_mapping(GOOD, "m.yaml")
    assert (mapping.source, mapping.kind, mapping.historical) == ("here", "complaint", False)


@pytest.mark.parametrize(
    ("old", "new", "message", "line", "column"),
    [
        ("kind: complaint", "kind: complain", "one of complaint", 3, 7),
        ("zone: Asia/Shanghai", "zone: Asia/Shanghei", "no time zone", 4, 7),
        ("zone: Asia/Shanghai", "description: x", "a date needs a zone", 8, 16),
        ("  id: {column: Id}", "  idd: {column: Id}", "idd is not known here (did you mean id?)", 6, 3),
        ("  id: {column: Id}", "  number: {column: Id}", "the fields lack id", 6, 3),
        ("{column: Id}", "{column: Id, constant: x}", "exactly one of", 6, 7),
        ("{column: Id}", "{column: Id, from: other}", "no join other", 6, 26),
        ("{column: Id}", "{colunm: Id}", "did you mean column?", 6, 8),
        ("{column: Id}", "Id", "a table of keys and values", 6, 7),
        ("{column: Id}", "{template: 'a{Id'}", "brace", 6, 18),
        ("{column: Id}", "{template: 'a{Id}', with: {x: {column: b}}}", "does not use x", 6, 34),
        ("{column: Id}", "{column: Id, lookup: {}}", "the table is empty", 6, 28),
        ("{column: Id}", "{column: Id, lookup_file: ../../etc/passwd}", "beside the mapping", 6, 33),
        ("{column: Id}", "{column: Id, strip: 1}", "true or false", 6, 27),
        ("{column: When}", "{column: When, date: yyyy}", "no date format", 8, 37),
        ("source: here", "source: [here]", "a text", 2, 9),
        ("kind: complaint", "kind: complaint\nkind: violation", "here twice", 4, 1),
        ("zone: Asia/Shanghai", "zone: Asia/Shanghai\ncsv: {delimiter: ';;'}", "one character", 5, 18),
    ],
)
def test_a_fault_is_named_with_its_place(old: str, new: str, message: str, line: int, column: int) -> None:
    with pytest.raises(SourceError) as caught:
        parse_mapping(GOOD.replace(old, new), "m.yaml", lambda name: "")
    assert message in str(caught.value)
    assert (caught.value.path, caught.value.line, caught.value.column) == ("m.yaml", line, column)


@pytest.mark.parametrize("text", ["", "[]", "mapping: x", "3", "fields: {}"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        parse_mapping(text, "m.yaml")


def test_a_name_that_is_neither_shipped_nor_a_file_gets_a_suggestion() -> None:
    with pytest.raises(SourceError, match="did you mean new-york-311"):
        load_mapping("new-york311")


def test_a_lookup_file_lies_beside_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(GOOD.replace("{constant: other}", "{column: C, lookup_file: categories.csv}"))
    (tmp_path / "categories.csv").write_text("Gym*,prepaid-card\n*,other\n")
    lookup = load_mapping(str(tmp_path / "m.yaml")).simple["category"].lookup
    assert lookup is not None
    assert [lookup.find(text) for text in ("GYM Sun", "x")] == ["prepaid-card", "other"]


@given(st.sampled_from(GOOD.split("\n")), st.text(max_size=30))
def test_any_damage_gives_a_mapping_or_a_source_error(line: str, text: str) -> None:
    damaged = GOOD.replace(line, line + text, 1)
    try:
        named = parse_mapping(damaged, "m.yaml").positions.path
    except SourceError as error:
        named = error.path
    assert named == "m.yaml"
