"""What an alert says: of the rule, of the group, and of the fact that brought it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from jianguan.domain.alert import Alert
from jianguan.domain.ids import SEPARATOR
from rules.rule import Rule


class Bringer(Protocol):
    """The fact that an alert is raised for."""

    @property
    def received_at(self) -> int: ...
    @property
    def enterprise_name(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...
    @property
    def industry(self) -> str | None: ...
    @property
    def category(self) -> str: ...


class Found(NamedTuple):
    """What was found at a moment (ms) of a key."""

    id: str
    time: int
    window_start: int
    episode: int
    episode_end: int
    values: dict[str, float]
    thresholds: Mapping[str, float]
    events: tuple[str, ...]
    event_count: int


def alert_of(rule: Rule, key: str, bringer: Bringer, found: Found, severity: str, now_ms: int) -> Alert:
    """The alert of what was found. Enterprise, region and industry are the group's where the rule groups by them;
    else region, industry and category are those of the fact that brought it, and there is no enterprise."""
    values = tuple(key.split(SEPARATOR))
    group = dict(zip(rule.groups, values, strict=True))
    return Alert(
        id=found.id,
        rule=rule.id,
        version=rule.version,
        rule_hash=rule.content_hash,
        key=key,
        episode=found.episode,
        episode_end=found.episode_end,
        severity=severity,
        title_zh=rule.title_zh,
        title_en=rule.title_en,
        time=found.time,
        window_start=found.window_start,
        raised_at=now_ms,
        received_at=bringer.received_at,
        values=found.values,
        thresholds=dict(found.thresholds),
        events=found.events,
        event_count=found.event_count,
        enterprise=group.get("enterprise"),
        enterprise_name=bringer.enterprise_name if "enterprise" in group else None,
        region=_grouped(group, "region", bringer.region),
        industry=_grouped(group, "industry", bringer.industry),
        category=group.get("category", bringer.category),
        case_key=rule.case_key_of(values),
        lead=rule.lead_of(values),
        joint=rule.joint_of(values),
        clock=rule.clock,
        legal_basis=rule.legal_basis,
        runbook=rule.runbook,
        notify=rule.notify,
        credit_points=rule.credit_points,
    )


def _grouped(group: dict[str, str], field: str, otherwise: str | None) -> str | None:
    """The group's value of a field or of one of its levels."""
    for name, value in group.items():
        if name.partition(".")[0] == field:
            return value
    return otherwise
