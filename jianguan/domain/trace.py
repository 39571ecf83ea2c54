"""The trace: one step for everything that happened, and the bundle of records that a stage leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import Event, Personal
from jianguan.domain.fact import Fact

STAGES: Final[dict[str, int]] = {"ingest": 1, "correlate": 2, "handle": 3, "deliver": 4, "operate": 5}


class Step(NamedTuple):
    """Something happened to `subject`. The order of a history is (at, stage, id)."""

    id: str  # deterministic: the same step told twice is one step
    subject: str
    at: int  # processing time, ms; of a step that is told again the earliest one counts
    stage: int  # STAGES
    what: str  # accepted | duplicate | late | quarantined | raised | opened | joined | assigned | …
    actor: str  # "system", a department, an operator
    receipt: str  # of the record that caused it, "" if none did
    submission: str  # the upload that the record came with, "" if none
    links: tuple[str, ...]  # other ids that this step is about
    detail: str  # JSON object


class Quarantined(NamedTuple):
    """A record that could not be used, whole, with the reason."""

    id: str
    receipt: str
    topic: str
    partition: int
    offset: int
    at: int
    code: str  # stable slug
    field: str
    message: str
    raw: bytes
    content_type: str
    submission: str
    state: str  # quarantined | retried
    revision: int


@dataclass(slots=True)
class Records:
    """What one piece of work leaves in the store: rows by table. Everything in it is idempotent by id."""

    events: list[Event] = field(default_factory=list)
    personal: list[Personal] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)
    trace: list[Step] = field(default_factory=list)

    def extend(self, other: Records) -> None:
        """Append the rows of `other`."""
        for table in TABLES:
            getattr(self, table).extend(getattr(other, table))

    def in_order(self) -> Iterator[tuple[str, list[Any]]]:
        """A table and rows of it, in the order in which they are written; as `Columns.inserts`."""
        for table in WRITTEN:
            if table == "trace":
                yield "deliveries", [row for row in self.deliveries if row.revision == 1]
            rows = getattr(self, table)
            yield table, [row for row in rows if row.revision != 1] if table == "deliveries" else rows

    def __len__(self) -> int:
        return sum(len(getattr(self, table)) for table in TABLES)

    def __bool__(self) -> bool:
        return any(getattr(self, table) for table in TABLES)


TABLES: Final[tuple[str, ...]] = tuple(each.name for each in fields(Records))
# The order in which they are written, for a write may break off. Last come the rows for which nobody does anything
# again: an alert that is stored is not raised again, what is in quarantine as retried is not retried, and what is
# delivered is not sent. With such a row all is stored that came of it: cases, tasks, deliveries that begin (Columns
# writes those apart from the others), and their steps. A task that is overdue counts as told with its step.
LAST: Final = ("quarantine", "alerts", "deliveries")
WRITTEN: Final[tuple[str, ...]] = (*(table for table in TABLES if table not in LAST), *LAST)
