"""How many events a second the rules take on one core: matcher and engine with the shipped library.

    python -m bench.engine [--events 200000] [--seed 1]

Prints one JSON object: events a second of CPU time for matching alone, for the engine on the facts, and for both;
facts and alerts
an event; memory of the windows. Events are validated ones, made by a seeded generator; no I/O is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
import tracemalloc
from collections.abc import Sequence

from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from jianguan.domain.ids import event_id
from rules.engine import Engine
from rules.facts import Matcher
from rules.fields import CATEGORIES
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet

START = 1_772_000_000_000
TEXTS = (
    "买到过期牛奶，商家态度恶劣，要求退款并赔偿损失",
    "健身房突然关门，老板失联，预付卡里还有三千元",
    "在网店购买的商品与宣传不符，商家拒绝退款",
    "小区电梯多次困人，物业一直不处理",
    "服务态度差，等了两个小时没有人接待",
    "吃完外卖以后全家腹泻，已经去医院就医",
    "停车收费没有明码标价，多收了二十元",
)


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
            occurred_at=START + number * 40 + source.randrange(60_000),
            received_at=START + number * 40 + 60_000,
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


def match(matcher: Matcher, events: Sequence[Event]) -> list[Fact]:
    """Facts of all events."""
    found: list[Fact] = []
    facts = matcher.facts
    for event in events:
        found += facts(event)
    return found


def add(engine: Engine, facts: Sequence[Fact]) -> int:
    """Alerts of all facts."""
    alerts = 0
    for fact in facts:
        alerts += len(engine.add(fact, START).alerts)
    return alerts


def both(matcher: Matcher, engine: Engine, events: Sequence[Event]) -> int:
    """Alerts of all events, an event at a time."""
    alerts = 0
    facts, decide = matcher.facts, engine.add
    for event in events:
        for fact in facts(event):
            alerts += len(decide(fact, START).alerts)
    return alerts


def bytes_a_key(rule: Rule, keys: int = 50_000) -> float:
    """Memory of a key with three facts, everything counted."""
    facts = [
        Fact(
            f"ft-{number:024x}", rule.id, rule.version, f"uscc:{number // 3:018d}", START + number % 3,
            f"ev-{number:024x}", START, None, None, None, None, None, None, "other",
        )
        for number in range(keys * 3)
    ]  # fmt: skip
    engine = Engine(RuleSet([rule]))
    tracemalloc.start()
    engine.fold(facts)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    own_keys = sum(49 + len(fact.key) for fact in facts[::3])  # the keys' texts live in the facts made above
    return (used + own_keys) / keys


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    reference = Reference.packaged()
    ruleset = RuleSet.load([RuleSet.library_path()], reference)
    matcher = Matcher(ruleset, reference)
    events = make_events(options.events, options.seed)
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    started = time.process_time()
    facts = match(matcher, events)
    matched = time.process_time()
    alerts = add(Engine(ruleset), facts)
    added = time.process_time()
    fact_count = len(facts)
    del facts
    engine = Engine(ruleset)
    gc.collect()
    again_from = time.process_time()
    again = both(matcher, engine, events)
    done = time.process_time()
    assert alerts == again
    count = len(events)
    one = ruleset.by_id("expired-food")
    assert one is not None
    print(
        json.dumps(
            {
                "rules": len(ruleset.running),
                "events": count,
                "events_per_second_matching": round(count / (matched - started)),
                "facts_per_second_engine": round(fact_count / (added - matched)),
                "events_per_second_both": round(count / (done - again_from)),
                "facts_per_event": round(fact_count / count, 3),
                "alerts_per_thousand_events": round(1000 * alerts / count, 2),
                "keys": sum(stats.keys for stats in engine.stats().values()),
                "bytes_per_key_of_three_facts": round(bytes_a_key(one)),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
