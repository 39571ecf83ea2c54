"""The events that every variant of the benchmark is measured with: valid by the contract, and like real traffic.

Complaints, violations and consumer-rights events in the shares of a city's hotline, spread over every category that
the shipped rules know and over 20,000 enterprises of which few have most events. The texts are those of the simulated
feed, so some of them have the words that rules look for and most have not. Deterministic from a seed; `python -m
bench.events` prints what the shipped rules make of them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final, NamedTuple

from jianguan.clock import SystemClock
from jianguan.domain.contract import TOPIC_OF_KIND
from jianguan.domain.identifiers import make_uscc, organisation_check_character
from jianguan.domain.regions import Regions
from jianguan.embedded.demo_words import CHANNELS, CITIES, DEMANDS, FANCY_WORDS, PLATFORMS, STREETS, TEXTS, TRADES
from rules.fields import CATEGORIES

ENTERPRISES: Final = 20_000
REPORTERS: Final = 200_000
SKEW: Final = 3.0  # the busiest hundredth of the enterprises has about a fifth of the events
PERIOD: Final = timedelta(days=10)
SHARES: Final = (60, 30, 10)  # of complaints, violations and consumer-rights events
SEED: Final = 12315
_PLAIN_TEXTS: Final = (
    "在{name}消费后要求开具发票，店员以系统故障为由推脱，至今没有结果，希望有关部门协调处理。",
    "{name}答应一周内上门处理{item}，等了两周没有人来，电话也打不通，要求尽快给一个说法。",
    "{when}到{name}办理{item}，排队两个小时才轮到，工作人员态度生硬，请督促改进。",
)


class Wire(NamedTuple):
    """One event as it goes to the broker."""

    topic: str
    key: bytes
    value: bytes


class _Enterprise(NamedTuple):
    uscc: str
    name: str
    region: str
    industry: str
    items: tuple[str, ...]


def events(
    count: int,
    seed: int = SEED,
    until: datetime | None = None,
    period: timedelta = PERIOD,
    shares: Sequence[int] = SHARES,
    enterprises: int = ENTERPRISES,
) -> Iterator[Wire]:
    """`count` events whose times are spread over the `period` before `until` (now, unless given).

    `shares` are the weights of complaints, violations and consumer-rights events; `enterprises` is how many there are.
    """
    source = Random(seed)
    parties = _enterprises(Random(seed))[:enterprises]
    end = until or SystemClock().now()
    for number in range(count):
        event = _event(number, source, parties, moment(number, count, end, period), shares)
        value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        yield Wire(TOPIC_OF_KIND[event["kind"]], event["id"].encode(), value)


def moment(number: int, count: int, until: datetime, period: timedelta = PERIOD) -> datetime:
    """When the event of this number, of `count`, happens."""
    return until - period + period * (number / count)


def _event(
    number: int, source: Random, enterprises: list[_Enterprise], at: datetime, shares: Sequence[int]
) -> dict[str, Any]:
    # The cube of a uniform number favours small indices, as complaints do.
    enterprise = enterprises[int(len(enterprises) * source.random() ** SKEW)]
    kind = source.choices(("complaint", "violation", "consumer-rights"), shares)[0]
    category = source.choice(CATEGORIES)
    event: dict[str, Any] = {
        "id": f"B{number:08d}",
        "source": "12315",
        "kind": kind,
        "occurred_at": at.astimezone(UTC).isoformat(timespec="seconds"),
        "category": category,
        "region": enterprise.region,
        "industry": enterprise.industry,
    }
    if source.random() < 0.85:  # who complains of a street or a noise often names nobody
        event["enterprise"] = {"id": enterprise.uscc, "name": enterprise.name}
    if source.random() < 0.3:
        event["amount_fen"] = source.randrange(1_000, 500_000)
    if kind == "violation":
        event["result"] = source.choices(("pass", "conditional", "fail"), (80, 12, 8))[0]
        event["severity"] = source.randrange(1, 6)
        event["text"] = _text("service", enterprise, source)
        return event
    event["channel"] = source.choice(CHANNELS)
    event["text"] = _text(category, enterprise, source)
    if source.random() < 0.4:
        event["reporter"] = {"phone": f"139{source.randrange(REPORTERS):08d}"}
    if source.random() < 0.2:
        event["platform"] = source.choice(PLATFORMS)
    if kind == "complaint" and source.random() < 0.2:
        event["demand"] = source.choice(DEMANDS)
    return event


def _text(category: str, enterprise: _Enterprise, source: Random) -> str:
    sayings = TEXTS.get(category, _PLAIN_TEXTS) if source.random() < 0.5 else _PLAIN_TEXTS
    return source.choice(sayings).format(
        name=enterprise.name,
        item=source.choice(enterprise.items),
        yuan=source.randrange(20, 5_000),
        when="昨天下午",
        address=f"{source.choice(STREETS)}{source.randrange(1, 300)}号",
    )


def _enterprises(source: Random) -> list[_Enterprise]:
    # All counties, so that no county has a surge all the time.
    counties = list(Regions.load().codes("cn", "county", date(2026, 1, 1)))
    found: list[_Enterprise] = []
    for number in range(ENTERPRISES):
        trade = source.choice(TRADES)
        county = source.choice(counties).removeprefix("cn:")
        first8 = f"{number:08d}"
        uscc = make_uscc("9", "1", county, first8 + organisation_check_character(first8))
        name = f"{source.choice(CITIES)[1]}{source.choice(FANCY_WORDS)}{source.choice(trade.endings)}"
        found.append(_Enterprise(uscc, name, county, trade.industry, trade.items))
    return found


def main() -> None:
    """Print what the shipped rules make of 20,000 of these events."""
    from jianguan.domain.admission import Reference as Codes
    from jianguan.domain.admission import admit, decode
    from jianguan.domain.industries import Industries
    from rules.facts import Matcher
    from rules.reference import Reference
    from rules.ruleset import RuleSet

    count = 20_000
    reference = Reference.packaged()
    matcher = Matcher(RuleSet.load([RuleSet.library_path()], reference), reference)
    codes = Codes(Regions.load(), Industries.load(), b"0" * 32)
    now = int(SystemClock().now().timestamp() * 1000)
    size = 0
    rules: Counter[str] = Counter()
    for topic, _, value in events(count):
        size += len(value)
        event, _personal = admit(decode(value, topic), codes, now)
        rules.update(fact.rule for fact in matcher.facts(event))
    found = {
        "mean_bytes": round(size / count),
        "facts_per_event": round(rules.total() / count, 3),
        "rules_matched": len(rules),
        "most_matched": rules.most_common(5),
    }
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
