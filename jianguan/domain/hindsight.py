"""What a rule would have done, and with what it would begin: questions and answers. Nothing is decided here.

Times are ms.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """Which rule is tried on which time: alerts of [since, until). The rule is a running one, or the text of a file."""

    rule: str  # id of a running rule; "" when there is a text
    since: int
    until: int
    text: str = ""  # YAML of a rule that is not running, or not like this
    against: int | None = None  # the version that it is compared with; None: the running one of the same id, if any


@dataclass(frozen=True, slots=True)
class RuleLabel:
    """Which rule exactly."""

    id: str
    version: int
    hash: str
    title_zh: str
    title_en: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """Alerts of one stretch of time."""

    start: int
    alerts: int
    against: int


@dataclass(frozen=True, slots=True)
class Load:
    """Tasks that one department would have got."""

    department: str
    tasks: int
    against: int
    per_week: float
    against_per_week: float


@dataclass(frozen=True, slots=True)
class Raised:
    """One alert, as a line of a list."""

    key: str | None  # None when the group is personal
    time: int
    events: tuple[str, ...]
    event_count: int
    lead: str | None


@dataclass(frozen=True, slots=True)
class BacktestReport:
    """The answer. An alert of both rules is one of the same group and episode."""

    candidate: RuleLabel
    against: RuleLabel | None
    since: int
    until: int
    events: int  # that the store let through; the engine decided on them
    facts: int
    late: int
    limited: int
    groups: int  # that raised an alert
    alerts: int
    against_alerts: int
    common: int
    bucket_ms: int
    buckets: tuple[Bucket, ...]
    loads: tuple[Load, ...]  # most tasks first
    added: tuple[Raised, ...]  # alerts of the candidate alone, oldest first, not all of them
    removed: tuple[Raised, ...]  # of the other alone
    complete: bool = True  # False: it raised so many alerts that the rest was not looked at

    @property
    def added_count(self) -> int:
        """How many alerts the candidate alone raised."""
        return self.alerts - self.common

    @property
    def removed_count(self) -> int:
        """How many alerts the other alone raised."""
        return self.against_alerts - self.common


@dataclass(frozen=True, slots=True)
class Filled:
    """One group whose windows history fills."""

    key: str | None  # None when the group is personal
    facts: int
    newest: int


@dataclass(frozen=True, slots=True)
class WarmReport:
    """With what the windows of a rule would begin if it were new now."""

    rule: RuleLabel
    now: int
    since: int  # what happened before cannot be in a window
    events: int  # that the store let through
    facts: int  # in the windows
    groups: int
    fullest: tuple[Filled, ...]  # most facts first, not all of them
