"""A whole jianguan in memory: archive, gateway and the stages between them, simple enough to be right at a glance.

Three rules: three food-safety events of one enterprise raise a `high` alert with a joint case; a violation of severity
4 or 5 raises a `critical` one; an event about a recalled product raises a `medium` one about the product. Cases are the
real `CaseDesk`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any

from jianguan.clock import Clock, to_millis
from jianguan.domain.admission import Reference, admit, check, decode, without_personal
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Command, Task, TaskPlace, place_of
from jianguan.domain.casework import CaseDesk, Outcome
from jianguan.domain.delivery import Delivery, Notice
from jianguan.domain.event import OUTCOMES, Event
from jianguan.domain.ids import alert_id, ids_without_prefix, make_id
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from jianguan.domain.trace import STAGES, Quarantined, Records, Step
from jianguan.errors import InputError, UnavailableError
from jianguan.ports import OUTLINE, EventSummary, History, Overview, RawEvent, Resubmission
from sinks.rows import records_of

DAY = 86_400_000
CLUSTER, GRAVE, RECALL = "food-poisoning-cluster", "grave-violation", "recalled-product-on-sale"


RUNBOOK = json.dumps(
    {
        "zh": ["24 小时内现场检查", "封存可疑食品并抽样"],
        "en": ["Inspect within 24 hours", "Seal suspicious food and take samples"],
    },
    ensure_ascii=False,
)


@cache
def reference() -> Reference:
    return Reference(Regions.load(), Industries.load(), b"a key for tests only, 32 bytes ..")


def _follows(at: int, identifier: str, before: int | None, after: str | None) -> bool:
    """Whether a row is after where a page ended."""
    return before is None or (at < before and (after is None or at < before - 1 or identifier > after))


def _listed(table: str, record: Any) -> Any:
    """The record with the fields that lists do not show empty."""
    return records_of(table, [[getattr(record, name) for name in OUTLINE[table]]], OUTLINE[table])[0]


def _nobody(records: Records) -> None:
    """Nobody watches yet."""


class World:
    """Archive and Gateway in one, without the questions that only restarting stages ask.

    `down` makes every question fail; `deaf` swallows commands.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.observe: Callable[[Records], None] = _nobody  # set to LiveFeed.observe
        self.down = False
        self.deaf = False
        self.listed_bytes = 1_000_000
        self.submitted: list[RawEvent] = []
        self.events: dict[str, EventSummary] = {}
        self.alerts_: dict[str, Alert] = {}
        self.cases_: dict[str, Case] = {}
        self.tasks_: dict[str, Task] = {}
        self.deliveries_: dict[str, Delivery] = {}
        self.quarantine_: dict[str, Quarantined] = {}
        self.steps: list[Step] = []
        self.outcomes: Counter[str] = Counter()
        self.submissions: dict[str, Counter[str]] = {}
        self.desk = CaseDesk(lambda clock_id, start: (start + 7 * DAY, "《市场监督管理投诉举报处理暂行办法》第十四条"))

    @property
    def now(self) -> int:
        return to_millis(self.clock.now())

    def admit(self, raw: RawEvent) -> str:
        """What the intake is given to judge rows with."""
        return check(decode(raw.value, raw.topic, raw.content_type, raw.headers), reference(), self.now)

    # The gateway.

    async def submit(self, events: Sequence[RawEvent]) -> list[str]:
        self._check()
        records = Records()
        receipts = []
        for raw in events:
            self.submitted.append(raw)
            receipt = f"r-{len(self.submitted)}"
            receipts.append(receipt)
            records.extend(self.ingest(raw, receipt))
        self.observe(records)
        return receipts

    async def command(self, command: Command) -> None:
        self._check()
        if not self.deaf:
            self.observe(self._keep(self.desk.apply(command, self.now)))

    # The stages.

    def ingest(self, raw: RawEvent, receipt: str) -> Records:
        records = Records()
        try:
            model = decode(raw.value, raw.topic, raw.content_type, raw.headers)
            event, _ = admit(model, reference(), self.now)
        except (InputError, RecursionError, ValueError) as error:
            code, field = (error.code, error.field) if isinstance(error, InputError) else ("unreadable", "")
            record = Quarantined(
                make_id("qu", receipt), receipt, raw.topic, 0, len(self.submitted), self.now, code, field,
                str(error)[:300], raw.value, raw.content_type, raw.submission, "quarantined", 1,
            )  # fmt: skip
            self.quarantine_[record.id] = record
            records.quarantine.append(record)
            self._count("quarantined", raw.submission)
            self._step(records, record.id, "ingest", "quarantined", (), receipt)
            return records
        if event.id in self.events:
            self._count("duplicate", raw.submission)
            self._step(records, event.id, "ingest", "duplicate", (), receipt)
            return records
        rules = ((CLUSTER,) if event.category == "food-safety" else ()) + (
            (GRAVE,) if (event.severity or 0) >= 4 else ()
        )
        rules += (RECALL,) if event.category == "recall" and event.product else ()
        self.events[event.id] = EventSummary(without_personal(event), len(event.text or ""), rules)
        self._count("accepted", raw.submission)
        records.events.append(event)
        self._step(records, event.id, "ingest", "accepted", (), receipt)
        for alert in self._correlate(event, rules):
            self.alerts_[alert.id] = alert
            records.alerts.append(alert)
            self._step(records, alert.id, "correlate", "raised", alert.events, receipt)
            records.extend(self._keep(self.desk.add_alert(alert, self.now)))
        return records

    def _correlate(self, event: Event, rules: tuple[str, ...]) -> Iterator[Alert]:
        if CLUSTER in rules:
            same = [
                each.event
                for each in self.events.values()
                if each.event.category == "food-safety" and each.event.enterprise == event.enterprise
            ]
            if len(same) % 3 == 0:
                yield self._alert(
                    CLUSTER, event, same[-3:], "high", 3, "疑似食源性疾病聚集", "Suspected food poisoning"
                )
        if GRAVE in rules:
            yield self._alert(GRAVE, event, [event], "critical", 1, "严重违法行为", "Grave violation")
        if RECALL in rules:
            about = self._alert(RECALL, event, [event], "medium", 1, "已召回产品仍在销售", "Recalled product on sale")
            yield about._replace(enterprise=None, enterprise_name=None)

    def _alert(
        self, rule: str, event: Event, behind: list[Event], severity: str, limit: int, zh: str, en: str
    ) -> Alert:
        episode = event.occurred_at // DAY * DAY + len(self.alerts_)
        field = "product" if rule == RECALL else "enterprise"
        key = getattr(event, field) or "-"
        return Alert(
            id=alert_id(rule, key, episode), rule=rule, version=2, rule_hash="9f3c2a17d0b4e856", key=key,
            episode=episode, episode_end=episode + DAY, severity=severity, title_zh=zh, title_en=en,
            time=event.occurred_at, window_start=event.occurred_at - 7 * DAY, raised_at=self.now,
            received_at=self.now - 21, values={"count": float(len(behind))}, thresholds={"count": float(limit)},
            events=tuple(each.id for each in behind), event_count=len(behind), enterprise=event.enterprise,
            enterprise_name=event.enterprise_name, region=event.region, industry=event.industry,
            category=event.category, case_key=f"market-regulation|{field}|{key}", lead="market-regulation",
            joint=("health-commission", "urban-management"), clock="complaint-acceptance",
            legal_basis="《中华人民共和国食品安全法》第一百零五条",
            runbook=RUNBOOK,
            notify=True,
        )  # fmt: skip

    def _keep(self, outcome: Outcome) -> Records:
        records = outcome.records
        self.cases_.update((case.id, case) for case in records.cases)
        self.tasks_.update((task.id, task) for task in records.tasks)
        self.steps.extend(records.trace)
        for notice in outcome.notices:
            delivery = self._delivery(notice)
            self.deliveries_[delivery.id] = delivery
            records.deliveries.append(delivery)
        return records

    def elapse(self) -> None:
        """Let due times pass."""
        self.observe(self._keep(self.desk.elapse(self.now)))

    def _delivery(self, notice: Notice) -> Delivery:
        dead = notice.department == "urban-management"
        return Delivery(
            notice.id, notice.id, f"{notice.department}-hook", notice.department, notice.kind, notice.about,
            notice.case, "dead" if dead else "pending", 12 if dead else 0, self.now, self.now, self.now, 0,
            503 if dead else 0, "Service Unavailable" if dead else "", notice.body, 1,
        )  # fmt: skip

    def _count(self, outcome: str, submission: str) -> None:
        self.outcomes[outcome] += 1
        if submission:
            self.submissions.setdefault(submission, Counter())[outcome] += 1

    def _step(
        self, records: Records, subject: str, stage: str, what: str, links: tuple[str, ...], receipt: str
    ) -> None:
        step = Step(
            make_id("st", subject, what, receipt), subject, self.now, STAGES[stage], what, "system", receipt, "",
            links, "{}",
        )  # fmt: skip
        records.trace.append(step)
        self.steps.append(step)

    def tell(self, subject: str, stage: str, what: str, receipt: str) -> None:
        """A step of somebody outside the stages."""
        self._step(Records(), subject, stage, what, (), receipt)

    def _check(self) -> None:
        if self.down:
            raise UnavailableError("the store is down for this test")

    # The archive.

    def overview(self, now_ms: int, newest: int = 20) -> Overview:
        self._check()
        minutes = Counter(each.event.received_at // 60_000 * 60_000 for each in self.events.values())
        return Overview(
            events_total=len(self.events),
            events_by_outcome=dict(self.outcomes),
            events_per_minute=sorted(minutes.items()),
            alerts_by_severity=dict(Counter(alert.severity for alert in self.alerts_.values())),
            alerts_by_rule=dict(Counter(alert.rule for alert in self.alerts_.values()).most_common(5)),
            alerts_by_region=dict(
                Counter(alert.region for alert in self.alerts_.values() if alert.region).most_common(5)
            ),
            alerts_total=len(self.alerts_),
            open_cases=sum(case.state == "open" for case in self.cases_.values()),
            open_tasks=sum(task.state != "closed" for task in self.tasks_.values()),
            overdue_tasks=sum(task.overdue and task.state != "closed" for task in self.tasks_.values()),
            pending_deliveries=sum(each.state == "pending" for each in self.deliveries_.values()),
            quarantined=len(self.quarantine_),
            newest_alerts=self.alerts(limit=newest),
        )

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
        self._check()
        found = [
            alert
            for alert in self.alerts_.values()
            if _follows(alert.raised_at, alert.id, before, after)
            and (severity is None or alert.severity == severity)
            and (rule is None or alert.rule == rule)
            and (region is None or (alert.region or "").startswith(region))
        ]
        return sorted(found, key=lambda alert: (-alert.raised_at, alert.id))[:limit]

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
        self._check()
        found = []
        for case in sorted(self.cases_.values(), key=lambda case: (-case.opened_at, case.id)):
            tasks = [task for task in self.tasks_.values() if task.case == case.id]
            if (
                _follows(case.opened_at, case.id, before, after)
                and (state is None or case.state == state)
                and (department is None or any(task.department == department for task in tasks))
                and (overdue is None or any(task.overdue for task in tasks) == overdue)
            ):
                found.append((case, tasks))
        return found[:limit]

    def cases_of(self, ids: Sequence[str]) -> dict[str, Case]:
        self._check()
        return {each: self.cases_[each] for each in ids if each in self.cases_}

    def task(self, identifier: str) -> tuple[Task, Case] | None:
        self._check()
        task = self.tasks_.get(identifier)
        return (task, self.cases_[task.case]) if task else None

    def tasks(
        self,
        *,
        department: str | None = None,
        state: str | None = None,
        overdue: bool | None = None,
        after: TaskPlace | None = None,
        limit: int = 100,
    ) -> list[Task]:
        self._check()
        found = [
            task
            for task in self.tasks_.values()
            if (department is None or task.department == department)
            and (state is None or task.state == state)
            and (overdue is None or task.overdue == overdue)
            and (after is None or place_of(task) > after)
        ]
        return sorted(found, key=place_of)[:limit]

    def enterprises(self, text: str, limit: int = 20) -> list[tuple[str, str, int]]:
        self._check()
        counts: Counter[tuple[str, str]] = Counter()
        for each in self.events.values():
            if each.event.enterprise and text in f"{each.event.enterprise} {each.event.enterprise_name}":
                counts[each.event.enterprise, each.event.enterprise_name or ""] += 1
        return [(*key, count) for key, count in counts.most_common(limit)]

    def deliveries(
        self,
        *,
        state: str | None = None,
        receiver: str | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        self._check()
        found = [
            each
            for each in self.deliveries_.values()
            if (state is None or each.state == state)
            and (receiver is None or each.receiver == receiver)
            and _follows(each.created_at, each.id, before, after)
        ]
        return sorted(found, key=lambda each: (-each.created_at, each.id))[:limit]

    def quarantine(
        self,
        *,
        code: str | None = None,
        state: str | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Quarantined]:
        self._check()
        found = [
            each
            for each in self.quarantine_.values()
            if (code is None or each.code == code)
            and (state is None or each.state == state)
            and _follows(each.at, each.id, before, after)
        ]
        found.sort(key=lambda each: (-each.at, each.id))
        held = accumulate(len(each.raw) for each in found[:limit])
        return [each for each, sum_ in zip(found, held, strict=False) if sum_ <= self.listed_bytes] or found[:1]

    def quarantined(self, identifier: str) -> Quarantined | None:
        self._check()
        return self.quarantine_.get(identifier)

    def quarantined_as(self, name: str, limit: int = 20) -> list[Quarantined]:
        self._check()
        forms = [f'"{field}":"{name}"'.encode() for field in ("id", "number")]
        dense = [(each, each.raw.replace(b" ", b"")) for each in self.quarantine()]
        return [each for each, raw in dense if any(form in raw for form in forms)][:limit]

    def resubmitted(self, ids: Sequence[str]) -> dict[str, Resubmission]:
        self._check()
        receipts = {step.subject: step.receipt for step in self.steps if step.what == "retried"}
        became = {step.receipt: (step.what, step.subject) for step in self.steps if step.stage == STAGES["ingest"]}
        return {each: Resubmission(receipts[each], *became.get(receipts[each], ())) for each in ids if each in receipts}

    def submission(self, submission: str) -> dict[str, int]:
        self._check()
        return dict.fromkeys(OUTCOMES, 0) | self.submissions.get(submission, {})

    def history(self, identifier: str, limit: int = 1000) -> History | None:
        self._check()
        known = (self.cases_, self.tasks_, self.alerts_, self.events, self.quarantine_)
        bare = ids_without_prefix(identifier)
        identifier = next((each for each in bare if any(each in kept for kept in known)), identifier)
        kind, events, alerts, cases = self._start(identifier)
        if kind is None:
            return None
        tasks = [task for task in self.tasks_.values() if any(task.case == case.id for case in cases)]
        deliveries = [each for each in self.deliveries_.values() if any(each.case == case.id for case in cases)]
        records = [each for each in self.quarantine_.values() if each.id == identifier]
        named = {
            *(each.event.id for each in events), *(alert.id for alert in alerts), *(case.id for case in cases),
            *(task.id for task in tasks), *(each.id for each in records),
        }  # fmt: skip
        steps = sorted((step for step in self.steps if step.subject in named), key=lambda s: (s.at, s.stage, s.id))
        return History(
            identifier, kind, steps[:limit], events, [], alerts, cases, tasks, deliveries, records, len(steps) > limit
        )

    def outline(self, identifier: str, limit: int = 1000, *, steps: bool = True) -> History | None:
        history = self.history(identifier, limit)
        if history is None:
            return None
        listed = replace(
            history,
            events=[EventSummary(_listed("events", each.event), each.text_length, ()) for each in history.events],
            facts=[],
            alerts=[_listed("alerts", each) for each in history.alerts],
            deliveries=[_listed("deliveries", each) for each in history.deliveries],
            steps=[_listed("trace", each) for each in history.steps],
        )
        return listed if steps else replace(listed, steps=[], deliveries=[], truncated=False)

    def _start(self, asked: str) -> tuple[str | None, list[EventSummary], list[Alert], list[Case]]:
        if asked in self.cases_ or asked in self.tasks_:
            kind = "case" if asked in self.cases_ else "task"
            case = self.cases_[asked if kind == "case" else self.tasks_[asked].case]
            alerts = [self.alerts_[each] for each in case.alerts]
            return kind, self._events_of(alerts), alerts, [case]
        if asked in self.alerts_:
            alert = self.alerts_[asked]
            return "alert", self._events_of([alert]), [alert], self._cases_of([alert])
        found = [
            each
            for each in self.events.values()
            if asked in (each.event.id, each.event.number, each.event.source_id, each.event.enterprise)
            or (each.event.enterprise or "").partition(":")[2] == asked
        ]
        if not found:
            return ("quarantine" if asked in self.quarantine_ else None), [], [], []
        ids = {each.event.id for each in found}
        alerts = [alert for alert in self.alerts_.values() if ids & set(alert.events)]
        first = found[0].event
        kind = "event" if first.id == asked else "number" if asked in (first.number, first.source_id) else "enterprise"
        return kind, found, alerts, self._cases_of(alerts)

    def _events_of(self, alerts: list[Alert]) -> list[EventSummary]:
        return [self.events[each] for alert in alerts for each in alert.events]

    def _cases_of(self, alerts: list[Alert]) -> list[Case]:
        ids = {alert.id for alert in alerts}
        return [case for case in self.cases_.values() if ids & set(case.alerts)]
