"""Turns rows into records: each row gives exactly one, whatever is in it.

A row that cannot be mapped becomes a record that the contract refuses: it holds the row as it was and, as the name of
a field, the column and what is wrong with it. So it ends in quarantine with a reason and is counted, like everything
that comes in. Pure; must not know where rows come from or records go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from jianguan.domain.contract import MODELS
from jianguan.errors import SourceError
from jianguan.mappings.model import Column, Flags, Form, Mapping, Value, required_fields, simple_fields
from jianguan.mappings.rows import BadRow
from jianguan.mappings.shape import REASONS, UnusableError, converter, shaper, slug_of, whole_number

Cells: TypeAlias = Sequence[str]
Evaluate: TypeAlias = Callable[[Cells], str | None]

_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_MAX_PROBLEMS: Final = 3
_MAX_NAME: Final = 60
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row is not an event. `column` and `message` go into the quarantine reason, so they hold no cell's text."""

    column: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """What became of one row: a wire event, or with `problems` a record that will be quarantined."""

    record: dict[str, Any]
    encoded: bytes  # the record as one line of JSON
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class JoinedRows:
    """The rows of a second CSV file by their key. Of several with one key the first is used."""

    header: Sequence[str]
    rows: dict[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, header: Sequence[str], rows: Iterable[Sequence[str] | BadRow], column: str) -> JoinedRows:
        """Indexes `rows` by `column`, which must be in `header`."""
        index = header.index(column)
        result = cls(header)
        for cells in rows:
            if not isinstance(cells, BadRow):
                result.rows.setdefault(_key(cells[index]), cells)
        return result


def _key(text: str) -> str:
    return whole_number(text.strip()) or text.strip()


def bind(mapping: Mapping, header: Sequence[str], joined: Table[str, JoinedRows] | None = None) -> BoundMapping:
    """The mapping for files with this header. SourceError when a column that it names is not there.

    `joined` holds the second files by the name of their join; a join without a file has blank cells.
    """
    return BoundMapping(mapping, header, joined or {})


class BoundMapping:
    """A mapping whose columns were found. `map` is total: one record a row, no exception."""

    def __init__(self, mapping: Mapping, header: Sequence[str], joined: Table[str, JoinedRows]) -> None:
        self.mapping = mapping
        self.header = list(header)
        self._model = MODELS[mapping.kind]
        self._places = {Column(name): index for index, name in enumerate(header)}
        self._joins: list[tuple[int, JoinedRows]] = []
        self._flags: list[tuple[list[tuple[int, str]], frozenset[str]]] = []
        self._bind_joins(joined)
        forms = simple_fields(mapping.kind)
        self._simple = [(name, self._typed(value, forms[name])) for name, value in mapping.simple.items()]
        self._enterprise = [(name, self._typed(value, "text")) for name, value in mapping.enterprise.items()]
        self._position = [(name, self._typed(value, "decimal")) for name, value in mapping.position.items()]
        self._reporter = [(name, self._typed(value, "text")) for name, value in mapping.reporter.items()]
        self._tags = [self._typed(tag, "slug") for tag in mapping.tags if isinstance(tag, Value)]
        self._refusals = [(self._place(each.column, each.at), each) for each in mapping.refusals]
        self._columns = self._columns_by_field()
        # What a record in quarantine keeps, so that its reason names only what is really at fault.
        self._kept = ("number", *required_fields(mapping.kind))

    def map(self, row: Cells | BadRow) -> Mapped:
        """The record of one row."""
        if isinstance(row, BadRow):
            return self._raw(row.cells, {}, [Problem("", "", row.message)])
        cells = self._with_joins(row)
        record: dict[str, Any] = {"kind": self.mapping.kind, "source": self.mapping.source}
        problems = [
            Problem(refusal.column.name, "", refusal.reason)
            for place, refusal in self._refusals
            if cells[place].strip() in refusal.values
        ]
        self._fill(record, self._simple, cells, problems)
        self._compose(record, cells, problems)
        if self.mapping.historical:
            record["historical"] = True
        if not problems:
            try:
                encoded = _encode(record)
            except UnicodeEncodeError:
                return self._raw(row, record, self._not_utf8(record))
            problems = self._refused_by_contract(encoded)
            if not problems:
                return Mapped(record, encoded)
        return self._raw(row, record, problems)

    def _compose(self, record: dict[str, Any], cells: Cells, problems: list[Problem]) -> None:
        enterprise: dict[str, Any] = {}
        self._fill(enterprise, self._enterprise, cells, problems)
        if "id" in enterprise:
            record["enterprise"] = {"scheme": self.mapping.enterprise_scheme, **enterprise}
        position: dict[str, Any] = {}
        known = len(problems)
        self._fill(position, self._position, cells, problems)
        if len(position) == 1 and len(problems) == known:
            problems.append(Problem(self._columns["position"], "position", "latitude or longitude is missing"))
        elif len(position) == 2:
            record["position"] = position
        reporter: dict[str, Any] = {}
        self._fill(reporter, self._reporter, cells, problems)
        if reporter:
            record["reporter"] = reporter
        tags = [
            f"{prefix}" for flags, wanted in self._flags for place, prefix in flags if cells[place].strip() in wanted
        ]
        for evaluate in self._tags:
            try:
                tag = evaluate(cells)
                tags += [tag] if tag is not None else []
            except UnusableError as error:
                problems.append(Problem(error.column, "tags", error.message))
        if tags:
            record["tags"] = list(dict.fromkeys(tags))

    @staticmethod
    def _fill(
        target: dict[str, Any], fields: list[tuple[str, Callable[[Cells], Any]]], cells: Cells, problems: list[Problem]
    ) -> None:
        for name, evaluate in fields:
            try:
                value = evaluate(cells)
            except UnusableError as error:
                problems.append(Problem(error.column, name, error.message))
                continue
            if value is not None:
                target[name] = value

    def _refused_by_contract(self, encoded: bytes) -> list[Problem]:
        try:
            self._model.model_validate_json(encoded)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)
            return [self._problem_of(problem["loc"], problem["msg"]) for problem in first[:_MAX_PROBLEMS]]
        return []

    def _not_utf8(self, record: dict[str, Any]) -> list[Problem]:
        """Bytes that are not the encoding of the file were read as lone surrogates: which fields have some?"""
        names = [name for name, value in record.items() if _SURROGATE.search(json.dumps(value, ensure_ascii=False))]
        message = f"the cell is not {self.mapping.encoding.upper()}"
        return [Problem(self._columns.get(name, ""), name, message) for name in names]

    def _problem_of(self, location: tuple[int | str, ...], message: str) -> Problem:
        name = str(location[0]) if location else ""
        text = "the cell is blank" if message == "Field required" else message[:1].lower() + message[1:]
        return Problem(self._columns.get(name, ""), ".".join(map(str, location)), text)

    def _raw(self, cells: Cells, record: dict[str, Any], problems: list[Problem]) -> Mapped:
        """A record that the contract is sure to refuse: no event has a field of such a name."""
        raw: dict[str, Any] = {"kind": self.mapping.kind, "source": self.mapping.source}
        for name in self._kept:
            if isinstance(record.get(name), str) and not _UNPRINTABLE.search(record[name]):
                raw[name] = record[name]
        for problem in problems[:_MAX_PROBLEMS]:
            where = f"column {problem.column}" if problem.column else "row"
            raw[_clean(f"{where}: {problem.message}")] = problem.field
        raw["row"] = self._by_name(cells)
        return Mapped(raw, _encode(raw), tuple(problems))

    def _by_name(self, cells: Cells) -> dict[str, str]:
        """The cells by their column, those of columns without a name of their own by their number."""
        found: dict[str, str] = {}
        for number, cell in enumerate(cells, 1):
            name = _clean(self.header[number - 1]) if number <= len(self.header) else ""
            found[name if name and name not in found else f"cell {number}"] = _encodable(cell)
        return found

    # Binding: everything below runs once, before the first row.

    def _bind_joins(self, joined: Table[str, JoinedRows]) -> None:
        width = len(self.header)
        for name, rows in joined.items():
            join = self.mapping.joins.get(name)
            if join is None:
                raise SourceError(f"the mapping has no join {name}", self.mapping.positions.path)
            self._joins.append((self._place(Column(join.key), (*join.at, "key")), rows))
            for index, column in enumerate(rows.header):
                self._places[Column(column, name)] = width + index
            width += len(rows.header)
        self._blank = width  # one more cell, always blank: what a join without a file reads
        for tag in self.mapping.tags:
            if isinstance(tag, Flags) and tag.join in joined:
                key = self.mapping.joins[tag.join].column
                names = [name for name in joined[tag.join].header if name != key]
                places = [(self._places[Column(name, tag.join)], slug_of(f"{tag.prefix}{name}")) for name in names]
                self._flags.append(([(place, slug) for place, slug in places if slug], tag.values))

    def _with_joins(self, row: Cells) -> Cells:
        if not self._joins:
            return [*row, ""]
        cells = list(row)
        for place, joined in self._joins:
            found = joined.rows.get(_key(row[place]))
            cells += found if found is not None else [""] * len(joined.header)
        cells.append("")
        return cells

    def _place(self, column: Column, at: tuple[str | int, ...]) -> int:
        place = self._places.get(column)
        if place is not None:
            return place
        if column.join and not any(known.join == column.join for known in self._places):
            return self._blank
        names = [known.name for known in self._places if known.join == column.join]
        near = get_close_matches(column.name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)[:200]}"
        owner = f"the file of the join {column.join}" if column.join else "the file"
        raise self.mapping.positions.error(f"{owner} has no column {column.name}", at, hint)

    def _columns_by_field(self) -> dict[str, str]:
        mapping = self.mapping
        groups = {"enterprise": mapping.enterprise, "position": mapping.position, "reporter": mapping.reporter}
        named = {name: value.columns() for name, value in mapping.simple.items()}
        named |= {
            name: [column for value in group.values() for column in value.columns()] for name, group in groups.items()
        }
        named["tags"] = [column for tag in mapping.tags if isinstance(tag, Value) for column in tag.columns()]
        return {name: ", ".join(column.name for column in columns) for name, columns in named.items()}

    def _typed(self, value: Value, form: Form) -> Callable[[Cells], Any]:
        """Evaluates to what the contract wants in that field: text, whole number, decimal or time."""
        text = self._text(value)
        name = ", ".join(column.name for column in value.columns())
        convert = converter(value, form)

        def evaluate(cells: Cells) -> Any:
            found = text(cells)
            if found is None:
                if value.required:
                    raise UnusableError(name, "the cell is blank")
                return None
            if convert is None:
                return found
            converted = convert(found)
            if converted is None:
                raise UnusableError(name, REASONS[form])
            return converted

        return evaluate

    def _origin(self, value: Value) -> Evaluate:
        if value.column is not None:
            place = self._place(value.column, (*value.at, "column"))
            return lambda cells: cells[place]
        if value.first:
            choices = [self._text(each) for each in value.first]
            return lambda cells: next((text for each in choices if (text := each(cells)) is not None), None)
        if value.template:
            parts = [(part, None) if isinstance(part, str) else ("", self._text(part)) for part in value.template]

            def fill(cells: Cells) -> str | None:
                texts = [literal if evaluate is None else evaluate(cells) for literal, evaluate in parts]
                return None if None in texts else "".join(text for text in texts if text is not None)

            return fill
        return lambda cells: value.constant

    def _text(self, value: Value) -> Evaluate:
        origin = self._origin(value)
        shape = shaper(value)

        def evaluate(cells: Cells) -> str | None:
            text = origin(cells)
            shaped = shape(text) if text is not None else None
            return value.default if shaped is None else shaped

        return evaluate


def _encode(record: dict[str, Any]) -> bytes:
    return _JSON.encode(record).encode("utf-8")


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _clean(name: str) -> str:
    """A name that can stand in a message: printable and not long."""
    return _UNPRINTABLE.sub("?", name)[: _MAX_NAME * 2]
