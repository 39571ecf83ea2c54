"""Made-up rules and events for measuring: many rules, most of which test a category of their own.

Of twenty rules, eighteen test a category that no other rule tests, most of them and something else; one looks for words
or a product in events of any category; one is settled by the clock. An event has the category of one of the rules, each
equally often, so that an event makes about as many facts whatever the number of rules.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from jianguan.domain.event import Event
from jianguan.domain.ids import event_id
from rules.checking import Checker
from rules.fields import CATEGORIES
from rules.loader import parse
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleErrors, RuleSet

START: Final = 1_772_000_000_000
_BETWEEN: Final = 40  # ms from one event to the next
TEXTS: Final = (
    "买到过期牛奶，商家态度恶劣，要求退款并赔偿损失",
    "健身房突然关门，老板失联，预付卡里还有三千元",
    "在网店购买的商品与宣传不符，商家拒绝退款",
    "小区电梯多次困人，物业一直不处理",
    "服务态度差，等了两个小时没有人接待",
    "吃完外卖以后全家腹泻，已经去医院就医",
    "停车收费没有明码标价，多收了二十元",
)
_RULE: Final = """\
id: made
version: 1
title: {zh: 测量用规则, en: A rule for measuring}
owner: market-regulation
legal_basis: 《中华人民共和国消费者权益保护法》第三十九条
on: [complaint, violation, consumer-rights]
condition: "true"
group_by: enterprise
window: {size: 7d, lateness: 1d}
trigger:
  count: {at_least: 5}
severity: high
case: {key: enterprise}
lead: market-regulation
"""
_MORE: Final = (
    "",
    " && amount_fen > 20000",
    ' && region_within(region, "cn:31")',
    ' && contains_any(text, ["过期", "腹泻", "失联", "退款", "电梯", "收费"])',
    " && present(enterprise)",
    ' && kind == "complaint" && nature != "report"',
)
_GROUPS: Final = ("enterprise", "region.county", "enterprise", "product", "enterprise", "address")
_TRIGGERS: Final[tuple[dict[str, Any], ...]] = (
    {"count": {"at_least": 5}},
    {"distinct": {"of": "reporter", "at_least": 4}},
    {"sum": {"of": "amount_fen", "at_least": 5_000_000}, "count": {"at_least": 3}},
)
_SETTLED: Final = {"avg": {"of": "amount_fen", "at_least": 600_000}, "count": {"at_least": 3}}
_OF_ANY_CATEGORY: Final = 18
_BY_THE_CLOCK: Final = 19


def make_rules(count: int, reference: Reference) -> RuleSet:
    """So many rules. RuleErrors would be a fault of this module."""
    checker = Checker(reference)
    document = parse(_RULE)
    rules: list[Rule] = []
    for number in range(count):
        group = _GROUPS[number % len(_GROUPS)]
        changes = {
            "id": f"made-{number}",
            "condition": _condition(number),
            "group_by": group,
            "trigger": _SETTLED if number % 20 == _BY_THE_CLOCK else _TRIGGERS[number % len(_TRIGGERS)],
            "case": {"key": group},
        }
        rule, errors = checker.rule(replace(document, value={**document.value, **changes}))
        if rule is None:
            raise RuleErrors(errors)
        rules.append(rule)
    return RuleSet(rules)


def _condition(number: int) -> str:
    if number % 20 != _OF_ANY_CATEGORY:
        return f'category == "{category(number)}"{_MORE[number % len(_MORE)]}'
    if number % 40 == _OF_ANY_CATEGORY:
        return f'contains_any(text, ["词语{number}", "短语{number}"])'
    return f'product == "product {number}" && amount_fen > 1000'


def category(number: int) -> str:
    """The category that rule `number` tests."""
    return f"matter:{number}"


def for_rules(events: Sequence[Event], rules: int, seed: int) -> list[Event]:
    """The same events, each of a category that one of so many rules tests."""
    source = random.Random(seed)
    tested = [category(number) for number in range(rules) if number % 20 != _OF_ANY_CATEGORY]
    return [event._replace(category=source.choice(tested)) for event in events]


def make_events(count: int, seed: int) -> list[Event]:
    """Ordinary traffic: most enterprises rarely, a few often; one event in five without an enterprise."""
    source = random.Random(seed)
    regions = [f"cn:{code}" for code in ("310115", "310101", "330106", "440305", "110105", "510104", "320505")]
    events: list[Event] = []
    for number in range(count):
        kind = source.choices(("complaint", "violation", "consumer-rights"), (7, 2, 1))[0]
        values = dict.fromkeys(Event._fields)
        violation = kind == "violation"
        values.update(
            id=event_id("bench", str(number)),
            source="bench",
            source_id=str(number),
            kind=kind,
            nature=source.choice(("complaint", "report")) if kind == "complaint" else None,
            category=source.choice(CATEGORIES),
            occurred_at=START + number * _BETWEEN + source.randrange(60_000),
            received_at=START + number * _BETWEEN + 60_000,
            enterprise=None if source.random() < 0.2 else f"uscc:{int(300 * source.paretovariate(0.6)) % 300_000:018d}",
            region=source.choice(regions),
            industry=source.choice(("cn:H62", "cn:F52", "cn:P83", "cn:O80")),
            product=f"product {source.randrange(5_000)}" if source.random() < 0.3 else None,
            platform=f"platform {source.randrange(20)}" if source.random() < 0.2 else None,
            address=f"幸福路{source.randrange(50_000)}号" if source.random() < 0.4 else None,
            amount_fen=source.randrange(1_000_000) if source.random() < 0.5 else None,
            result=source.choice(("pass", "pass", "pass", "conditional", "fail")) if violation else None,
            penalty_fen=source.choice((None, None, 500_000)) if violation else None,
            outcome=source.choice(("pending", "mediated", "refused")) if kind == "consumer-rights" else None,
            reporter=f"{source.randrange(500_000):016x}" if not violation else None,
            tags=(),
            historical=False,
            content_hash="",
            text=source.choice(TEXTS) if not violation else None,
        )
        events.append(Event(**values))  # type: ignore[arg-type]
    return events
