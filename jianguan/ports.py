"""What the stages and the pages need from the outside, as interfaces. Implementations are chosen in `wiring`.

Stores block: call them in a thread. Gateways and senders are asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from jianguan.columns import Columns
from jianguan.domain.alert import Alert, Raised
from jianguan.domain.case import Case, Command, Task, TaskPlace
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import Event
from jianguan.domain.explanation import Explanation
from jianguan.domain.fact import Fact, FactRun, FactsWanted
from jianguan.domain.filters import Filter
from jianguan.domain.hindsight import BacktestReport, BacktestRequest, RuleLabel, WarmReport
from jianguan.domain.trace import Quarantined, Records, Step
from jianguan.domain.versions import Approval, RuleVersion


class Store(Protocol):
    """ClickHouse, as a server or in this process. Every method may raise UnavailableError.

    Thread-safe: several threads may call it at once; an implementation that cannot do so locks inside.
    """

    def start(self) -> None:
        """Connect, refuse a server that is too old (ConfigurationError), run the migrations that are missing."""

    def write(self, records: Records | Columns, token: str) -> None:
        """Insert every row of `records`; all or an error, and the same again is harmless.

        `token` names the run (topic, partition, offsets) for the store's own deduplication.
        """

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; parameters as `{name:Type}` in the text, never spliced."""

    def maintain(self) -> None:
        """Merge what is worth merging; cheap when there is nothing to do."""

    def close(self) -> None:
        """Release threads, files and connections."""


def _but(record: type[Any], unlisted: str) -> tuple[str, ...]:
    return tuple(name for name in record._fields if name not in unlisted.split())


OUTLINE: Final[Mapping[str, tuple[str, ...]]] = {
    "events": (
        "id",
        "source_id",
        "number",
        "kind",
        "category",
        "occurred_at",
        "enterprise",
        "enterprise_name",
        "region",
    ),
    "alerts": _but(Alert, "rule_hash values thresholds joint clock legal_basis runbook notify credit_points"),
    "deliveries": _but(Delivery, "body"),
    "trace": _but(Step, "receipt submission"),
}
"""The fields that the records of an outline have, by table. Of other tables they are whole."""


@dataclass(frozen=True, slots=True)
class EventSummary:
    """An event without its personal fields, and what became of it."""

    event: Event  # `text` is None here; demand is masked
    text_length: int  # of the hidden free text, in characters
    rules: tuple[str, ...]  # the rules whose condition it met


@dataclass(frozen=True, slots=True)
class History:
    """Everything known about one id, both ways: events behind it, consequences after it, in order."""

    asked: str
    kind: str  # event | alert | case | task | delivery | enterprise | number | fact | quarantine
    steps: list[Step]  # ordered by (at, stage, id)
    events: list[EventSummary] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)
    truncated: bool = False  # there is more than the limits let through


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of the first page."""

    events_total: int
    events_by_outcome: dict[str, int]
    events_per_minute: list[tuple[int, int]]  # (start of the minute ms, accepted), oldest first, by processing time
    alerts_by_severity: dict[str, int]  # raised in the last 24 hours, by processing time
    alerts_by_rule: dict[str, int]  # the same, of the rules that raised most, those first
    alerts_by_region: dict[str, int]  # the same, of the regions with most of them
    alerts_total: int
    open_cases: int
    open_tasks: int
    overdue_tasks: int
    pending_deliveries: int
    quarantined: int
    newest_alerts: list[Alert]


class Resubmission(NamedTuple):
    """A quarantined record that was submitted again. `what` and `subject` are empty until its outcome is stored."""

    receipt: str
    what: str = ""  # accepted | late | duplicate | quarantined
    subject: str = ""  # the event, or the record that it is in quarantine as now


class Archive(Protocol):
    """Questions that pages, commands and restarting stages ask of the store. Blocking; may raise UnavailableError."""

    def overview(self, now_ms: int, newest: int = 20) -> Overview:
        """The figures of the first page."""

    def history(self, identifier: str, limit: int = 1000) -> History | None:
        """Everything about any id: event, fact, alert, case, task, delivery, quarantined record, enterprise
        (`scheme:id` or the bare id), complaint number, or source id. None when nothing is known by that name.

        Our own ids are found without their prefix too; `asked` is the whole one then.
        """

    def outline(self, identifier: str, limit: int = 1000, *, steps: bool = True) -> History | None:
        """The same as far as lists show it, which takes a fraction of the time: of its records the fields `OUTLINE`,
        the others empty, and neither facts nor the rules that events met. Without `steps` it has no deliveries either,
        and that there are too many of those does not make it truncated."""

    def alerts(
        self,
        *,
        before: int | None = None,
        after: str | None = None,
        severity: str | None = None,
        rule: str | None = None,
        region: str | None = None,
        limit: int = 50,
    ) -> list[Alert]:
        """Newest first, then by id, raised before `before` (ms); of the last of those ms, with ids after `after`."""

    def cases(
        self,
        *,
        state: str | None = None,
        department: str | None = None,
        overdue: bool | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> list[tuple[Case, list[Task]]]:
        """Newest first, then by id, opened before `before` (ms), and `after` as for alerts, with their tasks."""

    def cases_of(self, ids: Sequence[str]) -> dict[str, Case]:
        """Those cases of `ids` that are known, by id."""

    def task(self, identifier: str) -> tuple[Task, Case] | None:
        """One task and its case."""

    def tasks(
        self,
        *,
        department: str | None = None,
        state: str | None = None,
        overdue: bool | None = None,
        after: TaskPlace | None = None,
        limit: int = 100,
    ) -> list[Task]:
        """Most urgent first, in the order of their places; those after the place `after`."""

    def enterprises(self, text: str, limit: int = 20) -> list[tuple[str, str, int]]:
        """(enterprise, name, events) whose id or name contains `text`."""

    def deliveries(
        self,
        *,
        state: str | None = None,
        receiver: str | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        """Newest first, then by id, made before `before` (ms), and `after` as for alerts."""

    def quarantine(
        self,
        *,
        code: str | None = None,
        state: str | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Quarantined]:
        """Newest first, then by id, whole, from before `before` (ms), and `after` as for alerts; fewer than `limit`
        when they are large."""

    def quarantined(self, identifier: str) -> Quarantined | None:
        """One quarantined record, whole."""

    def quarantined_as(self, name: str, limit: int = 20) -> list[Quarantined]:
        """Quarantined records, newest first, whose text has `name` as an `id` or a `number`; of many, only the newest
        are looked through. Other fields are not searched: they may be personal, and that a record is found tells."""

    def resubmitted(self, ids: Sequence[str]) -> dict[str, Resubmission]:
        """What became of those of the quarantined records `ids` that were submitted again, by their ids."""

    def submission(self, submission: str) -> dict[str, int]:
        """Records by outcome (accepted, duplicate, late, quarantined) of one upload."""

    # What rules are tried on and explained by.

    def events_to_judge(
        self, wanted: Filter, fields: Collection[str], since: int, until: int, max_age: int
    ) -> Iterator[list[Event]]:
        """Events that pass the filter, or more, and whose fact would be of [since, until) ms: those that were judged,
        in the order in which they were received, in blocks. Of an event's fields, `fields`, its id and its times are
        filled; `text` too if it is among them, which is personal."""

    def count_to_judge(self, wanted: Filter, since: int, until: int, max_age: int) -> int:
        """How many events `events_to_judge` gives; one that is stored twice may count twice."""

    def rule_steps(self) -> list[Step]:
        """Every activation, approval and withdrawal of a rule, oldest first."""

    # What a restarting stage folds its state from.

    def seen_events(self, limit: int) -> Iterator[tuple[str, str, str]]:
        """(event id, content hash, receipt of the acceptance) of the most recently received events, oldest first."""

    def facts_to_fold(self, wanted: FactsWanted) -> Iterator[FactRun]:
        """What the windows of a rule can still need, each once, in blocks, mostly key by key and in each by (time,
        event), which is the quickest way to fold them."""

    def first_received(self) -> int | None:
        """When the oldest stored event was received, ms; None without any."""

    def facts_of_keys_since(self, received: int) -> Iterator[Fact]:
        """All facts of the windows (rule, version, key) that got a fact received at `received` (ms) or later; a
        window's facts together, in the order of their times."""

    def alerts_since(self, raised: int) -> Iterator[Alert]:
        """Alerts raised at `raised` (ms) or later, or because of what was received then or later."""

    def last_received(self) -> int | None:
        """When the newest stored fact was received, ms; None without any."""

    def raised(self, rules: Collection[str], since: int, keys: Collection[str] | None = None) -> Iterator[Raised]:
        """The alerts of some rules, and of some keys if they are given, whose episode ends at `since` (ms) or later, or
        that were raised since. Some may be told twice."""

    def alerts_of(self, rules: Collection[str], since: int) -> Iterator[Alert]:
        """The same, whole, of all keys, each once."""

    def known_alerts(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are stored."""

    def finished_deliveries(self, since: int) -> Iterator[tuple[str, str]]:
        """(delivery, receiver) of what was delivered or given up at `since` (ms) or later, in that order."""

    def open_cases(self, closed_since: int | None = None) -> Iterator[tuple[Case, list[Task]]]:
        """Cases that are open, and those closed at `closed_since` (ms) or later, with all their tasks."""

    def case_ordinals(self) -> Iterator[tuple[str, int]]:
        """(case key, highest ordinal) of every case key."""

    def alert_ids_of(self, cases: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(alert id, case id) of the alerts that joined those cases."""

    def told_overdue(self, tasks: Sequence[str]) -> set[str]:
        """Those of some tasks of which a step tells that they became overdue."""

    def pending_deliveries(self) -> Iterator[Delivery]:
        """Deliveries that are neither delivered nor dead: pending, or held for a disabled receiver."""


@dataclass(frozen=True, slots=True)
class RuleHistory:
    """The versions of one rule, newest first, and what waits for approval. `waiting` is the text of the file."""

    rule: str
    running: RuleVersion | None
    versions: tuple[RuleVersion, ...]
    waiting: str = ""
    waiting_version: int = 0
    waiting_hash: str = ""
    approvals: tuple[Approval, ...] = ()
    needed: int = 0


class RuleTools(Protocol):
    """What people ask about rules. Blocking; may raise UnavailableError, InputError for a rule, a version or an event
    that is not known, and an error with lines and columns for a text that is no rule."""

    def explain(self, rule: str, event: str, version: int | None = None) -> Explanation:
        """Why the rule fired on the event, or did not."""

    def backtest(self, request: BacktestRequest, progress: Callable[[int, int], None]) -> BacktestReport:
        """What the rule would have done. `progress(done, of)` is told now and then; what it raises ends the work."""

    def check(self, request: BacktestRequest) -> RuleLabel:
        """The rule that a request asks about; the errors of `backtest` without its work."""

    def warm(self, rule: str) -> WarmReport:
        """With what the windows of a rule would begin if it were new now. Changes nothing."""

    def history(self, rule: str) -> RuleHistory:
        """Every version of a rule that ever ran here."""

    def approve(self, rule: str, person: str, reason: str) -> RuleHistory:
        """Record that a person approves the content that the rule's file has now."""


class RawEvent(NamedTuple):
    """One record as it came in, before anyone judged it."""

    value: bytes
    content_type: str  # application/json, application/cloudevents+json
    topic: str  # complaints | violations | consumer-rights, without prefix
    key: str  # what orders it: the event id if it is readable, else a hash of the bytes
    headers: tuple[tuple[str, bytes], ...] = ()  # ce_* of CloudEvents in binary mode
    submission: str = ""
    receipt: str = ""  # given by a sender that may send the same row again; else the gateway makes one


class Gateway(Protocol):
    """The way in. A call that returns has made the record durable and the broker has it."""

    async def submit(self, events: Sequence[RawEvent]) -> list[str]:
        """Receipts, in order. UnavailableError when the broker or the journal does not take them."""

    async def command(self, command: Command) -> None:
        """Hand a department's action to the stage that owns the case."""
