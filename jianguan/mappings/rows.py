"""Reads CSV text row by row. A row that cannot be read is handed on as such: it is never dropped and never fatal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jianguan.errors import InputError


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not a row of this table: what is wrong with it, and its cells as far as they were read."""

    message: str
    cells: list[str]


def read_rows(lines: Iterable[str], delimiter: str = ",") -> tuple[list[str], Iterator[list[str] | BadRow]]:
    """The header, and lazily every row below it. Blank lines are no rows.

    `lines` must keep the ends of lines as they are (newline=""), because a quoted cell may hold some. InputError
    when there is no usable header.
    """
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
    except csv.Error as error:
        raise InputError("not-csv", f"the first line cannot be read as CSV: {error}") from None
    if not any(header):
        raise InputError("no-header", "the file has no header line that names its columns")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError("column-twice", f"the header names a column twice: {', '.join(twice)}")
    return header, _rows(reader, len(header))


def _rows(reader: Iterator[list[str]], width: int) -> Iterator[list[str] | BadRow]:
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadRow(f"the row cannot be read as CSV: {error}", [])
            continue
        if cells is None:
            return
        if not cells:
            continue
        if len(cells) == width:
            yield cells
        else:
            yield BadRow(f"the row has {len(cells)} cells and the header {width}", cells)
