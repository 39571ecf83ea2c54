"""The shape of a mapping, after it was read and checked. It must not know YAML, files or rows."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import Final, Literal
from zoneinfo import ZoneInfo

from jianguan.domain.contract import MODELS
from jianguan.yaml_map import PathTuple, PositionMap

Case = Literal["lower", "upper", "title"]
Form = Literal["text", "slug", "integer", "fen", "decimal", "date"]

_COMPOSED: Final = ("enterprise", "position", "reporter", "tags")
_FIXED: Final = ("kind", "source", "historical")  # said once for the whole file, not by a column
_FORMS: Final[dict[str, Form]] = {
    "category": "slug",
    "channel": "slug",
    "status": "slug",
    "right": "slug",
    "occurred_at": "date",
    "severity": "integer",
    "critical_count": "integer",
    "serious_count": "integer",
    "minor_count": "integer",
    "amount_fen": "fen",
    "penalty_fen": "fen",
    "compensation_fen": "fen",
}


def simple_fields(kind: str) -> dict[str, Form]:
    """The fields of an event of `kind` that one value fills, and the form that the value takes."""
    names = [name for name in MODELS[kind].model_fields if name not in _COMPOSED and name not in _FIXED]
    return {name: _FORMS.get(name, "text") for name in names}


def required_fields(kind: str) -> list[str]:
    """The fields that a mapping to `kind` must fill."""
    return [name for name, info in MODELS[kind].model_fields.items() if info.is_required() and name not in _FIXED]


@dataclass(frozen=True, slots=True)
class Column:
    """A cell: of this file, or of the row of `join` with the same key."""

    name: str
    join: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table of texts. Keys that were written `Noise*` are prefixes; the longest that fits is used."""

    exact: Table[str, str]
    prefixes: tuple[tuple[str, str], ...]
    otherwise: str | None
    ignore_case: bool

    def find(self, text: str) -> str | None:
        """What the table has for `text`, else `otherwise`."""
        wanted = text.casefold() if self.ignore_case else text
        if wanted in self.exact:
            return self.exact[wanted]
        for prefix, value in self.prefixes:
            if wanted.startswith(prefix):
                return value
        return self.otherwise


@dataclass(frozen=True, slots=True)
class Value:
    """Where a text comes from (exactly one of column, constant, template, first) and what is done to it, in order:
    strip, missing, number, case, lookup, slug; `default` stands in when it is missing."""

    at: PathTuple
    column: Column | None = None
    constant: str | None = None
    template: tuple[str | Value, ...] = ()
    first: tuple[Value, ...] = ()
    strip: bool = True
    missing: frozenset[str] = frozenset()
    number: bool = False
    case: Case | None = None
    lookup: Lookup | None = None
    slug: bool = False
    default: str | None = None
    required: bool = False
    unit: Literal["fen", "yuan"] = "fen"
    formats: tuple[str, ...] = ()  # strptime formats, or "iso"
    zone: ZoneInfo | None = None

    def columns(self) -> list[Column]:
        """Every column that this value reads."""
        inner = [part for part in (*self.template, *self.first) if isinstance(part, Value)]
        own = [self.column] if self.column else []
        return own + [column for value in inner for column in value.columns()]


@dataclass(frozen=True, slots=True)
class Flags:
    """One tag for each column of a join whose cell is one of `values`: `prefix` and the column's name."""

    at: PathTuple
    join: str
    values: frozenset[str]
    prefix: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row whose cell is one of `values` is not wanted. It is quarantined with `reason`, never dropped."""

    at: PathTuple
    column: Column
    values: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Join:
    """Rows of a second CSV file: those whose `column` equals this file's `key`, compared as numbers or as texts."""

    at: PathTuple
    name: str
    key: str
    column: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping, checked as far as it can be without a file to map."""

    name: str
    description: str
    source: str
    kind: str
    historical: bool
    delimiter: str
    encoding: str
    simple: Table[str, Value]
    enterprise_scheme: str
    enterprise: Table[str, Value]  # id, name
    position: Table[str, Value]  # latitude, longitude
    reporter: Table[str, Value]
    tags: tuple[Value | Flags, ...]
    refusals: tuple[Refusal, ...]
    joins: Table[str, Join]
    positions: PositionMap = field(repr=False, compare=False)
