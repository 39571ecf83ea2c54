"""Trees of codes: regions, industries, and whatever else is classified by a published list.

A code is written `tree:code` (`cn:310115`, `us-chi:ward-20`). This module reads lists of codes and answers what is
inside what. It must not know which country's lists there are, nor anything about events or rules.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, cast

from jianguan.domain.csv_table import table_rows
from jianguan.errors import ConfigurationError, InputError

Language = Literal["zh", "en"]

COLUMNS = ("code", "parent", "level", "name_zh", "name_en", "valid_from", "valid_until")
_FULL_CODE = re.compile(r"[a-z][a-z0-9-]{0,31}:(\*|[^\s:*]{1,64})")
_REMEMBERED: Final = 20_000
_LONGEST_QUOTE = 40


@dataclass(frozen=True, slots=True)
class Code:
    """One row of a list.

    `parent` is "" at the root of a tree. In force on every day d with valid_from <= d < valid_until; None is open.
    A row whose code is `tree:*` says that the tree is open: any well-formed code is known, below that row's parent
    and at its level.
    """

    code: str
    parent: str
    level: str
    name_zh: str
    name_en: str = ""
    valid_from: date | None = None
    valid_until: date | None = None

    def in_force(self, on: date) -> bool:
        return (self.valid_from is None or self.valid_from <= on) and (
            self.valid_until is None or on < self.valid_until
        )


def quoted(value: str) -> str:
    """`value` for an error message: one line and never long."""
    text = value if len(value) <= _LONGEST_QUOTE else value[:_LONGEST_QUOTE] + "…"
    return repr(text)


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common from the left."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def read_codes(lines: Iterable[str], where: str) -> tuple[Code, ...]:
    """Rows of a CSV file with the columns COLUMNS. ConfigurationError names `where` and the line."""
    return tuple(_row(value, place) for place, value in table_rows(lines, where, COLUMNS))


def _row(value: dict[str, str], where: str) -> Code:
    for column in ("code", "parent"):
        if value[column] and not _FULL_CODE.fullmatch(value[column]):
            raise ConfigurationError(f"{where}: {column} {quoted(value[column])} is not of the form tree:code")
    if not value["code"] or not value["level"] or not value["name_zh"]:
        raise ConfigurationError(f"{where}: code, level and name_zh must not be empty")
    try:
        start, end = (
            date.fromisoformat(value[column]) if value[column] else None for column in ("valid_from", "valid_until")
        )
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}; write dates as 2025-01-31") from error
    if start and end and start >= end:
        raise ConfigurationError(f"{where}: valid_until must be after valid_from")
    names = value["name_zh"], value["name_en"]
    return Code(value["code"], value["parent"], value["level"], *names, valid_from=start, valid_until=end)


@cache
def packaged_codes(name: str) -> tuple[Code, ...]:
    """The rows of a list that ships with the package; read once."""
    text = (resources.files("jianguan.domain") / "data" / name).read_text(encoding="utf-8")
    return read_codes(text.splitlines(), name)


def codes_from(path: Path) -> tuple[Code, ...]:
    """The rows of an operator's own list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the list of codes {path} cannot be read: {error}") from error
    return read_codes(text.splitlines(), str(path))


class _Spellings(dict[Any, Any]):
    """The one spelling of a code by any that was asked for: a look-up in C, as every event needs two."""

    def __init__(self, spell: Callable[[str], str], codes: Iterable[str]) -> None:
        super().__init__({code: code for code in codes})
        self[None] = None
        self._spell = spell
        self._most = len(self) + _REMEMBERED

    def __missing__(self, code: str) -> str:
        spelled = self._spell(code)
        if len(self) < self._most:
            self[code] = spelled
        return spelled


class CodeTree:
    """All trees of one kind. Never changes after it is made; methods take normalised codes unless they say so."""

    kind = "code"
    home = ""  # The tree whose codes may be written without it.

    def __init__(self, rows: Iterable[Code]) -> None:
        """Later rows replace earlier ones of the same code. ConfigurationError on an unknown parent or a circle."""
        self._rows = {row.code: row for row in rows}
        self._open = {code.partition(":")[0]: row for code, row in self._rows.items() if code.endswith(":*")}
        for row in self._open.values():
            del self._rows[row.code]
        self._lineage: dict[str, tuple[str, ...]] = {}
        for code in self._rows:
            self._lineage[code] = tuple(self._climb(code))
        for row in self._open.values():
            if row.parent not in self._rows:
                raise ConfigurationError(f"{self.kind} {row.code}: its parent {row.parent!r} is not in the list")
        self._spellings = _Spellings(self._spell, self._rows)
        self._folded = {code.casefold(): code for code in self._rows}
        self._sorted = sorted(self._rows)
        self._near = sorted(self._folded)
        self._named: dict[str, list[str]] = {}
        for row in self._rows.values():
            for name in {row.name_zh, row.name_en} - {""}:
                self._named.setdefault(name, []).append(row.code)
        self._children: dict[str, list[str]] = {}
        for code in self._sorted:
            self._children.setdefault(self._rows[code].parent, []).append(code)

    def _climb(self, code: str) -> Iterator[str]:
        seen: set[str] = set()
        while code:
            if code in seen:
                raise ConfigurationError(f"{self.kind} {code} is its own ancestor")
            if code not in self._rows:
                raise ConfigurationError(f"{self.kind} {code!r} is a parent but not in the list")
            seen.add(code)
            yield code
            code = self._rows[code].parent

    # -- what comes from outside

    def normalise(self, code: str, field: str = "") -> str:
        """The one spelling of a code as people write it. InputError `unknown-<kind>` with the nearest known code."""
        try:
            return cast(str, self._spellings[code])
        except InputError as error:
            error.field = field
            raise

    def normalise_all(self, codes: Iterable[str | None]) -> list[str | None]:
        """`normalise` for each code; None stays None."""
        return list(map(self._spellings.__getitem__, codes))

    def _spell(self, code: str) -> str:
        text = unicodedata.normalize("NFKC", code).strip()
        spelled = self._full(text)
        known = self._folded.get(spelled.casefold())
        if known is not None:
            return known
        if self._row_of(spelled) is not None:
            return spelled
        raise InputError(f"unknown-{self.kind}", f"{quoted(code)} is no known {self.kind}{self._hint(text)}")

    def _full(self, text: str) -> str:
        """`tree:code`, the tree in small letters; the home tree for a code that can stand without one."""
        tree, colon, rest = (part.strip() for part in text.partition(":"))
        if not colon:
            code = self._at_home(text.upper())
            return f"{self.home}:{code}" if code else f"{text}:"
        tree = tree.lower()
        code = self._at_home(rest.upper()) if tree == self.home else ""
        return f"{tree}:{code or rest}"

    def _at_home(self, text: str) -> str:
        """The code, without its tree, that a text in capitals stands for in the home tree; "" if for none."""
        return ""

    def _unlisted(self, code: str) -> Code | None:
        """What is known of a code that no list has: it may belong to an open tree."""
        if not self._open or not _FULL_CODE.fullmatch(code):
            return None
        tree, _, rest = code.partition(":")
        opened = self._open.get(tree)
        return Code(code, opened.parent, opened.level, rest) if opened else None

    def _row_of(self, code: str) -> Code | None:
        return self._rows.get(code) or self._unlisted(code)

    def _hint(self, text: str) -> str:
        named = self._named.get(text, [])[:3]
        if named:
            return f"; by that name there is {', '.join(named)}"
        spelled = self._full(text).casefold()
        place = bisect_left(self._near, spelled)
        near = self._near[max(place - 1, 0) : place + 1]
        best = self._folded[max(near, key=lambda code: _shared(code, spelled))] if near else ""
        if _shared(best.casefold(), spelled) <= best.find(":") + 1:
            return f"; write it as tree:code, trees are {', '.join(self.trees())}"
        return f"; the nearest is {best} {self._rows[best].name_zh}"

    # -- what is in the list

    def known(self, code: str, on: date | None = None) -> bool:
        """Whether a normalised code is in a list; with `on`, whether it was in force on that day."""
        row = self._row_of(code)
        return row is not None and (on is None or row.in_force(on))

    def row(self, code: str) -> Code:
        """All that the list says of a code. InputError if it is not known."""
        row = self._row_of(code)
        if row is None:
            raise InputError(f"unknown-{self.kind}", f"{quoted(code)} is no known {self.kind}{self._hint(code)}")
        return row

    def level(self, code: str) -> str:
        return self.row(code).level

    def name(self, code: str, language: Language = "zh") -> str:
        """The name in a language; the Chinese one where there is no English one."""
        row = self.row(code)
        return (row.name_en or row.name_zh) if language == "en" else row.name_zh

    def trees(self) -> tuple[str, ...]:
        return tuple(sorted({code.partition(":")[0] for code in self._rows}))

    def codes(self, tree: str = "", level: str = "", on: date | None = None) -> Iterator[str]:
        """Listed codes in order, narrowed by tree, by level and to those in force on a day."""
        for code in self._sorted:
            row = self._rows[code]
            asked = (not tree or code.startswith(f"{tree}:")) and (not level or row.level == level)
            if asked and (on is None or row.in_force(on)):
                yield code

    def names_zh(self) -> Collection[str]:
        return frozenset(row.name_zh for row in self._rows.values())

    # -- what is inside what

    def parent(self, code: str) -> str | None:
        """The code one level up, None at a root."""
        lineage = self.lineage(code)
        return lineage[1] if len(lineage) > 1 else None

    def ancestors(self, code: str) -> tuple[str, ...]:
        """From the parent up to the root; empty at a root."""
        return self.lineage(code)[1:]

    def lineage(self, code: str) -> tuple[str, ...]:
        """The code itself, then its ancestors."""
        lineage = self._lineage.get(code)
        return (code, *self.lineage(self.row(code).parent)) if lineage is None else lineage

    def children(self, code: str) -> Sequence[str]:
        """The listed codes one level down, in order."""
        return tuple(self._children.get(code, ()))

    def within(self, child: str, ancestor: str) -> bool:
        """Whether `child` is `ancestor` or inside it. Never raises: an unknown code is inside nothing but itself."""
        lineage = self._lineage.get(child)
        if lineage is not None:
            return ancestor in lineage
        row = self._unlisted(child)
        return child == ancestor or (row is not None and self.within(row.parent, ancestor))

    def inside(self, ancestor: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What `within` says yes to: the listed codes, with `ancestor` itself, and how the unlisted ones begin;
        others may begin so too."""
        listed = tuple(code for code in self._sorted if ancestor in self._lineage[code])
        opened = tuple(
            f"{tree}:" for tree, row in sorted(self._open.items()) if ancestor in self._lineage.get(row.parent, ())
        )
        return listed if ancestor in self._lineage else (ancestor, *listed), opened

    def at_level(self, code: str, level: str) -> str | None:
        """The code or that ancestor of it that stands at a level; None if there is none."""
        for each in self.lineage(code):
            if self.row(each).level == level:
                return each
        return None
