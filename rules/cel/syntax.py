"""What the parser says about an expression that does not parse, in words for whoever wrote it.

It must not know fields or types.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from jianguan.full_width import ascii_of, told

_WORDS: Final = {"and": "&&", "or": "||", "not": "!", "is": "=="}
_SIGNS: Final = {"=": "compare with `==`", "&": "write `&&`", "|": "write `||`", "=>": "write `>=`"}
_WORD: Final = re.compile(r"\w+")
_LAST_WORD: Final = re.compile(r"(\w+)\s*$")
_UNEXPECTED: Final = re.compile(r"(?:mismatched|extraneous) input '(.*?)' expecting (.*)", re.DOTALL)
_MISSING: Final = re.compile(r"missing '(.)' at '(.*)'", re.DOTALL)
_UNKNOWN: Final = re.compile(r"token recognition error at: '(.*)'", re.DOTALL)
_END: Final = "<EOF>"


class Fault(NamedTuple):
    """What is wrong, where in the text, counted from 1, and what to do."""

    message: str
    line: int
    column: int
    hint: str = ""


def explained(said: str, text: str, line: int, column: int) -> Fault:
    """The parser's first complaint about `text`, which it has at `line` and `column`."""
    lines = text.split("\n")
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    before, here = written[: column - 1], written[column - 1 :]
    if ascii_of(here[:1]):
        message, hint = told(here[0])
        return Fault(message, line, column, hint)
    word = _WORD.match(here)
    if word is not None and word[0].lower() in _WORDS:
        return Fault(f"`{word[0]}` is no operator", line, column, f"write `{_WORDS[word[0].lower()]}`")
    last = _LAST_WORD.search(before)
    if last is not None and last[1].lower() == "not":
        return Fault(f"`{last[1]}` is no operator", line, last.start() + 1, "write `!`")
    unknown = _UNKNOWN.fullmatch(said)
    if unknown is not None:
        return _unreadable(unknown[1], line, column)
    found = _MISSING.fullmatch(said)
    if found is not None:
        message = "the expression ends too early" if found[2] == _END else f"`{found[2]}` is not expected here"
        return Fault(message, line, column, f"`{found[1]}` is missing")
    found = _UNEXPECTED.fullmatch(said)
    if found is not None:
        wanted = "" if found[2].startswith("{") or found[2] == _END else f"`{found[2].strip(chr(39))}` is missing"
        if found[1] == _END:
            return Fault("the expression ends too early", line, column, wanted or "something must follow")
        return Fault(f"`{found[1]}` is not expected here", line, column, wanted)
    return Fault(said, line, column)


def _unreadable(token: str, line: int, column: int) -> Fault:
    sign = token.strip()
    if sign in _SIGNS:
        return Fault(f"`{sign}` is no operator", line, column, _SIGNS[sign])
    if sign[:1] in ('"', "'"):
        return Fault("the text that begins here has no end", line, column, f"close it with `{sign[0]}`")
    return Fault(f"`{sign}` cannot be read", line, column, "a text stands in quotes")
