"""Splits an upload into records without judging them. Pure: bytes in, bytes out.

Each record keeps its own bytes, so that what is quarantined is what was sent. An upload may be large and of any shape:
the work is done in slices, by a generator that gives way between them and returns what was found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from dashboards.slices import Slices
from jianguan.domain.contract import TOPIC_OF_KIND, CloudEvent

Mode = Literal["json", "lines", "cloudevent", "cloudevents"]

JSON: Final = "application/json"
CLOUD_EVENT: Final = "application/cloudevents+json"
MODES: Final[dict[str, Mode]] = {
    JSON: "json",
    "application/x-ndjson": "lines",
    "application/ndjson": "lines",
    "application/jsonl": "lines",
    CLOUD_EVENT: "cloudevent",
    "application/cloudevents-batch+json": "cloudevents",
}
DEFAULT_TOPIC: Final = "complaints"  # of what cannot be read: it ends in quarantine, whichever topic it came by

_BLANK: Final = b" \t\r\n"
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_COMMAS: Final = 64  # of one row; what has more in the mean is looked through before an object is made of each row
_AT_ONCE: Final = 1024 * 1024  # bytes of an upload that is looked through as a whole
_SLICE_BYTES: Final = 256 * 1024  # looked at between two turns of others, or as many pieces:
_SLICE_PIECES: Final = 2_000
_TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING: Final = re.compile(_TEXT, re.DOTALL)
_BETWEEN: Final = re.compile(rb'(?:[^"\[\]{},]++|' + _TEXT + rb")*+", re.DOTALL)  # in the array itself
_WITHIN: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _TEXT + rb")*+", re.DOTALL)  # in a row
_QUOTE, _COMMA, _MARKS = b'"'[0], b","[0], b",[]{}"
_TOPIC_OF_TYPE: Final = {name: TOPIC_OF_KIND[kind] for name, kind in CloudEvent.TYPES.items()}


@dataclass(frozen=True, slots=True)
class Frames:
    """The records of one upload. `fault` says why it is one record though it should be several."""

    rows: list[bytes]
    fault: str = ""


class _Peek(msgspec.Struct):
    kind: object = None
    type: object = None


_PEEK = msgspec.json.Decoder(_Peek)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes, mode: Mode, most: int, largest: int) -> Slices[Frames]:
    """The records of `body`. Blank lines are no records. Of more than `most` only the first `most` + 1 are given: rows
    may be so small that all of them take a hundred times the memory of the body. A row that, with the blanks around it,
    has more than twice `largest` bytes is cut, and the last that is given."""
    if mode == "lines":
        return Frames((yield from _lines(body, most, largest)))
    whole = body.strip(_BLANK) if len(body) <= _AT_ONCE else (yield from _stripped(body))
    if not whole:
        return Frames([])
    if mode == "cloudevent" or not (whole.startswith(b"[") or mode == "cloudevents"):
        return Frames([whole])
    if len(whole) <= _AT_ONCE and whole.count(b",") <= _COMMAS * most:
        try:
            return Frames([bytes(row).strip(_BLANK) for row in _ARRAY.decode(whole)[: most + 1]])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            pass  # one bad row must not take the others with it, as long as brackets and quotes tell where rows end
    rows = yield from _rows_by_brackets(whole, most, largest)
    return Frames(rows) if rows is not None else Frames([whole], "the body is not a JSON array")


def _lines(body: bytes, most: int, largest: int) -> Slices[list[bytes]]:
    rows: list[bytes] = []
    began = 0
    at = yield from _after_blanks(body, 0)
    while at < len(body) and len(rows) <= most:
        end = body.find(b"\n", at)
        end = len(body) if end < 0 else end
        if end - at > 2 * largest:
            rows.append(body[at : at + 2 * largest])
            break
        rows.append(body[at:end].rstrip(_BLANK))
        at = yield from _after_blanks(body, end)
        if at - began >= _SLICE_BYTES or not len(rows) % _SLICE_PIECES:
            began = at
            yield
    return rows


def _rows_by_brackets(array: bytes, most: int, largest: int) -> Slices[list[bytes] | None]:
    """The rows as brackets and quotes tell them apart; None when they do not."""
    if not array.startswith(b"["):
        return None
    rows: list[bytes] = []
    depth = start = at = began = 1
    pieces = 0
    while depth:
        limit = min(len(array), start + 2 * largest)
        end = _end(_BETWEEN if depth == 1 else _WITHIN, array, at, min(limit, at + _SLICE_BYTES))
        token = array[end] if end < limit else 0
        if token == _QUOTE and end == at:  # a string that is longer than a slice, or has no end
            end, token = _end(_STRING, array, at, limit), 0
            end = limit if end == at else end
        if end == limit:
            if limit == len(array):
                return None
            rows.append(array[start:limit])
            return rows
        at = end
        if token in _MARKS:
            at += 1
            if token in b"[{":
                depth += 1
            elif token in b"]}":
                depth -= 1
            if not depth or (token == _COMMA and depth == 1):  # a slice may end at a comma that is in a row
                row = array[start:end].strip(_BLANK)
                if depth or row or rows:
                    rows.append(row)
                start = at
                if len(rows) > most:
                    return rows
        pieces += 1
        if at - began >= _SLICE_BYTES or pieces >= _SLICE_PIECES:
            began, pieces = at, 0
            yield
    return rows if at == len(array) and array.endswith(b"]") else None


def _end(pattern: re.Pattern[bytes], text: bytes, at: int, limit: int) -> int:
    """Where what `pattern` takes from `at` on ends; `at` when it takes nothing."""
    found = pattern.match(text, at, limit)
    return at if found is None else found.end()


def _after_blanks(body: bytes, at: int) -> Slices[int]:
    """Where the blanks end that begin at `at`."""
    while (end := _end(_BLANKS, body, at, at + _SLICE_BYTES)) == at + _SLICE_BYTES:
        at = end
        yield
    return end


def _stripped(body: bytes) -> Slices[bytes]:
    """`body` without the blanks around it."""
    first = yield from _after_blanks(body, 0)
    last = len(body)
    while last > first and body[last - 1] in _BLANK:
        begin = max(first, last - _SLICE_BYTES)
        last = begin + len(body[begin:last].rstrip(_BLANK))
        yield
    return body[first:last]


def topic_of(row: bytes, content_type: str, kind: str = "") -> str:
    """The topic that `row` belongs on: by its `kind` or CloudEvents `type`, else `kind`, else the default."""
    try:
        peek = _PEEK.decode(row)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        peek = _Peek()
    by_kind, by_type = TOPIC_OF_KIND.get(str(peek.kind)), _TOPIC_OF_TYPE.get(str(peek.type))
    named = by_type or by_kind if content_type == CLOUD_EVENT else by_kind or by_type
    return named or TOPIC_OF_KIND.get(kind, DEFAULT_TOPIC)


def topic_of_type(cloud_event_type: str) -> str:
    """The topic of a CloudEvents type."""
    return _TOPIC_OF_TYPE.get(cloud_event_type, DEFAULT_TOPIC)
