"""The stages of one worker and what they share, as a value: what `topology` attaches to an app.

It must not know Faust or the broker, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jianguan.clock import Clock
from jianguan.domain.delivery import Notice
from jianguan.domain.trace import Records
from jianguan.metrics import Metrics
from streams.correlate import Correlate, Spent
from streams.handle import Handle
from streams.ingest import Ingest
from streams.outbox import Outbox
from streams.owned import Owned
from streams.record import Recorder


class Conditions(Protocol):
    """Measures what each condition takes, now and then."""

    def measure(self) -> int: ...
    def costs(self) -> Sequence[Spent]: ...


@dataclass(slots=True)
class Stages:
    """The five stages of one worker, and what they share."""

    ingest: Ingest
    correlate: Owned[Correlate]
    handle: Owned[Handle]
    deliver: Callable[[Iterable[Notice]], Records]
    recorder: Recorder
    outbox: Outbox
    clock: Clock
    metrics: Metrics
    prefix: str
    partitions: int
    alone: bool = False  # no other worker: every partition is this one's
    # Returns when it is known which events of a partition of the source topics were accepted before.
    admit: Callable[[int], Awaitable[None]] | None = None
    # Returns when it is known which deliveries there were before of a partition of the deliveries topic.
    recall: Callable[[int], Awaitable[None]] | None = None
    # Whether a version of a rule has not run here yet: other workers load changed rules at their own time.
    is_ahead: Callable[[str, int], bool] = lambda rule, version: False
    # When the oldest record was received (ms) that is read again after a restart and may not be through yet.
    oldest_replayed: Callable[[], Awaitable[int | None]] | None = None
    conditions: Conditions | None = None  # what each of them takes
