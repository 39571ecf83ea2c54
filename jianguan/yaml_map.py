"""Reads a YAML file that a person wrote and remembers where every value stands.

Pure: text in, plain values and a position map out. It knows nothing of rules or mappings; it only makes sure that
their errors can name a line and a column. Stricter than YAML: one document, no aliases or merge keys, no tags,
text keys only, no key twice, and limits on size, depth and number of values. Plain scalars are read as YAML 1.2
does: only true and false are booleans (`no` is a text), `12:30` and `2024-01-31` are texts, and so is a number
with a leading zero, because that is a code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from jianguan.errors import SourceError
from jianguan.full_width import told

MAX_CHARACTERS: Final = 1_000_000
MAX_DEPTH: Final = 40
MAX_NODES: Final = 100_000

PathTuple: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PositionMap:
    """Where the key and the value of every path stand. Lines and columns count from 1.

    A path is a tuple of keys and list indexes from the root: `("fields", "tags", 0)`; the root is `()`.
    """

    path: str
    values: dict[PathTuple, Position] = field(default_factory=dict)
    keys: dict[PathTuple, Position] = field(default_factory=dict)

    def at(self, path: PathTuple) -> Position:
        """(line, column) of the value at `path`; of its nearest ancestor when there is no such value."""
        return self._nearest(self.values, path)

    def key_at(self, path: PathTuple) -> Position:
        """(line, column) of the key that `path` ends in; of the value when it is an item of a list."""
        return self.keys.get(path) or self.at(path)

    def error(self, message: str, path: PathTuple, hint: str = "", *, key: bool = False) -> SourceError:
        """A SourceError that points at the value at `path`, or with `key` at its key."""
        line, column = self.key_at(path) if key else self.at(path)
        return SourceError(message, self.path, line, column, hint)

    @staticmethod
    def _nearest(positions: dict[PathTuple, Position], path: PathTuple) -> Position:
        while path and path not in positions:
            path = path[:-1]
        return positions.get(path, (1, 1))


def load_yaml(text: str, path: str) -> tuple[Any, PositionMap]:
    """The value of one YAML document and the position of everything in it.

    Values are None, bool, int, float, str, list and dict with text keys; a YAML date stays the text that was
    written. `path` is the file's name for messages only. Raises SourceError for anything else.
    """
    if len(text) > MAX_CHARACTERS:
        raise SourceError(f"the file has more than {MAX_CHARACTERS:,} characters", path, hint="split it")
    positions = PositionMap(path)
    loader: Any = yaml.SafeLoader(_checked_characters(text, path))
    try:
        return _build_document(loader, positions), positions
    except yaml.MarkedYAMLError as error:
        raise _explained(error, text, path) from None
    except yaml.YAMLError as error:
        raise SourceError(f"not valid YAML: {error}", path, 1, 1) from None
    finally:
        loader.dispose()


def _explained(error: yaml.MarkedYAMLError, text: str, path: str) -> SourceError:
    """What the parser says, at the place where the cause of it most likely is."""
    problem = error.problem or error.context or ""
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.split("\n")
    # The parser notices on a later line that a key had no colon.
    before = next((number for number in range(line - 1, 0, -1) if lines[number - 1].strip()), line)
    for number in dict.fromkeys((begun.line + 1 if begun else line, line, before)):
        found = _WIDE_KEY.match(lines[number - 1]) if number <= len(lines) else None
        if found:
            message, hint = told(found[1][-1])
            hint += " and a space" if found[1] == "：" else ""
            return SourceError(message, path, number, found.end(1), hint)
    if begun and problem.startswith("could not find expected ':'"):
        found = _TIGHT_KEY.match(lines[begun.line])
        if found:
            message = "a colon behind a key needs a space"
            return SourceError(message, path, begun.line + 1, found.end(), "write a space behind it")
    here = lines[line - 1] if line <= len(lines) else ""
    wide = list(_WIDE_SIGN.finditer(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), here[:column])))
    if wide and problem.startswith("expected ',' or"):
        message, hint = told(wide[-1][0])
        return SourceError(message, path, line, wide[-1].start() + 1, hint)
    if "'\\t'" in problem:
        return SourceError("a tab cannot begin anything here", path, line, column, "indent with spaces")
    tagged = _TAGGED.match(here)
    if tagged:
        message = "YAML reads what begins with ! as a tag"
        return SourceError(message, path, line, tagged.end(), "put the whole text in quotes")
    hint = "put the whole text in quotes" if problem.startswith("mapping values are not allowed") else ""
    return SourceError(f"not valid YAML: {problem}", path, line, column, hint)


def _checked_characters(text: str, path: str) -> str:
    match = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if match:
        before = text[: match.start()]
        line, column = before.count("\n") + 1, match.start() - (before.rfind("\n") + 1) + 1
        raise SourceError(f"the character U+{ord(match.group()):04X} is not allowed in YAML", path, line, column)
    return text


def _build_document(loader: Any, positions: PositionMap) -> Any:
    """Builds values straight from the parser's events: depth is ours to limit, and no alias is ever expanded."""
    builder = _Builder(loader, positions)
    loader.get_event()  # stream start
    if loader.check_event(yaml.StreamEndEvent):
        return None
    loader.get_event()  # document start
    value = builder.value((), 0)
    loader.get_event()  # document end
    if not loader.check_event(yaml.StreamEndEvent):
        mark = loader.peek_event().start_mark
        raise SourceError("a second document begins here", positions.path, mark.line + 1, mark.column + 1)
    return value


def _position(event: yaml.Event) -> Position:
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1


class _Builder:
    def __init__(self, loader: Any, positions: PositionMap) -> None:
        self.loader = loader
        self.positions = positions
        self.nodes = 0

    def fail(self, event: yaml.Event, message: str, hint: str = "") -> SourceError:
        return SourceError(message, self.positions.path, *_position(event), hint)

    def value(self, path: PathTuple, depth: int) -> Any:
        event = self.loader.get_event()
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.fail(event, f"the file holds more than {MAX_NODES:,} values", "split it")
        if depth > MAX_DEPTH:
            raise self.fail(event, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            raise self.fail(event, f"the alias *{event.anchor} is not allowed", "write the value again")
        self.positions.values[path] = _position(event)
        if getattr(event, "anchor", None):
            raise self.fail(event, f"the anchor &{event.anchor} is not allowed", "write the value again")
        if getattr(event, "tag", None):
            raise self.fail(
                event, f"the tag {event.tag} is not allowed", "leave it out, or put the whole text in quotes"
            )
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path, depth)
        return self.mapping(path, depth)

    def sequence(self, path: PathTuple, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self.loader.check_event(yaml.SequenceEndEvent):
            items.append(self.value((*path, len(items)), depth + 1))
        self.loader.get_event()
        return items

    def mapping(self, path: PathTuple, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not self.loader.check_event(yaml.MappingEndEvent):
            event = self.loader.get_event()
            if not isinstance(event, yaml.ScalarEvent):
                raise self.fail(event, "a key must be a text")
            if event.tag or event.anchor:
                raise self.fail(event, "a key must be a plain text, without a tag or an anchor")
            key = event.value
            if key == "<<" and event.implicit[0]:
                raise self.fail(event, "the merge key << is not allowed", "write the values out")
            if key in result:
                first = self.positions.keys[(*path, key)][0]
                raise self.fail(event, f"the key {key!r} is here twice", f"it is first on line {first}")
            self.positions.keys[(*path, key)] = _position(event)
            result[key] = self.value((*path, key), depth + 1)
        self.loader.get_event()
        return result

    def scalar(self, event: yaml.ScalarEvent) -> bool | int | float | str | None:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > _MAX_DIGITS:
                raise self.fail(event, f"the number {text[:_MAX_DIGITS]}… is too large", "quote it if it is a code")
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text)
        return text


_WIDE_KEY: Final = re.compile(r" *(?:- +)*[A-Za-z_][A-Za-z0-9_.-]* *(：|:[\u00a0\u3000])")
_TIGHT_KEY: Final = re.compile(r" *(?:- +)*[A-Za-z_][A-Za-z0-9_.-]*:(?=\S)")
_WIDE_SIGN: Final = re.compile("[，：、]")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_TAGGED: Final = re.compile(r" *(?:- +)*[A-Za-z_][A-Za-z0-9_.-]*: +!")
_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_DIGITS: Final = 18
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9](_?[0-9])*)")
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30}([eE][-+]?[0-9]{1,2})?|[eE][-+]?[0-9]{1,2})")
