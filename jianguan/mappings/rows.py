"""Reads CSV text row by row. A row that cannot be read is handed on as such: it is never dropped and never fatal."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jianguan.errors import InputError


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not a row of this table: what is wrong with it, and its cells as far as they were read."""

    message: str
    cells: list[str]


class _Lines:
    """Hands lines on, knows those of the row that is being read, and takes back those that are not of it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self._ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is None:
            self._ended = True
            raise StopIteration
        self._row.append(line)
        return line

    def begin_row(self) -> None:
        """What is read from now on is another row."""
        self._row, self._ended = [], False

    @property
    def row_has_no_end(self) -> bool:
        """Whether more was wanted for the row than there is: a quote in it is never closed."""
        return self._ended and bool(self._row)

    def first_of_row(self) -> str:
        """The line that the row begins with; the others are read again, as rows of their own."""
        first, *others = self._row
        self._again.extendleft(reversed(others))
        return first


def read_rows(lines: Iterable[str], delimiter: str = ",") -> tuple[list[str], Iterator[list[str] | BadRow]]:
    """The header, and lazily every row below it. Blank lines are no rows. A quote that is never closed spoils the row
    that it stands in, and not those below.

    `lines` must keep the ends of lines as they are (newline=""), because a quoted cell may hold some. InputError
    when there is no usable header.
    """
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter)
    try:
        header = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
    except csv.Error as error:
        raise InputError("not-csv", f"the first line cannot be read as CSV: {error}") from None
    if not any(header):
        raise InputError("no-header", "the file has no header line that names its columns")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError("column-twice", f"the header names a column twice: {', '.join(twice)}")
    return header, _rows(reader, source, len(header), delimiter)


def _rows(reader: Iterator[list[str]], source: _Lines, width: int, delimiter: str) -> Iterator[list[str] | BadRow]:
    while True:
        source.begin_row()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # A cell grows too large mostly because the quote that it begins with is never closed.
            yield BadRow(f"the row cannot be read as CSV: {error}", _plainly_split(source.first_of_row(), delimiter))
            continue
        if cells is None:
            return
        if source.row_has_no_end:
            yield BadRow("a quote in the row is never closed", _plainly_split(source.first_of_row(), delimiter))
        elif len(cells) == width:
            yield cells
        elif cells:
            yield BadRow(f"the row has {len(cells)} cells and the header {width}", cells)


def _plainly_split(line: str, delimiter: str) -> list[str]:
    """The cells of a row whose quotes cannot be trusted, as they are."""
    return line.rstrip("\r\n").split(delimiter)
