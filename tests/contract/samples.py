"""Records to try a store with: one story, told with real ids, from two complaints to a webhook that is due."""

from __future__ import annotations

from typing import Any

from jianguan.domain import ids
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import Event, Personal
from jianguan.domain.fact import Fact
from jianguan.domain.trace import Quarantined, Records, Step

NOW = 1_795_418_000_000  # 2026-11-23T07:13:20Z
MINUTE = 60_000
SECRETS = ("王小明", "13812345678", "110101199003074233", "朝阳区建国路八十八号", "我在该店买到过期食品")


def event(number: int, *, occurred_at: int = NOW - MINUTE, text: str | None = None, **changes: Any) -> Event:
    """The complaint with this number."""
    made = Event(
        id=ids.event_id("12315", f"S{number}"),
        source="12315",
        source_id=f"S{number}",
        kind="complaint",
        nature="complaint",
        number=f"N{number}",
        category="matter:food",
        matter=None,
        occurred_at=occurred_at,
        received_at=NOW - 1_000 + number,
        enterprise="uscc:91110000123456789X",
        enterprise_name="长城酒业有限公司🍷",
        region="gbt2260:110105",
        industry=None,
        product="酒",
        platform=None,
        channel="app",
        address="朝阳北路一号",
        latitude=39.9,
        longitude=116.4,
        amount_fen=-12_345,
        result=None,
        severity=3,
        critical_count=None,
        serious_count=0,
        minor_count=2,
        penalty_fen=None,
        inspection=None,
        right=None,
        outcome=None,
        compensation_fen=None,
        status="open",
        demand="退款, 请回电 13812345678",
        reporter="hash-of-a-reporter",
        tags=("热点", "it's"),
        historical=False,
        content_hash=f"hash-{number}",
        text=text,
    )
    return made._replace(**changes)


def personal(of: Event) -> Personal:
    """What is personal in that complaint."""
    return Personal(of.id, of.occurred_at, *SECRETS)


def fact(of: Event, rule: str = "rule-a", version: int = 1) -> Fact:
    """That `of` met the condition of `rule`."""
    return Fact(
        id=ids.fact_id(rule, version, of.id),
        rule=rule,
        version=version,
        key=of.enterprise or "",
        time=of.occurred_at,
        event=of.id,
        received_at=of.received_at,
        number=1.5,
        member=None,
        enterprise=of.enterprise,
        enterprise_name=of.enterprise_name,
        region=of.region,
        industry=of.industry,
        category=of.category,
    )


def alert(events: list[Event], rule: str = "rule-a", severity: str = "high", raised_at: int = NOW) -> Alert:
    """That `rule` found something in these events."""
    last = events[-1]
    key = last.enterprise or ""
    episode = events[0].occurred_at
    return Alert(
        id=ids.alert_id(rule, key, episode),
        rule=rule,
        version=1,
        rule_hash="0f" * 8,
        key=key,
        episode=episode,
        episode_end=episode + 60 * MINUTE,
        severity=severity,
        title_zh="同一企业短时间内多起投诉",
        title_en="several complaints about one enterprise",
        time=last.occurred_at,
        window_start=last.occurred_at - 60 * MINUTE,
        raised_at=raised_at,
        received_at=last.received_at,
        values={"count": float(len(events))},
        thresholds={"count": 2.0},
        events=tuple(each.id for each in events),
        event_count=len(events),
        enterprise=last.enterprise,
        enterprise_name=last.enterprise_name,
        region=last.region,
        industry=None,
        category=last.category,
        case_key="enterprise|" + key,
        lead="market",
        joint=("police", "health"),
        clock="complaint-accept",
        legal_basis="食品安全法",
        runbook="call",
        notify=True,
    )


def case(alerts: list[Alert], *, ordinal: int = 1, revision: int = 1, state: str = "open") -> Case:
    """The case that these alerts opened and joined."""
    first = alerts[0]
    return Case(
        id=ids.case_id(first.case_key or "", ordinal),
        case_key=first.case_key or "",
        ordinal=ordinal,
        state=state,
        severity=first.severity,
        title_zh=first.title_zh,
        title_en=first.title_en,
        lead="market",
        enterprise=first.enterprise,
        enterprise_name=first.enterprise_name,
        region=first.region,
        opened_at=NOW + ordinal,
        closed_at=NOW + MINUTE if state == "closed" else None,
        clock="complaint-accept",
        clock_source="SAMR Order 20 art. 14",
        due_at=NOW + 7 * 24 * 60 * MINUTE,
        alerts=tuple(each.id for each in alerts),
        alert_count=len(alerts),
        revision=revision,
    )


def task(of: Case, department: str = "market", *, revision: int = 1, state: str = "assigned") -> Task:
    """What `department` has to do in that case."""
    return Task(
        id=ids.task_id(of.id, department),
        case=of.id,
        case_key=of.case_key,
        department=department,
        role="lead" if department == "market" else "assist",
        state=state,
        assigned_at=NOW,
        accepted_at=NOW if state != "assigned" else None,
        reported_at=None,
        closed_at=NOW if state == "closed" else None,
        due_at=of.due_at,
        overdue=False,
        actor="system",
        note="",
        revision=revision,
    )


def delivery(of: Task, *, state: str = "pending", revision: int = 1) -> Delivery:
    """The notice of that task to its department."""
    return Delivery(
        id=ids.make_id("dl", of.id, "hook"),
        notice=ids.make_id("dl", of.id),
        receiver="hook",
        department=of.department,
        kind="task.assigned",
        about=of.id,
        case=of.case,
        state=state,
        attempt=revision - 1,
        due_at=NOW,
        created_at=NOW,
        updated_at=NOW + revision,
        received_at=NOW - 1_000,
        last_status=0,
        last_detail="",
        body='{"it\'s": "\\"quoted\\""}',
        revision=revision,
    )


def quarantined(number: int, raw: bytes, *, code: str = "bad-json", state: str = "quarantined") -> Quarantined:
    """A record that nobody could read."""
    return Quarantined(
        id=ids.make_id("qu", f"complaints/0/{number}"),
        receipt=f"complaints/0/{number}",
        topic="complaints",
        partition=0,
        offset=number,
        at=NOW + number,
        code=code,
        field="",
        message="not JSON",
        raw=raw,
        content_type="application/json",
        submission="up-1",
        state=state,
        revision=1 if state == "quarantined" else 2,
    )


def step(subject: str, what: str, *links: str, stage: int = 1, at: int = NOW, receipt: str = "") -> Step:
    """That `what` happened to `subject`."""
    return Step(
        id=ids.make_id("st", subject, what, *links, receipt),
        subject=subject,
        at=at,
        stage=stage,
        what=what,
        actor="system",
        receipt=receipt,
        submission="up-1" if stage == 1 else "",
        links=links,
        detail="{}",
    )


def world() -> Records:
    """Two complaints, their facts, one alert, its case, two tasks, a delivery, a refused record, and every step."""
    events = [event(1, occurred_at=NOW - 2 * MINUTE), event(2)]
    facts = [fact(each) for each in events]
    raised = alert(events)
    opened = case([raised])
    tasks = [task(opened), task(opened, "police")]
    due = delivery(tasks[0])
    refused = quarantined(9, b"{\x00\xff\xfe" + "🎈".encode())
    return Records(
        events=events,
        personal=[personal(each) for each in events],
        facts=facts,
        alerts=[raised],
        cases=[opened],
        tasks=tasks,
        deliveries=[due],
        quarantine=[refused],
        trace=[
            step(events[0].id, "accepted", receipt="complaints/0/1"),
            step(events[1].id, "accepted", receipt="complaints/0/2", at=NOW + 1),
            step(refused.id, "quarantined", receipt=refused.receipt, at=NOW + 2),
            step(raised.id, "raised", *raised.events, stage=2, at=NOW + 3),
            step(opened.id, "opened", raised.id, stage=3, at=NOW + 4),
            *(step(each.id, "assigned", opened.id, stage=3, at=NOW + 4) for each in tasks),
            step(due.id, "pending", tasks[0].id, stage=4, at=NOW + 5),
        ],
    )
