"""Splits an upload into records without judging them. Pure: bytes in, bytes out.

Each record keeps its own bytes, so that what is quarantined is what was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import msgspec

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
_LINE = re.compile(rb"[ \t\r\n]*+([^\n]+)")
_COMMAS: Final = 64  # of one row; what has more in the mean is looked through before an object is made of each row
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
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


def split(body: bytes, mode: Mode, most: int) -> Frames:
    """The records of `body`. Blank lines are no records. Of more than `most` only the first `most` + 1 are given: rows
    may be so small that all of them take a hundred times the memory of the body."""
    whole = body.strip(_BLANK)
    if mode == "lines":
        return Frames([line[1].rstrip(_BLANK) for line in islice(_LINE.finditer(whole), most + 1)])
    if not whole:
        return Frames([])
    if mode == "cloudevent" or not (whole.startswith(b"[") or mode == "cloudevents"):
        return Frames([whole])
    if whole.count(b",") > _COMMAS * most:
        rows = _rows_by_brackets(whole, most)
    else:
        try:
            return Frames([bytes(row).strip(_BLANK) for row in _ARRAY.decode(whole)[: most + 1]])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            # One bad row must not take the others with it, as long as brackets and quotes still tell where rows end.
            rows = _rows_by_brackets(whole, most)
    return Frames(rows) if rows is not None else Frames([whole], "the body is not a JSON array")


def _rows_by_brackets(array: bytes, most: int) -> list[bytes] | None:
    rows: list[bytes] = []
    depth = 0
    start = 1
    for match in _TOKEN.finditer(array):
        token = match[0]
        if token == b'"':
            return None  # a string that does not end
        if token in (b"[", b"{"):
            depth += 1
        elif token in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                if token != b"]" or match.end() != len(array):
                    return None
                rows.append(array[start : match.start()].strip(_BLANK))
        elif token == b"," and depth == 1:
            rows.append(array[start : match.start()].strip(_BLANK))
            start = match.end()
            if len(rows) > most:
                return rows
    return rows if depth == 0 and rows and array.startswith(b"[") else None


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
