"""Decoding with msgspec into a structure of the fields that the job reads: for peers that hand over bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from bench.peers.job import CATEGORIES, REFUSALS, TRIALS


class Enterprise(msgspec.Struct, gc=False):
    """Who an event is about."""

    id: str


class Complaint(msgspec.Struct, gc=False):
    """The fields that the job reads."""

    source: str
    category: str
    occurred_at: datetime
    channel: str
    text: str
    enterprise: Enterprise | None = None
    amount_fen: int = 0
    platform: str | None = None
    demand: str | None = None


decode: Final = msgspec.json.Decoder(Complaint).decode


def concerns(event: Complaint) -> bool:
    """The ten predicates of the job."""
    text = event.text
    return (
        event.source == "12315"
        and event.category in CATEGORIES
        and event.channel != "letter"
        and event.enterprise is not None
        and not any(word in text for word in TRIALS)
        and (
            any(word in text for word in REFUSALS)
            or event.amount_fen >= 100_000
            or event.platform is not None
            or event.demand is not None
            or len(text) > 60
        )
    )
