"""Reads a mapping from YAML and says with file, line and column what is wrong with it.

`parse_mapping` is pure; `load_mapping` reads files. What a mapping means is in `model` and `apply`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jianguan.domain.contract import MODELS, Reporter
from jianguan.errors import SourceError
from jianguan.mappings.model import (
    Column,
    Flags,
    Form,
    Join,
    Lookup,
    Mapping,
    Refusal,
    Value,
    required_fields,
    simple_fields,
)
from jianguan.yaml_map import PathTuple, PositionMap, load_yaml

_TOP: Final = (
    "mapping description source kind historical zone csv joins refuse_when fields".split()  # noqa: SIM905
)
_ORIGINS: Final = ("column", "constant", "template", "first")
_SHAPING: Final = ("strip", "missing", "number", "case", "lookup", "lookup_file", "slug", "default", "required")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_LOOKUP_ROWS: Final = 100_000

ReadTable = Callable[[str], str]


def library_names() -> list[str]:
    """The names of the mappings that come with the package."""
    folder = resources.files(__package__) / "library"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


def load_mapping(name_or_path: str) -> Mapping:
    """The shipped mapping of that name, or the one in that file. SourceError."""
    if name_or_path in library_names():
        folder = resources.files(__package__) / "library"
        file = folder / f"{name_or_path}.yaml"
        return parse_mapping(
            file.read_text("utf-8"), f"{name_or_path}.yaml", lambda name: (folder / name).read_text("utf-8")
        )
    path = Path(name_or_path)
    if not path.is_file():
        near = get_close_matches(name_or_path, library_names(), 1)
        hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(library_names())}"
        raise SourceError("there is no such mapping, neither shipped nor a file", name_or_path, hint=hint)
    return parse_mapping(_read(path), name_or_path, lambda name: _read(path.parent / name))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"the file is not UTF-8: byte {error.start} cannot be read", str(path)) from None
    except OSError as error:
        raise SourceError(f"the file cannot be read: {error.strerror}", str(path)) from None


def parse_mapping(text: str, path: str, read_table: ReadTable | None = None) -> Mapping:
    """The mapping in `text`. `read_table` gives the text of a `lookup_file` by its name. SourceError."""
    document, positions = load_yaml(text, path)
    return _Parser(positions, read_table).mapping(document)


class _Parser:
    def __init__(self, positions: PositionMap, read_table: ReadTable | None) -> None:
        self.positions = positions
        self.read_table = read_table
        self.zone: ZoneInfo | None = None
        self.joins: dict[str, Join] = {}

    # Small readers of one kind of node each.

    def fail(self, message: str, at: PathTuple, hint: str = "", *, key: bool = False) -> SourceError:
        return self.positions.error(message, at, hint, key=key)

    def table(self, value: Any, at: PathTuple, allowed: Collection[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail("here must stand a table of keys and values", at)
        for name in value:
            if allowed is not None and name not in allowed:
                near = get_close_matches(name, list(allowed), 1)
                hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(sorted(allowed))}"
                raise self.fail(f"{name} is not known here", (*at, name), hint, key=True)
        return value

    def text(self, value: Any, at: PathTuple) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.fail("here must stand a text", at, "quote it" if value is not None else "")
        return value

    def scalar(self, value: Any, at: PathTuple) -> str:
        """A text, or a number that was written where a text is meant."""
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            return str(value)
        raise self.fail("here must stand a text or a number", at)

    def flag(self, value: Any, at: PathTuple) -> bool:
        if not isinstance(value, bool):
            raise self.fail("here must stand true or false", at)
        return value

    def texts(self, value: Any, at: PathTuple) -> list[str]:
        items = value if isinstance(value, list) else [value]
        return [self.scalar(item, (*at, index)) for index, item in enumerate(items)]

    def choice(self, value: Any, allowed: Collection[str], at: PathTuple) -> str:
        if value not in allowed:
            raise self.fail(f"here must stand one of {', '.join(allowed)}", at)
        return str(value)

    # The parts of a mapping.

    def mapping(self, document: Any) -> Mapping:
        top = self.table(document, (), _TOP)
        for name in ("mapping", "source", "kind", "fields"):
            if name not in top:
                raise self.fail(f"the mapping lacks {name}", ())
        kind = self.choice(top["kind"], list(MODELS), ("kind",))
        self.zone = self._zone(top["zone"], ("zone",)) if "zone" in top else None
        for name, join in self.table(top.get("joins") or {}, ("joins",)).items():
            self.joins[name] = self._join(name, join, ("joins", name))
        options = self.table(top.get("csv") or {}, ("csv",), ("delimiter", "encoding"))
        fields = self._fields(top["fields"], kind)
        return Mapping(
            name=self.text(top["mapping"], ("mapping",)),
            description=str(top.get("description") or ""),
            source=self.text(top["source"], ("source",)),
            kind=kind,
            historical=self.flag(top.get("historical", False), ("historical",)),
            delimiter=self._delimiter(options),
            encoding=self._encoding(options),
            refusals=tuple(self._refusals(top.get("refuse_when") or [])),
            joins=self.joins,
            positions=self.positions,
            **fields,
        )

    def _fields(self, value: Any, kind: str) -> dict[str, Any]:
        forms = simple_fields(kind)
        composed = [
            name for name in ("enterprise", "position", "reporter", "tags") if name in MODELS[kind].model_fields
        ]
        fields = self.table(value, ("fields",), [*forms, *composed])
        for name in required_fields(kind):
            if name not in fields:
                raise self.fail(f"the fields lack {name}, which every {kind} has", ("fields",))
        at: PathTuple = ("fields",)
        enterprise = dict(self.table(fields.get("enterprise") or {}, (*at, "enterprise"), ("scheme", "id", "name")))
        scheme = enterprise.pop("scheme", "uscc")
        if not isinstance(scheme, str) or not _SLUG.fullmatch(scheme):
            raise self.fail("the scheme must be a slug, such as us-chi-licence", (*at, "enterprise", "scheme"))
        if enterprise and "id" not in enterprise:
            raise self.fail("an enterprise needs an id", (*at, "enterprise"))
        position = self._group(fields.get("position"), "position", ("latitude", "longitude"), "decimal")
        if len(position) == 1:
            raise self.fail("a position needs latitude and longitude", (*at, "position"))
        return {
            "simple": {
                name: self.value(fields[name], (*at, name), form) for name, form in forms.items() if name in fields
            },
            "enterprise_scheme": scheme,
            "enterprise": self._group(enterprise, "enterprise", ("id", "name"), "text"),
            "position": position,
            "reporter": self._group(fields.get("reporter"), "reporter", list(Reporter.model_fields), "text"),
            "tags": tuple(self._tags(fields.get("tags") or [], (*at, "tags"))),
        }

    def _group(self, value: Any, name: str, allowed: Collection[str], form: Form) -> dict[str, Value]:
        at = ("fields", name)
        table = self.table(value or {}, at, allowed)
        return {key: self.value(inner, (*at, key), form) for key, inner in table.items()}

    def _tags(self, value: Any, at: PathTuple) -> list[Value | Flags]:
        if not isinstance(value, list):
            raise self.fail("tags must be a list", at)
        tags: list[Value | Flags] = []
        for index, item in enumerate(value):
            here = (*at, index)
            if isinstance(item, dict) and "flags" in item:
                table = self.table(item, here, ("flags", "value", "prefix"))
                join = self._known_join(table["flags"], (*here, "flags"))
                wanted = frozenset(self.texts(table.get("value", "1"), (*here, "value")))
                tags.append(Flags(here, join, wanted, str(table.get("prefix") or "")))
            else:
                tags.append(self.value(item, here, "slug"))
        return tags

    def _refusals(self, value: Any) -> list[Refusal]:
        if not isinstance(value, list):
            raise self.fail("refuse_when must be a list", ("refuse_when",))
        refusals = []
        for index, item in enumerate(value):
            at = ("refuse_when", index)
            table = self.table(item, at, ("column", "from", "is", "reason"))
            for name in ("column", "is", "reason"):
                if name not in table:
                    raise self.fail(f"this refusal lacks {name}", at)
            values = frozenset(self.texts(table["is"], (*at, "is")))
            refusals.append(Refusal(at, self._column(table, at), values, self.text(table["reason"], (*at, "reason"))))
        return refusals

    def _join(self, name: str, value: Any, at: PathTuple) -> Join:
        table = self.table(value, at, ("key", "column"))
        if "key" not in table:
            raise self.fail("a join needs key: the column of the mapped file", at)
        key = self.text(table["key"], (*at, "key"))
        return Join(at, name, key, self.text(table.get("column", key), (*at, "column")))

    def _known_join(self, value: Any, at: PathTuple) -> str:
        if value not in self.joins:
            raise self.fail(f"there is no join {value}", at, f"declared are {', '.join(self.joins) or 'none'}")
        return str(value)

    def _column(self, table: dict[str, Any], at: PathTuple) -> Column:
        name = self.scalar(table["column"], (*at, "column"))
        return Column(name, self._known_join(table["from"], (*at, "from")) if "from" in table else "")

    # One value.

    def value(self, value: Any, at: PathTuple, form: Form) -> Value:
        extra = {"date": ("date", "zone"), "fen": ("unit",)}.get(form, ())
        table = self.table(value, at, (*_ORIGINS, "from", "with", *_SHAPING, *extra))
        origins = [name for name in _ORIGINS if name in table]
        if len(origins) != 1:
            raise self.fail("a value comes from exactly one of column, constant, template and first", at)
        for name, owner in (("from", "column"), ("with", "template")):
            if name in table and origins != [owner]:
                raise self.fail(f"{name} belongs to {owner}", (*at, name), key=True)
        return Value(
            at=at,
            column=self._column(table, at) if "column" in table else None,
            constant=self.scalar(table["constant"], (*at, "constant")) if "constant" in table else None,
            template=self._template(table, at) if "template" in table else (),
            first=self._first(table["first"], (*at, "first")) if "first" in table else (),
            strip=self.flag(table.get("strip", True), (*at, "strip")),
            missing=frozenset(self.texts(table.get("missing", []), (*at, "missing"))),
            number=self.flag(table.get("number", False), (*at, "number")),
            case=self.choice(table["case"], ("lower", "upper", "title"), (*at, "case")) if "case" in table else None,  # type: ignore[arg-type]
            lookup=self._lookup(table, at),
            slug=self.flag(table.get("slug", form == "slug"), (*at, "slug")),
            default=self.scalar(table["default"], (*at, "default")) if "default" in table else None,
            required=self.flag(table.get("required", False), (*at, "required")),
            unit=self.choice(table.get("unit", "fen"), ("fen", "yuan"), (*at, "unit")),  # type: ignore[arg-type]
            formats=self._formats(table, at) if form == "date" else (),
            zone=self._zone(table["zone"], (*at, "zone")) if "zone" in table else self.zone,
        )

    def _template(self, table: dict[str, Any], at: PathTuple) -> tuple[str | Value, ...]:
        text = self.text(table["template"], (*at, "template"))
        named = self.table(table.get("with") or {}, (*at, "with"))
        if "{" in _PLACEHOLDER.sub("", text) or "}" in _PLACEHOLDER.sub("", text):
            raise self.fail("a brace is open or closed alone", (*at, "template"), "a template has no other braces")
        parts: list[str | Value] = []
        used = set()
        for index, piece in enumerate(_PLACEHOLDER.split(text)):
            if index % 2 == 0:
                parts += [piece] if piece else []
            elif piece in named:
                used.add(piece)
                parts.append(self.value(named[piece], (*at, "with", piece), "text"))
            elif piece.strip():
                parts.append(Value((*at, "template"), column=Column(piece)))
            else:
                raise self.fail("an empty pair of braces names no column", (*at, "template"))
        unused = next((name for name in named if name not in used), None)
        if unused is not None:
            raise self.fail(f"the template does not use {unused}", (*at, "with", unused), key=True)
        return tuple(parts)

    def _first(self, value: Any, at: PathTuple) -> tuple[Value, ...]:
        if not isinstance(value, list) or not value:
            raise self.fail("first must be a list of values", at)
        return tuple(self.value(item, (*at, index), "text") for index, item in enumerate(value))

    def _lookup(self, table: dict[str, Any], at: PathTuple) -> Lookup | None:
        if "lookup" in table and "lookup_file" in table:
            raise self.fail("there can be a lookup or a lookup_file", (*at, "lookup_file"), key=True)
        if "lookup_file" in table:
            where: PathTuple = (*at, "lookup_file")
            return self._lookup_table(self._lookup_rows(self.text(table["lookup_file"], where), where), where)
        if "lookup" not in table:
            return None
        where = (*at, "lookup")
        rows = self.table(table["lookup"], where)
        return self._lookup_table({key: self.scalar(value, (*where, key)) for key, value in rows.items()}, where)

    def _lookup_rows(self, name: str, at: PathTuple) -> dict[str, str]:
        if self.read_table is None:
            raise self.fail("this mapping cannot read files", at)
        if Path(name).name != name or name in (".", ".."):
            raise self.fail("the file must lie beside the mapping: a name without folders", at)
        rows: dict[str, str] = {}
        for number, cells in enumerate(csv.reader(self.read_table(name).splitlines()), 1):
            if len(cells) != 2 or number > _MAX_LOOKUP_ROWS:
                raise self.fail(f"line {number} of {name} is not two cells: a text and what it becomes", at)
            rows[cells[0].strip()] = cells[1].strip()
        return rows

    def _lookup_table(self, rows: dict[str, str], at: PathTuple) -> Lookup:
        """Case is ignored: lists of codes are typed by people. `*` alone is what is used otherwise."""
        if not rows:
            raise self.fail("the table is empty", at)
        folded = {key.casefold(): value for key, value in rows.items()}
        otherwise = folded.pop("*", None)
        prefixes = sorted(
            ((key[:-1], value) for key, value in folded.items() if key.endswith("*")), key=lambda p: -len(p[0])
        )
        exact = {key: value for key, value in folded.items() if not key.endswith("*")}
        return Lookup(exact, tuple(prefixes), otherwise, ignore_case=True)

    def _formats(self, table: dict[str, Any], at: PathTuple) -> tuple[str, ...]:
        formats = tuple(self.texts(table.get("date", "iso"), (*at, "date")))
        for index, each in enumerate(formats):
            if each != "iso" and "%" not in each:
                raise self.fail(f"{each} is no date format", (*at, "date", index), "iso, or such as %d/%m/%Y %H:%M")
        if any("%z" not in each for each in formats) and "zone" not in table and self.zone is None:
            raise self.fail("a date needs a zone", at, "say zone: Asia/Shanghai at the top of the mapping")
        return formats

    def _zone(self, value: Any, at: PathTuple) -> ZoneInfo:
        try:
            return ZoneInfo(self.text(value, at))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise self.fail(f"{value} is no time zone", at, "such as Asia/Shanghai or America/Chicago") from None

    def _delimiter(self, options: dict[str, Any]) -> str:
        value = self.scalar(options.get("delimiter", ","), ("csv", "delimiter"))
        if len(value) != 1 or value in '\r\n" ':
            raise self.fail("the delimiter is one character", ("csv", "delimiter"), 'such as ";" or "\\t"')
        return value

    def _encoding(self, options: dict[str, Any]) -> str:
        allowed = ("utf-8", "gb18030", "latin-1")
        return self.choice(options.get("encoding", "utf-8"), allowed, ("csv", "encoding"))
