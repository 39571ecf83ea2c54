"""The web app over the parts of a worker or of a dashboards process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from dashboards import Check, Clause, Dependencies, Health, LiveFeed, RuleInfo, RulesInfo, WaitingRule, create_app
from jianguan.clock import Clock, to_millis
from jianguan.domain.admission import check, decode
from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.codes import Language
from jianguan.domain.contract import TOPIC_OF_KIND
from jianguan.domain.ids import make_id
from jianguan.domain.region_search import RegionSearch
from jianguan.domain.statutory import StatutoryClocks
from jianguan.domain.trace import STAGES, Quarantined, Records, Step
from jianguan.errors import InputError
from jianguan.ports import Archive, Gateway, RawEvent, RuleTools
from jianguan.settings import Settings
from jianguan.wiring.tables import Tables
from rules.rule import Rule
from sinks.webhooks.desk import DeliveryDesk
from streams.quick_decode import QuickDecoder
from streams.rulebook import RuleBook


def build_web(
    settings: Settings,
    clock: Clock,
    registry: CollectorRegistry,
    tables: Tables,
    archive: Archive,
    gateway: Gateway,
    live: LiveFeed,
    rulebook: RuleBook,
    health: Callable[[], Health],
    redeliver: Callable[[str], Awaitable[bool]],
    emit: Callable[[Records], Awaitable[None]],
    tools: RuleTools,
) -> FastAPI:
    """The web app over these parts."""

    quick = QuickDecoder()  # of the event loop, in which the intake judges

    def judge(raw: RawEvent) -> str:
        plain = raw.content_type == "application/json" and not raw.headers
        model = quick.decode(raw.value, raw.topic) if plain else None
        if model is None:
            model = decode(raw.value, raw.topic, raw.content_type, raw.headers)
        return check(model, tables.codes, to_millis(clock.now()))

    async def retried(row: Quarantined, receipt: str) -> None:
        now = to_millis(clock.now())
        after = row._replace(state="retried", revision=row.revision + 1)
        step = Step(
            make_id("st", row.id, "retried", receipt), row.id, now, STAGES["operate"], "retried", "operator", receipt,
            "", (), "",
        )  # fmt: skip
        await emit(Records(quarantine=[after], trace=[step]))

    departments = {each.id: (each.zh, each.en) for each in tables.rules.departments}
    return create_app(
        Dependencies(
            archive=archive,
            gateway=gateway,
            live=live,
            admit=judge,
            clock=clock,
            metrics=registry,
            health=health,
            rules_info=lambda: rules_info(rulebook),
            departments=departments,
            region_name=_naming(tables.codes.regions.place),
            # Only when somebody looks for one: it takes a moment to make.
            regions=cache(lambda: RegionSearch(tables.codes.regions, clock.now().astimezone(SHANGHAI).date())),
            industry_name=_naming(tables.codes.industries.name),
            clock_name=clock_titles(tables.rules.clocks).get,
            redeliver=redeliver,
            retried=retried,
            tools=tools,
            api_token=settings.api_token.get_secret_value() if settings.api_token else None,
            loopback=settings.host in ("127.0.0.1", "::1", "localhost"),
        )
    )


def rules_info(rulebook: RuleBook) -> RulesInfo:
    """The running rules as the pages show them."""
    rules = tuple(rule_info(rule) for rule in rulebook.ruleset.running)
    waiting = tuple(
        WaitingRule(each.rule.id, each.rule.version, tuple(said.person for said in each.approvals), each.needed)
        for each in rulebook.waiting
    )
    return RulesInfo(rules, loaded_at=rulebook.loaded_at, error=rulebook.error or None, waiting=waiting)


def rule_info(rule: Rule) -> RuleInfo:
    """One rule as the pages show it."""
    clauses = []
    if "count" in rule.thresholds:
        clauses.append(Clause("count", None, rule.count))
    if rule.distinct_of is not None:
        clauses.append(Clause("distinct", rule.distinct_of, rule.distinct))
    if rule.sum_of is not None:
        clauses.append(Clause("sum", rule.sum_of, rule.sum))
    assisting = dict.fromkeys(rule.joint) | dict.fromkeys(chain.from_iterable(rule.joints.values()))
    assisting |= dict.fromkeys(chain.from_iterable(row.joint for row in rule.decisions))
    leads = [*rule.leads.values(), *(row.lead for row in rule.decisions)]
    return RuleInfo(
        id=rule.id,
        version=rule.version,
        hash=rule.content_hash,
        severity=rule.severity,
        title_zh=rule.title_zh,
        title_en=rule.title_en,
        status=rule.status,
        field=Path(rule.path).parent.name,
        condition=rule.condition,
        window_ms=rule.size,
        fixed=rule.periods is not None,
        lateness_ms=rule.lateness,
        episode_ms=rule.episodes.size,
        clauses=tuple(clauses),
        measured=tuple(_measured(rule)),
        written=_written(rule) if rule.judging is not None else None,
        every=rule.file.pattern is not None and rule.file.pattern.every,
        group_by=rule.groups,
        lead=rule.lead,
        other_leads=tuple(dict.fromkeys(lead for lead in leads if lead != rule.lead)),
        joint=tuple(assisting),
        clock=rule.clock,
        legal_basis=rule.legal_basis,
        runbook=rule.runbook,
        file=rule.path,
    )


def _measured(rule: Rule) -> Iterator[tuple[str, str]]:
    """(measure, field) of what the rule adds up, compares or tells apart."""
    parts = [rule.file.trigger] if rule.file.trigger is not None else []
    while parts:
        part = parts.pop()
        parts += [*(part.all or ()), *(part.any or ()), *([part.not_] if part.not_ is not None else ())]
        for name in ("distinct", "sum", "avg", "min", "max", "median", "percentile"):
            measure = getattr(part, name)
            if measure is not None:
                yield name, measure.of


def _written(rule: Rule) -> dict[str, Any]:
    """What a rule asks of whole facts, as its author wrote it."""
    parts = {"window", "trigger", "pattern", "escalate", "cooldown", "inhibited_by", "rules"}
    return rule.file.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=parts)


def clock_titles(clocks: StatutoryClocks) -> dict[str, tuple[str, str]]:
    """(zh, en) by id of a statutory clock, as its latest version says."""
    return {clock.id: (clock.title_zh, clock.title_en) for clock in clocks.all()}


def health_of(checks: Mapping[str, Sequence[str]]) -> Health:
    """Health from lists of failures by part."""
    return Health({name: Check(not found, "; ".join(found)) for name, found in checks.items()})


def redeliverer(archive: Archive, desk: DeliveryDesk) -> Callable[[str], Awaitable[bool]]:
    """Sends a delivery again by its id; False when nobody knows it."""

    async def redeliver(identifier: str) -> bool:
        history = await asyncio.to_thread(archive.history, identifier)
        found = next((each for each in history.deliveries if each.id == identifier), None) if history else None
        if found is None:
            return False
        await desk.redeliver(found)
        return True

    return redeliver


def raw_event(event: Mapping[str, Any], submission: str = "") -> RawEvent:
    """A wire event, made in this process, as it would come in over HTTP."""
    topic = TOPIC_OF_KIND.get(str(event.get("kind")), "complaints")
    value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return RawEvent(value, "application/json", topic, f"{event.get('source')}/{event.get('id')}", submission=submission)


def _naming(said: Callable[[str, Language], str]) -> Callable[[str], tuple[str, str] | None]:
    def name(code: str) -> tuple[str, str] | None:
        try:
            return said(code, "zh"), said(code, "en")
        except InputError:
            return None

    return name
