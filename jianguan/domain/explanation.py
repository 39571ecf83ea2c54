"""Why a rule fired on an event, or did not: everything that decided it, without anything personal. Nothing is decided
here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal[
    "fired", "already", "below", "settling", "late", "too-old", "no-group", "condition", "alerts", "retired"
]
VERDICTS: Final[dict[Verdict, str]] = {
    "fired": "the event raised an alert",
    "already": "the trigger holds, and the episode had its alert before",
    "below": "the event counts, and the thresholds are not reached",
    "settling": "the event counts, and the clock decides once nothing that counts can come any more",
    "late": "the event came later than the rule's lateness allows: it does not count",
    "too-old": "the event was received so long after it occurred that it was not judged",
    "no-group": "the event lacks what the rule groups by",
    "condition": "the event does not meet the condition",
    "alerts": "the rule looks at alerts, not at events",
    "retired": "the rule is retired and looks at nothing",
}


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of the condition and its value for the event."""

    text: str  # CEL
    depth: int  # 0 is the whole condition; a part is one deeper than what it is a part of
    value: str | None  # as people read it; None when it has none
    hidden: bool = False  # the value is personal: its length is told instead
    missing: tuple[str, ...] = ()  # fields that it needs and the event lacks
    error: str = ""  # why else it has no value


@dataclass(frozen=True, slots=True)
class Measure:
    """One clause of the trigger: what it came to in the window, and what it needs."""

    name: str  # count | distinct | sum | …
    of: str | None  # the field that is told apart or added up
    value: float
    needed: float

    @property
    def lacking(self) -> float:
        """The distance to the threshold; 0 when it is reached."""
        return max(0.0, self.needed - self.value)


@dataclass(frozen=True, slots=True)
class InWindow:
    """One fact of the window."""

    event: str
    time: int  # ms


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer. Times are ms."""

    rule: str
    version: int
    rule_hash: str
    title_zh: str
    title_en: str
    status: str
    event: str
    occurred_at: int
    received_at: int
    verdict: Verdict
    clauses: tuple[Clause, ...]
    group: tuple[tuple[str, str | None], ...]  # field and its value
    key: str | None = None
    time: int | None = None  # of the fact
    window_start: int | None = None  # exclusive; the window ends with the fact
    window: tuple[InWindow, ...] = ()  # oldest first; the newest ones, if they are many
    window_count: int = 0
    measures: tuple[Measure, ...] = ()
    episode: int | None = None
    episode_end: int | None = None
    alerts: tuple[str, ...] = ()  # raised by the event, or before it in its episode
    newest: int | None = None  # the newest fact of the group before the event came
    lateness_limit: int | None = None  # a fact older than this was late
