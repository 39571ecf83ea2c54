"""What the pure engine gives for the records that Kafka has: every id, every outcome, every step that must be told.

One loop over the records, no stages, no restarts. Where one record is in a topic twice, because its sender did not hear
that it was taken and sent it again under the same receipt, either of the two may be the one that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from jianguan.domain.admission import Reference as Codes
from jianguan.domain.admission import admit_run, decode
from jianguan.domain.alert import Alert
from jianguan.domain.casework import CaseDesk
from jianguan.domain.event import Event
from jianguan.domain.ids import make_id
from jianguan.errors import InputError
from jianguan.wiring.tables import hash_key
from rules.alert_facts import AlertMatcher
from rules.facts import Matcher
from rules.reference import Reference, deadlines
from rules.ruleset import RuleSet
from rules.running import Running
from streams.headers import read_envelope
from tests.chaos.account import Sets, Wanted, either
from tests.chaos.rulebook import LATENESS

LATE_AFTER: Final = 90 * 86_400_000  # ms, JIANGUAN_MAX_AGE
_FOREVER: Final = 2**45  # ms: everything is settled


class Kept(NamedTuple):
    """A record as a topic has it."""

    topic: str  # without prefix
    place: str  # topic/partition/offset, as a receipt says it
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int  # ms
    value: bytes


class Judged(NamedTuple):
    """A record, and what becomes of it."""

    receipt: str
    outcome: str
    event: Event | None  # of accepted and late ones


def judge(records: Iterable[Kept], codes: Codes, *, last: bool = False) -> list[Judged]:
    """What becomes of each receipt. Records of one event come in their order. Of records with one receipt the first
    counts, or the `last`."""
    of_receipt: dict[str, Kept] = {}
    received: dict[str, int] = {}
    for record in records:
        envelope = read_envelope(record.headers)
        receipt = envelope.receipt or record.place
        if last or receipt not in received:
            received[receipt] = envelope.received or record.timestamp
        of_receipt.setdefault(receipt, record)
    known: dict[str, str] = {}
    found: list[Judged] = []
    for receipt, record in of_receipt.items():
        try:
            envelope = read_envelope(record.headers)
            model = decode(record.value, record.topic, envelope.content_type, ())
            (event,), _ = admit_run([model], codes, [received[receipt]])
        except (InputError, ValueError):
            found.append(Judged(receipt, "quarantined", None))
            continue
        if event.id in known:
            found.append(Judged(receipt, "duplicate" if known[event.id] == event.content_hash else "quarantined", None))
            continue
        known[event.id] = event.content_hash
        found.append(
            Judged(receipt, "late" if event.received_at - event.occurred_at > LATE_AFTER else "accepted", event)
        )
    return found


def answer(judged: Sequence[Judged], ruleset: RuleSet, reference: Reference, receivers: Mapping[str, str]) -> Sets:
    """Every set that `account` compares. `receivers` gives the receiver of a department."""
    matcher, listening, running = (
        Matcher(ruleset, reference),
        AlertMatcher(ruleset, reference),
        Running(ruleset, reference),
    )
    events = [one.event for one in judged if one.event is not None]
    timely = sorted(
        [one.event for one in judged if one.event is not None and one.outcome == "accepted"],
        key=lambda event: (event.received_at, event.id),
    )
    alerts = [alert for event in timely for alert in running.take(event)] + running.elapse(_FOREVER)
    facts = {fact.id for event in timely for fact in matcher.facts(event)}
    facts |= {fact.id for alert in alerts for fact in listening.facts(alert)}
    found: dict[str, frozenset[str]] = {
        "events": frozenset(event.id for event in events),
        "facts": frozenset(facts),
        "alerts": frozenset(alert.id for alert in alerts),
        "outcomes": frozenset(f"{one.receipt} {one.outcome}" for one in judged),
        "quarantine": frozenset(one.receipt for one in judged if one.outcome == "quarantined"),
        "late-for-rule": frozenset(event.id for event in timely if _late_for_absence(event)),
    }
    return {**found, **_handled(alerts, CaseDesk(deadlines(reference)), receivers)}


def _late_for_absence(event: Event) -> bool:
    return event.category == "service" and event.received_at - event.occurred_at > LATENESS * 1_000


def _handled(alerts: Sequence[Alert], desk: CaseDesk, receivers: Mapping[str, str]) -> dict[str, frozenset[str]]:
    cases: set[str] = set()
    tasks: set[str] = set()
    deliveries: set[str] = set()
    steps = {f"{alert.id} raised" for alert in alerts}
    joined: set[str] = set()
    for alert in alerts:
        outcome = desk.add_alert(alert, alert.raised_at)
        cases |= {case.id for case in outcome.records.cases}
        tasks |= {task.id for task in outcome.records.tasks}
        joined |= {f"{case.id} has {alert.id}" for case in outcome.records.cases}
        for notice in outcome.notices:
            if notice.department in receivers:
                deliveries.add(make_id("dl", notice.id, receivers[notice.department]))
    steps |= {f"{case} opened" for case in cases} | {f"{task} assigned" for task in tasks}
    steps |= {f"{delivery} delivered" for delivery in deliveries} | joined
    sent = frozenset(deliveries)
    return {
        "cases": frozenset(cases), "tasks": frozenset(tasks), "deliveries": sent, "received": sent,
        "steps": frozenset(steps),
    }  # fmt: skip


def wanted(
    records: Sequence[Kept], rules: Path, reference: Reference, data: Path, receivers: Mapping[str, str]
) -> Wanted:
    """What must and what may be there. `data` has the key of the reporter hash."""
    codes = Codes(reference.regions, reference.industries, hash_key(data))
    ruleset = RuleSet.load([rules], reference)
    read: Callable[[bool], Sets] = lambda last: answer(judge(records, codes, last=last), ruleset, reference, receivers)  # noqa: E731
    return either([read(False), read(True)])
