"""The headers that our own doors put on a record, next to those of CloudEvents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

RECEIPT: Final = "jg-receipt"
RECEIVED: Final = "jg-received"
SUBMISSION: Final = "jg-submission"
CONTENT_TYPE: Final = "content-type"
_MILLIS_DIGITS: Final = 13  # until the year 2286; the store's times end in 2299


class Envelope(NamedTuple):
    """What the headers of a record say. `received` in ms, 0 when no door of ours took the record in."""

    receipt: str
    received: int
    submission: str
    content_type: str
    binary: bool  # a CloudEvent in binary mode: its attributes are headers


NO_ENVELOPE: Final = Envelope("", 0, "", "application/json", False)


def read_envelope(headers: Sequence[tuple[str, bytes | None]]) -> Envelope:
    """The envelope in `headers`; whatever is missing or unreadable is empty. Other programs may have written them."""
    if not headers:
        return NO_ENVELOPE
    receipt = submission = ""
    content_type = "application/json"
    received = 0
    binary = False
    for name, value in headers:
        if value is None:
            continue
        if name == RECEIPT:
            receipt = value.decode("ascii", "replace")[:64]
        elif name == RECEIVED and value.isdigit() and len(value) <= _MILLIS_DIGITS:
            received = int(value)
        elif name == SUBMISSION:
            submission = value.decode("ascii", "replace")[:64]
        elif name == CONTENT_TYPE:
            content_type = value.decode("ascii", "replace")[:128]
        elif name.lower() == "ce_specversion":
            binary = True
    return Envelope(receipt, received, submission, content_type, binary)
