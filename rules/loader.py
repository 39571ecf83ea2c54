"""A file of the rule library: its values, and where each of them stands, so that every error can point at it.

The YAML itself is read by `jianguan.yaml_map`; here are the limits on files, the position of a text inside quotes
and blocks, and hints. It must not know what a rule is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from jianguan.errors import SourceError
from jianguan.yaml_map import PositionMap, load_yaml

MAX_BYTES: Final = 256 * 1024

Place: TypeAlias = tuple[str | int, ...]
"""The way from the root to a value: ("window", "size")."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's value and the position of everything in it."""

    path: str
    value: Any
    positions: PositionMap
    lines: tuple[str, ...]

    def error(self, place: Place, message: str, hint: str = "", key: bool = False) -> SourceError:
        """An error that points at the value at `place`, at its key, or at the nearest thing that holds it."""
        return self.positions.error(message, place, hint, key=key)

    def text_position(self, place: Place) -> tuple[int, int]:
        """Line and column of the first character of a text: behind its quote, or below its `|`."""
        line, column = self.positions.at(place)
        opening = self.lines[line - 1][column - 1 : column]
        if opening in ("'", '"'):
            return line, column + 1
        if opening in ("|", ">"):
            for number in range(line, len(self.lines)):
                if self.lines[number].strip():
                    return number + 1, len(self.lines[number]) - len(self.lines[number].lstrip()) + 1
        return line, column


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like `word`, or lists a few of them."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    shown = ", ".join(names[:12])
    return f"known: {shown}{', …' if len(names) > 12 else ''}" if names else ""


def load(path: Path) -> Document:
    """The document in `path`. SourceError when it cannot be read, is not UTF-8, or breaks a limit."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SourceError(f"the file has {size} bytes, more than {MAX_BYTES}", str(path), hint="split it")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", str(path)) from error
    except UnicodeDecodeError as error:
        raise not_utf8(error, str(path)) from error
    return parse(text, str(path))


def not_utf8(error: UnicodeDecodeError, path: str) -> SourceError:
    """What to say of a rule file that could not be decoded, at a place that editors can open."""
    return SourceError(f"not UTF-8: byte {error.start} cannot be read", path, 1, 1, "save it as UTF-8")


def parse(text: str, path: str = "") -> Document:
    """The document in `text`; `path` is only for messages."""
    value, positions = load_yaml(text, path)
    return Document(path, value, positions, tuple(text.split("\n")))
