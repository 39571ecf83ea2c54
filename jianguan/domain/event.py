"""The event as stages, rules and the store see it: flat, checked, codes normalised, personal data apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from jianguan.domain.by_field import Constant, take

Outcome = Literal["accepted", "duplicate", "late", "quarantined"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("accepted", "duplicate", "late", "quarantined")


class Event(NamedTuple):
    """One accepted event. Times are milliseconds since 1970 UTC; codes are `tree:code`; None is missing."""

    id: str  # deterministic, ev-…
    source: str
    source_id: str
    kind: str  # complaint | violation | consumer-rights
    nature: str | None  # complaint | report
    number: str | None
    category: str
    matter: str | None
    occurred_at: int
    received_at: int
    enterprise: str | None  # scheme:id
    enterprise_name: str | None
    region: str | None
    industry: str | None
    product: str | None
    platform: str | None
    channel: str | None
    address: str | None
    latitude: float | None
    longitude: float | None
    amount_fen: int | None
    result: str | None
    severity: int | None
    critical_count: int | None
    serious_count: int | None
    minor_count: int | None
    penalty_fen: int | None
    inspection: str | None  # number of the inspection
    right: str | None
    outcome: str | None
    compensation_fen: int | None
    status: str | None
    demand: str | None
    reporter: str | None  # keyed hash of the reporter, for matching only
    tags: tuple[str, ...]
    historical: bool
    content_hash: str
    text: str | None  # personal: seen by conditions, stored only as Personal


class EventRun(Sequence[Event]):
    """Events of one run: as rows, and the same field by field, for work that is quicker so. Immutable."""

    __slots__ = ("fields", "rows")

    def __init__(self, rows: list[Event], fields: Sequence[Sequence[Any]]) -> None:
        self.rows = rows
        self.fields = fields  # in the order of Event

    @classmethod
    def of(cls, rows: Sequence[Event]) -> EventRun:
        """A run of rows."""
        fields = list(zip(*rows, strict=True)) if rows else [Constant(None, 0)] * len(Event._fields)
        return cls(list(rows), fields)

    def field(self, name: str) -> Sequence[Any]:
        """The values of one field."""
        return self.fields[_PLACES[name]]

    def take(self, places: Sequence[int]) -> EventRun:
        """The events at `places`."""
        if not places:
            return EventRun.of(())
        return EventRun(list(take(self.rows, places)), [take(values, places) for values in self.fields])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]


_PLACES: Final = {name: place for place, name in enumerate(Event._fields)}


class Personal(NamedTuple):
    """The personal fields of one event, stored once and apart."""

    event: str
    occurred_at: int
    name: str | None
    phone: str | None
    id_card: str | None
    address: str | None
    text: str | None
