"""Dependencies over the world in memory, and data that fills every page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any, cast

from prometheus_client import CollectorRegistry

from dashboards import Check, Clause, Dependencies, Health, LiveFeed, RuleInfo, RulesInfo
from jianguan.clock import Clock, VirtualClock, from_millis
from jianguan.domain.region_search import RegionSearch
from jianguan.domain.trace import Quarantined
from jianguan.ports import Archive, RawEvent
from tests.dashboards.fakes import CLUSTER, DAY, GRAVE, World, reference
from tests.dashboards.rule_fakes import FakeTools

DEPARTMENTS = {
    "market-regulation": ("市场监督管理局", "Market Regulation"),
    "health-commission": ("卫生健康委员会", "Health Commission"),
    "urban-management": ("城市管理综合行政执法局", "Urban Management"),
}
SHOPS = [
    ("91310104MA1FR0XY2U", "上海徐汇老灶台餐饮有限公司", "310104"),
    ("91310115MA1K3ABC5T", "浦东鲜味生鲜超市", "310115"),
    ("91110105MA01XYZ93Q", "北京朝阳星光预付健身服务有限公司", "110105"),
    ("91440106MA59K7LM80", "广州天河某某电子商务有限公司", "440106"),
]


def event(number: int, **fields: Any) -> dict[str, Any]:
    """A valid complaint as it goes over the wire."""
    return {
        "kind": "complaint",
        "source": "12315",
        "id": f"T{number:06d}",
        "number": f"GD2026{number:06d}",
        "category": "food-safety",
        "occurred_at": "2026-11-20T09:00:00+08:00",
        **fields,
    }


def shop(index: int) -> dict[str, Any]:
    """An enterprise of a local register: no check digit to keep right."""
    code, name, region = SHOPS[index % len(SHOPS)]
    return {"enterprise": {"scheme": "licence", "id": code, "name": name}, "region": region}


@cache
def region_search() -> RegionSearch:
    """Over all regions; made once, as it takes a moment."""
    return RegionSearch(reference().regions, date(2026, 11, 23))


def dependencies(world: World, feed: LiveFeed, **changes: Any) -> Dependencies:
    """Everything the app needs, over `world`."""
    regions, industries = reference().regions, reference().industries

    def named(table: Any, said: Any) -> Callable[[str], tuple[str, str] | None]:
        return lambda code: (said(code, "zh"), said(code, "en")) if table.known(code) else None

    async def redeliver(identifier: str) -> bool:
        delivery = world.deliveries_.get(identifier)
        if delivery is not None:
            world.deliveries_[identifier] = delivery._replace(state="pending", revision=delivery.revision + 1)
        return delivery is not None

    async def retried(record: Quarantined, receipt: str) -> None:
        world.quarantine_[record.id] = record._replace(state="retried", revision=record.revision + 1)
        world.tell(record.id, "operate", "retried", receipt)

    world.observe = feed.observe
    deps = Dependencies(
        archive=cast(Archive, world),
        gateway=world,
        live=feed,
        admit=world.admit,
        clock=world.clock,
        metrics=CollectorRegistry(),
        health=lambda: Health({"store": Check(not world.down, "in memory"), "broker": Check(True)}),
        rules_info=lambda: RulesInfo(
            (
                RuleInfo(CLUSTER, 2, "9f3c2a17d0b4e856", "high", "疑似食源性疾病聚集", "Suspected food poisoning",
                         field="food", condition='category == "food-safety" && enterprise != ""',
                         window_ms=7 * DAY, episode_ms=DAY, lateness_ms=2 * DAY,
                         clauses=(Clause("count", None, 3), Clause("distinct", "reporter", 2)),
                         group_by=("enterprise",), lead="market-regulation", joint=("health-commission",),
                         clock="complaint-acceptance", runbook="1. 现场检查\n\n1. Inspect",
                         legal_basis="《中华人民共和国食品安全法》第一百零五条"),
                RuleInfo(GRAVE, 1, "17d0b4e8569f3c2a", "critical", "严重违法行为", "Grave violation",
                         status="shadow", field="us", condition='kind == "violation" && severity >= 4',
                         window_ms=365 * DAY, fixed=True, episode_ms=365 * DAY,
                         clauses=(Clause("count", None, 2), Clause("sum", "critical_count", 5)),
                         group_by=("enterprise", "region.county"), lead="market-regulation",
                         other_leads=("urban-management",)),
            ),
            loaded_at=world.now - 3_600_000,
            error="rules/library/prepaid.yaml:12:14: unknown field 'catgory' (did you mean 'category'?)",
        ),
        departments=DEPARTMENTS,
        region_name=named(regions, regions.place),
        regions=region_search,
        industry_name=named(industries, industries.name),
        clock_name={"complaint-acceptance": ("投诉：决定是否受理", "Complaint: decide on acceptance")}.get,
        redeliver=redeliver,
        retried=retried,
        tools=FakeTools(),
    )  # fmt: skip
    return replace(deps, **changes)


def fill(world: World, clock: VirtualClock) -> None:
    """A few days of events, alerts, cases in several states, overdue tasks, quarantine."""
    number = 0

    def send(row: dict[str, Any], topic: str = "complaints") -> None:
        nonlocal number
        number += 1
        raw = RawEvent(json.dumps(row).encode(), "application/json", topic, "", (), "sample")
        world.ingest(raw, f"sample-{number}")

    for day in range(9):
        for index in range(2 + day % 3):
            at = from_millis(world.now).isoformat()
            send(event(number, occurred_at=at, text="在该店就餐后全家出现腹泻，要求赔偿医疗费。", demand="退款并赔偿",
                       reporter={"name": "王小明", "phone": "13800138000"}, channel="app", industry="H6210",
                       amount_fen=25_800, **shop(index + day // 4)))  # fmt: skip
        if day % 4 == 2:
            send(
                {
                    **event(number, kind="violation", result="fail", severity=4 + day % 2, occurred_at=at),
                    "category": "hygiene", "critical_count": 2, "penalty_fen": 5_000_000, **shop(day),
                },
                "violations",
            )  # fmt: skip
        clock.advance(timedelta(hours=26))
    send(
        event(number, occurred_at=from_millis(world.now).isoformat(), category="recall", product="儿童座椅", **shop(0))
    )
    world.elapse()
    for bad in (b'{"id": 1', b'{"source": "x", "id": "9"}', b"\x00\xff", b"[]"):
        world.ingest(RawEvent(bad, "application/json", "complaints", "", (), "nightly-upload"), f"bad-{len(bad)}")
    _work(world)


def _work(world: World) -> None:
    from jianguan.domain.case import Command

    for index, task in enumerate(list(world.tasks_.values())[:5]):
        for action in ("accept", "report", "close")[: index % 4]:
            at = world.now - 3_600_000 + index * 60_000 + ("accept", "report", "close").index(action) * 1000
            command = Command(f"cm-{index:08d}{action[:2].encode().hex():0>16}", task.case_key, task.id, action,
                              "李建国", "已到现场检查，抽样 3 份送检。" if action == "report" else "", at)  # fmt: skip
            world._keep(world.desk.apply(command, at))


def world_with(clock: Clock) -> tuple[World, LiveFeed, Dependencies]:
    """An empty world, its feed and dependencies."""
    world = World(clock)
    feed = LiveFeed(clock)
    return world, feed, dependencies(world, feed)
