"""Rows of a CSV file with known columns, such as a calendar or a list of codes. Pure; they may mean anything."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

from jianguan.errors import ConfigurationError


def table_rows(lines: Iterable[str], where: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(`where:line`, value by column) of each row, without white space around values; a cell that lacks is empty, other
    columns are left out. ConfigurationError names `where`, and the line if it is one's fault."""
    reader = csv.DictReader(lines)
    try:
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise ConfigurationError(f"{where}: the columns {', '.join(sorted(missing))} are missing")
        for row in reader:
            yield f"{where}:{reader.line_num}", {column: (row[column] or "").strip() for column in columns}
    except csv.Error as error:
        raise ConfigurationError(f"{where}:{reader.reader.line_num}: {error}") from error
