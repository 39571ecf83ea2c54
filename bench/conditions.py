"""How long one event takes to be held against all conditions, however many there are.

    python -m bench.conditions

Thirty conditions as rules really have them, and larger sets whose rules are spread over as many categories as a
province's catalogue has. The events are spread over the same categories, a tenth of their fields missing.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import Any, NamedTuple

from rules.cel import Environment, Matcher, compile_many

FIELDS = {
    "kind": "string",
    "category": "string",
    "region": "string",
    "industry": "string",
    "enterprise": "string",
    "platform": "string",
    "text": "string",
    "amount_fen": "int",
    "severity": "int",
    "latitude": "double",
    "longitude": "double",
    "occurred_at": "timestamp",
    "received_at": "timestamp",
    "historical": "bool",
}

TYPICAL = (
    'kind == "complaint" && category == "food" && amount_fen > 100000',
    'kind == "complaint" && category == "food" && contains_any(text, ["变质", "过期", "异物", "中毒"])',
    'category == "food" && region_within(region, "cn:31")',
    'category == "food" && kind == "violation" && severity >= 3',
    'category == "drug" && contains_any(text, ["假药", "劣药", "无批号"])',
    'category == "drug" && severity >= 2',
    'category == "drug" && kind == "violation"',
    'category == "price" && amount_fen >= 500000',
    'category == "price" && region_within(region, "cn:11") && kind == "complaint"',
    'category == "price" && contains_any(text, ["哄抬", "天价"])',
    'category == "prepaid-card" && amount_fen > 200000',
    'category == "prepaid-card" && contains_any(text, ["跑路", "关门", "失联"])',
    'category == "prepaid-card" && kind == "consumer-rights"',
    'category == "advertising" && contains_any(text, ["最佳", "国家级", "包治"])',
    'category == "advertising" && platform == "p3"',
    'category == "advertising" && severity > 1',
    'category == "equipment" && severity >= 4',
    'category == "equipment" && industry_within(industry, "cn:H")',
    'category == "equipment" && region_within(region, "cn:44")',
    'category == "trademark" && amount_fen > 1000000',
    'category == "trademark" && present(enterprise)',
    'category == "telecom" && kind in ["complaint", "consumer-rights"] && amount_fen > 50000',
    'category == "telecom" && region_within(region, "cn:31")',
    'category == "tourism" && amount_fen > 300000 && kind == "complaint"',
    'category == "tourism" && contains_any(text, ["强制购物", "零团费"])',
    'kind == "violation" && severity >= 5',
    'kind == "consumer-rights" && amount_fen > 5000000',
    'kind == "complaint" && platform == "p1" && amount_fen > 1000000',
    'kind == "complaint" && platform == "p2" && amount_fen > 1000000',
    "amount_fen > 10000000",
)

SHAPES = (
    'category == "{category}" && kind == "complaint" && amount_fen > {amount}',
    'category == "{category}" && region_within(region, "cn:{region}")',
    'category == "{category}" && severity >= {severity}',
    'category == "{category}" && contains_any(text, ["词{number}", "过期"])',
    'category in ["{category}", "{other}"] && kind == "violation"',
)
PER_CATEGORY = 3
WORDS = ("变质", "过期", "跑路", "服务态度很差", "要求退款", "商家拒绝", "购买的商品", "与宣传不符", "天价", "质量问题")


class Event(NamedTuple):
    """A plain event: every field an attribute, None when missing."""

    kind: str | None
    category: str | None
    region: str | None
    industry: str | None
    enterprise: str | None
    platform: str | None
    text: str | None
    amount_fen: int | None
    severity: int | None
    latitude: float | None
    longitude: float | None
    occurred_at: int | None
    received_at: int | None
    historical: bool | None


def environment() -> Environment:
    """The fields, with codes that lie within one another by their beginnings."""
    return Environment(FIELDS, region_within=str.startswith, industry_within=str.startswith)


def conditions(number: int, choice: random.Random) -> tuple[list[str], list[str]]:
    """That many condition texts, and the categories that they are about."""
    if number <= len(TYPICAL):
        texts = list(TYPICAL[:number])
        return texts, sorted({part.split('"')[1] for part in texts if part.startswith("category ==")})
    categories = [f"category-{each}" for each in range(number // PER_CATEGORY)]
    texts = [
        choice.choice(SHAPES).format(
            category=categories[each % len(categories)],
            other=choice.choice(categories),
            amount=choice.randrange(10**4, 10**6),
            region=choice.randrange(11, 66),
            severity=choice.randrange(1, 6),
            number=each,
        )
        for each in range(number)
    ]
    return texts, categories


def events(number: int, categories: Sequence[str], choice: random.Random) -> list[Event]:
    """That many events over the categories; a tenth of the fields that may be missing are."""

    def maybe(value: Any) -> Any:
        return None if choice.random() < 0.1 else value

    return [
        Event(
            kind=choice.choice(("complaint", "violation", "consumer-rights")),
            category=choice.choice(categories),
            region=maybe(f"cn:{choice.randrange(11, 66)}{choice.randrange(100):02d}00"),
            industry=maybe(f"cn:{choice.choice('ABCDEFGH')}{choice.randrange(100):02d}"),
            enterprise=maybe(f"uscc:{choice.randrange(10**6)}"),
            platform=maybe(f"p{choice.randrange(10)}"),
            text=maybe("，".join(choice.choices(WORDS, k=6))),
            amount_fen=maybe(int(choice.lognormvariate(11, 2))),
            severity=maybe(choice.randrange(1, 6)),
            latitude=maybe(31.0 + choice.random()),
            longitude=maybe(121.0 + choice.random()),
            occurred_at=1_700_000_000_000,
            received_at=1_700_000_100_000,
            historical=False,
        )
        for _ in range(number)
    ]


def microseconds_an_event(matcher: Matcher, some: Sequence[Event], rounds: int = 7) -> float:
    """The median over rounds of processor time an event, in microseconds."""
    measured = []
    for _ in range(rounds):
        started = process_time()
        for event in some:
            matcher(event)
        measured.append((process_time() - started) / len(some) * 1e6)
    return statistics.median(measured)


def measure(number: int, some: int = 20_000, seed: int = 7) -> tuple[float, float, float]:
    """Microseconds an event, seconds to check and seconds to compile, for that many conditions."""
    choice = random.Random(seed)
    texts, categories = conditions(number, choice)
    fields = environment()
    started = perf_counter()
    checked = [(text, fields.check(text)) for text in texts]
    checking = perf_counter() - started
    started = perf_counter()
    matcher = compile_many(checked)
    compiling = perf_counter() - started
    return microseconds_an_event(matcher, events(some, categories, choice)), checking, compiling


def main() -> None:
    """Prints one line for each number of conditions."""
    print(f"{'conditions':>10} {'µs/event':>9} {'check s':>8} {'compile s':>9}")
    for number in (30, 300, 3_000, 10_000):
        an_event, checking, compiling = measure(number)
        print(f"{number:>10,} {an_event:>9.2f} {checking:>8.2f} {compiling:>9.2f}")


if __name__ == "__main__":
    main()
