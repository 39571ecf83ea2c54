"""What the web app needs from the composition root, and the limits that it keeps. No behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prometheus_client import CollectorRegistry

from dashboards.live import LiveFeed
from jianguan.clock import Clock
from jianguan.domain.region_search import RegionSearch
from jianguan.domain.trace import Quarantined
from jianguan.ports import Archive, Gateway, RawEvent, RuleTools

Names = tuple[str, str]  # Chinese, English
Naming = Callable[[str], Names | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the system, as of now."""

    ok: bool
    detail: str = ""
    needed: bool = True  # without it requests are better not sent here


@dataclass(frozen=True, slots=True)
class Health:
    """All parts by name. Ready when each is that is needed."""

    checks: Mapping[str, Check]

    @property
    def ready(self) -> bool:
        return all(check.ok or not check.needed for check in self.checks.values())


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a rule measures over its window, and the least value that triggers it."""

    measure: Literal["count", "distinct", "sum"]
    of: str | None  # the field that is told apart or added up; None for a count
    at_least: int


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """One running rule as people read it. Times in ms."""

    id: str
    version: int
    hash: str
    severity: str
    title_zh: str
    title_en: str
    status: str = "active"  # active | shadow: a shadow rule raises alerts and does nothing with them
    field: str = ""  # the folder that the rule lies in
    condition: str = ""  # CEL
    window_ms: int = 0
    fixed: bool = False  # the window is one of fixed periods; else it slides
    lateness_ms: int = 0
    episode_ms: int = 0  # at most one alert in this time for each group
    every: bool = False  # an alert for each match of its pattern instead
    clauses: tuple[Clause, ...] = ()  # all must hold
    measured: tuple[tuple[str, str], ...] = ()  # (measure, field): what each measure of an alert's values is one of
    # Instead of clauses, as the rule's author wrote them and without defaults: window and trigger or pattern, escalate,
    # cooldown, inhibited_by, rules.
    written: Mapping[str, Any] | None = None
    group_by: tuple[str, ...] = ()
    lead: str | None = None  # department, when the rule opens cases
    other_leads: tuple[str, ...] = ()  # which departments lead instead, depending on the group
    joint: tuple[str, ...] = ()
    clock: str | None = None  # id of a statutory clock
    legal_basis: str = ""
    runbook: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class WaitingRule:
    """Content of a rule that runs when enough people have approved it."""

    id: str
    version: int
    people: tuple[str, ...]  # who has
    needed: int


@dataclass(frozen=True, slots=True)
class RulesInfo:
    """The active rules, and why the last reload failed if it did. The old rules stay active then."""

    rules: Sequence[RuleInfo]
    loaded_at: int | None = None  # ms
    error: str | None = None
    waiting: Sequence[WaitingRule] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client can ask of this process. Bytes, rows, seconds."""

    body_bytes: int = 8 * 1024 * 1024  # of an upload, as sent
    inflated_bytes: int = 32 * 1024 * 1024  # of an upload, after gzip
    small_body_bytes: int = 64 * 1024  # of every other request
    rows: int = 10_000  # of one upload
    row_bytes: int = 1024 * 1024  # of one record; a larger one is refused, none is ever cut
    event_bytes: int = 256 * 1024  # of one that can be an event; a larger one is quarantined
    uploads_in_flight: int = 32
    bytes_in_flight: int = 128 * 1024 * 1024
    rows_per_second: float = 50_000.0  # of one client, in the long run
    rows_burst: float = 200_000.0
    clients: int = 10_000  # remembered for rate limiting
    reads_at_once: int = 4
    reads_waiting: int = 64
    read_seconds: float = 10.0
    history_rows: int = 1000
    backtests_waiting: int = 8
    backtests_kept: int = 50
    backtest_days: int = 3_660
    page_rows: int = 50
    part_rows: int = 100  # of each part of a page about one thing, unless all are asked for
    max_page_rows: int = 500
    command_seconds: float = 2.0  # how long an action waits for its outcome
    overview_seconds: float = 2.0  # between two reads of the overview from the store
    heartbeat_seconds: float = 15.0
    unread_seconds: float = 60.0  # after which a live stream ends whose reader takes nothing
    body_seconds: float = 30.0  # for a whole request body to arrive


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Everything `create_app` needs; see the package docstring for the shapes."""

    archive: Archive
    gateway: Gateway
    live: LiveFeed
    admit: Callable[[RawEvent], str]
    clock: Clock
    metrics: CollectorRegistry
    health: Callable[[], Health]
    rules_info: Callable[[], RulesInfo]
    departments: Mapping[str, Names]
    region_name: Naming
    regions: Callable[[], RegionSearch]
    industry_name: Naming
    clock_name: Naming
    redeliver: Callable[[str], Awaitable[bool]]
    tools: RuleTools
    retried: Callable[[Quarantined, str], Awaitable[None]] | None = None
    limits: Limits = field(default_factory=Limits)
    api_token: str | None = None
    loopback: bool = True  # bound to loopback: the Host header must name it
    allowed_hosts: frozenset[str] = frozenset()  # further host names, without port
