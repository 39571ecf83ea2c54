"""The departments that rules may name: a list in departments.yaml, with names in both languages.

It must not know rules. Departments' addresses and keys are settings of the webhooks, not kept here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from rules.loader import Document, load, parse

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Department(NamedTuple):
    id: str
    zh: str
    en: str


class Departments:
    """Departments by id, in the order of the file."""

    def __init__(self, rows: dict[str, Department]) -> None:
        self._rows = dict(rows)

    @classmethod
    def load(cls, path: Path | None = None) -> Departments:
        """The packaged list, or the operator's own. SourceError with line and column."""
        return cls(_read(load(path))) if path is not None else _packaged()

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._rows

    def __iter__(self) -> Iterator[Department]:
        return iter(self._rows.values())

    def ids(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def name(self, identifier: str, language: str = "zh") -> str:
        """The name in `zh` or `en`; the id itself when it is unknown."""
        row = self._rows.get(identifier)
        if row is None:
            return identifier
        return row.en if language == "en" else row.zh


@cache
def _packaged() -> Departments:
    text = (resources.files("rules") / "departments.yaml").read_text(encoding="utf-8")
    return Departments(_read(parse(text, "rules/departments.yaml")))


def _read(document: Document) -> dict[str, Department]:
    value = document.value
    if not isinstance(value, dict):
        raise document.error((), "is a mapping of department ids to names")
    rows: dict[str, Department] = {}
    for identifier, names in value.items():
        if not _SLUG.fullmatch(identifier):
            raise document.error((identifier,), f"{identifier!r} is not a slug", "a-z, 0-9, dashes", key=True)
        if not isinstance(names, dict) or set(names) != {"zh", "en"}:
            raise document.error((identifier,), "a department has exactly the names zh and en")
        rows[identifier] = Department(identifier, str(names["zh"]), str(names["en"]))
    return rows
