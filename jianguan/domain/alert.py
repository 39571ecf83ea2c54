"""An alert: what a rule found in one episode of one group, with everything that is needed to act and to ask why."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "low", "medium", "high", "critical")


class Alert(NamedTuple):
    """One alert an episode. Times are ms since 1970 UTC."""

    id: str
    rule: str
    version: int
    rule_hash: str
    key: str
    episode: int  # start of the episode, ms
    episode_end: int  # half-open end, ms
    severity: str
    title_zh: str
    title_en: str
    time: int  # event time of the fact that raised it
    window_start: int  # the window that was looked at: (window_start, time]
    raised_at: int
    received_at: int  # when the event behind the raising fact was received
    values: dict[str, float]  # {"count": 5.0}
    # {"count": 3.0}: what a value must reach; "count.at_most": must not pass; "count.below", "count.above": must be.
    thresholds: dict[str, float]
    events: tuple[str, ...]  # contributing event ids, newest last, at most MAX_EVENTS
    event_count: int
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    industry: str | None
    category: str
    case_key: str | None  # None: this rule opens no case
    lead: str | None
    joint: tuple[str, ...]
    clock: str | None  # id of the statutory clock of the case
    legal_basis: str
    runbook: str
    notify: bool
    credit_points: int = 0  # by which it lowers the credit of the enterprise


MAX_EVENTS: Final = 100


class Raised(NamedTuple):
    """Of an alert, what the windows of its rule have to know so as not to raise it again."""

    id: str
    rule: str
    version: int
    key: str
    episode: int  # ms
    time: int  # ms
