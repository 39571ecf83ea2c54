"""What a calendar and a list of codes are read by."""

from __future__ import annotations

import pytest

from jianguan.domain.csv_table import table_rows
from jianguan.errors import ConfigurationError


def test_rows_have_the_columns_asked_for_and_the_line_they_end_on() -> None:
    lines = ["b,other,a", " 1 ,x, 2", '"3\n', '4",x,5']
    assert list(table_rows(lines, "file", ("a", "b"))) == [
        ("file:2", {"a": "2", "b": "1"}),
        ("file:4", {"a": "5", "b": "3\n4"}),
    ]


def test_a_cell_that_lacks_is_empty_and_more_cells_than_columns_are_left_out() -> None:
    assert list(table_rows(["a,b", "1", "1,2,3"], "file", ("a", "b"))) == [
        ("file:2", {"a": "1", "b": ""}),
        ("file:3", {"a": "1", "b": "2"}),
    ]


@pytest.mark.parametrize("lines", [[], ["a"], ["b,c"]])
def test_a_file_without_the_columns_is_named(lines: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^file: the columns .* are missing$"):
        list(table_rows(lines, "file", ("a", "b")))


@pytest.mark.parametrize(("lines", "line"), [(["a,b", "1,2", "x" * 200_000], 3), (["x" * 200_000], 1)])
def test_what_is_no_csv_is_told_with_its_line(lines: list[str], line: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^file:{line}: field larger than field limit"):
        list(table_rows(lines, "file", ("a", "b")))
