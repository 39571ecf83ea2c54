"""What the tests of the rule language share: rules, facts and events in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from jianguan.domain.ids import event_id, fact_id
from rules.engine import Engine
from rules.model import RuleFile
from rules.reference import Reference
from rules.rule import Rule, build

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_800_000_000_000


@cache
def reference() -> Reference:
    return Reference.packaged()


@dataclass(frozen=True)
class Running:
    """Rules without files."""

    running: tuple[Rule, ...]


def small_engine(a_rule: Rule) -> Engine:
    """An engine of one rule in which every key but one sleeps, where keys do."""
    return Engine(Running((a_rule,)), awake=1)


def rule_file(**changes: Any) -> dict[str, Any]:
    """A rule file that is right, with changes; None takes a key away."""
    file: dict[str, Any] = {
        "id": "a-rule",
        "version": 1,
        "title": {"zh": "规则", "en": "A rule"},
        "owner": "market-regulation",
        "legal_basis": "some law",
        "on": ["complaint"],
        "condition": 'category == "food-safety"',
        "group_by": "enterprise",
        "window": {"size": "1h"},
        "trigger": {"count": {"at_least": 3}},
        "severity": "high",
        "case": {"key": "enterprise"},
        "lead": "market-regulation",
        **changes,
    }
    return {key: value for key, value in file.items() if value is not None}


def rule(**changes: Any) -> Rule:
    return build(RuleFile.model_validate(rule_file(**changes)))


def fact(
    number: int,
    time: int,
    *,
    key: str = "uscc:X",
    member: str | None = None,
    amount: float | None = None,
    of: str = "a-rule",
    version: int = 1,
    **changes: Any,
) -> Fact:
    """Fact number `number` at `time` ms."""
    event = event_id("test", str(number))
    made = Fact(
        id=fact_id(of, version, event),
        rule=of,
        version=version,
        key=key,
        time=time,
        event=event,
        received_at=time + 5,
        number=amount,
        member=member,
        enterprise=key,
        enterprise_name="Name",
        region="cn:310115",
        industry="cn:H62",
        category="food-safety",
    )
    return made._replace(**changes)


def event(number: int = 1, **changes: Any) -> Event:
    """An event with nothing but what every event has, and the changes."""
    values: dict[str, Any] = dict.fromkeys(Event._fields)
    values.update(
        id=event_id("test", str(number)),
        source="test",
        source_id=str(number),
        kind="complaint",
        category="food-safety",
        occurred_at=NOW,
        received_at=NOW,
        tags=(),
        historical=False,
        content_hash="",
    )
    values.update(changes)
    return Event(**values)


def ids(alerts: Sequence[Any]) -> set[str]:
    return {alert.id for alert in alerts}
