"""A simulated feed that looks like a city's day: what the demonstration shows before anyone connects a real source.

Deterministic: event number n of a seed is always the same but for its time, so a restart goes on where it stopped
without repeating an id. Pure: it knows neither clocks nor brokers; whoever sends asks what is due when. Every person,
enterprise and number in it is invented.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, Literal, NamedTuple

from jianguan.domain.codes import packaged_codes
from jianguan.domain.identifiers import USCC_ALPHABET, make_uscc, organisation_check_character
from jianguan.embedded.demo_words import (
    BURSTS,
    CHANNELS,
    CITIES,
    COMPOUNDS,
    DEMANDS,
    FANCY_ENDINGS,
    FANCY_WORDS,
    GIVEN_NAMES,
    MOBILE_PREFIXES,
    PLATFORMS,
    STREETS,
    SURNAMES,
    TEXTS,
    TRADES,
    Trade,
)

ENTERPRISES: Final = 3_000
_CYCLE: Final = 600  # positions; a burst belongs to a cycle
_BURST_EVENTS: Final = 8
_FIRST: Final[dict[str, int]] = {  # where the bursts of the first cycle begin
    "food-poisoning": 2,
    "gym-run-off": 60,
    "refund-refused": 110,
    "elevator": 160,
    "odour": 210,
}
_LATER_EVERY: Final = 3  # one cycle in so many has a burst, after the first
_SWAY: Final = 0.4  # the rate goes up and down by this part of itself
_PERIOD: Final = 720  # positions from one peak of the rate to the next
_DUPLICATES: Final = 0.03
_BAD: Final = 0.01
_LATE: Final = 0.003
_REGULARS: Final = 0.3  # of the events are about those who are complained about again and again
_LATE_DAYS: Final = 120

Flavour = Literal["plain", "burst", "duplicate", "bad", "late"]


class Enterprise(NamedTuple):
    """An invented enterprise with a valid USCC."""

    uscc: str
    name: str
    trade: Trade
    region: str  # cn:… of a county
    address: str
    latitude: float
    longitude: float


class DemoFeed:
    """An endless iterator of (seconds after `start` at which it is due, wire event).

    `start` is aware; an event occurs when it is due. `position` is the number of the next event: keep it, and
    `at(position)` goes on from there. `rate` is the mean of events a second.
    """

    def __init__(self, seed: int, start: datetime, position: int = 0, rate: float = 12.0) -> None:
        if start.tzinfo is None:
            raise ValueError("a feed needs a start with a zone")
        self.seed = seed
        self.start = start
        self.position = position
        self.rate = rate
        self._first = position
        self._counties = _counties()
        self._made: dict[int, Enterprise] = {}
        self._by_trade = {trade.key: number for number, trade in enumerate(TRADES)}

    def at(self, position: int, start: datetime | None = None) -> DemoFeed:
        """The same feed from event number `position` on, due from `start` (the old one unless given)."""
        return DemoFeed(self.seed, start or self.start, position, self.rate)

    def __iter__(self) -> Iterator[tuple[float, dict[str, Any]]]:
        return self

    def __next__(self) -> tuple[float, dict[str, Any]]:
        number = self.position
        self.position += 1
        return self.due(number), self.event(number)

    def due(self, number: int) -> float:
        """Seconds after `start` at which event `number` is due; grows with `number`, 0 where this feed began."""
        return (self._pace(number) - self._pace(self._first)) / self.rate

    def _pace(self, number: int) -> float:
        """`number`, swaying: its slope is between 1 - _SWAY and 1 + _SWAY."""
        turn = 2 * math.pi / _PERIOD
        return number + _SWAY / turn * math.sin(turn * number)

    def flavour(self, number: int) -> Flavour:
        """What event `number` is: plain, part of a burst, sent before, of no use, or late."""
        if burst_at(number) is not None:
            return "burst"
        draw = self._random(number, "flavour").random()
        if draw < _DUPLICATES and number > self._first:
            return "duplicate"
        draw -= _DUPLICATES
        if draw < 0:  # would repeat an event of before the restart, whose time is not known any more
            return "plain"
        return "bad" if draw < _BAD else "late" if draw < _BAD + _LATE else "plain"

    def event(self, number: int) -> dict[str, Any]:
        """Event `number`: plain JSON."""
        flavour = self.flavour(number)
        if flavour == "duplicate":
            number = self._original(number)
            flavour = self.flavour(number)
        random = self._random(number, "event")
        moment = self.start + timedelta(seconds=self.due(number))
        burst = burst_at(number)
        event = self._burst(random, *burst) if burst is not None else self._plain(random)
        event["id"] = f"demo-{self.seed}-{number}"
        event["number"] = f"D{self.seed % 10_000:04d}{number:010d}"
        event["occurred_at"] = moment.isoformat(timespec="milliseconds")
        if flavour == "late":
            event["occurred_at"] = (moment - timedelta(days=_LATE_DAYS)).isoformat(timespec="milliseconds")
        elif flavour == "bad":
            _spoil(event, random)
        return event

    def enterprise(self, index: int) -> Enterprise:
        """Invented enterprise number `index`, from 0 to ENTERPRISES - 1; its trade is `index` modulo the trades."""
        made = self._made.get(index)
        if made is None:
            made = self._made[index] = self._make_enterprise(index)
        return made

    def _random(self, number: int, purpose: str) -> Random:
        return Random(f"{self.seed}:{purpose}:{number}")  # noqa: S311  nothing secret depends on it

    def _original(self, number: int) -> int:
        """The event that `number` repeats: one of the few before it in this run, itself no duplicate."""
        earlier = number - self._random(number, "original").randint(1, 40)
        while earlier > self._first and self.flavour(earlier) == "duplicate":
            earlier -= 1
        return max(self._first, earlier)

    def _make_enterprise(self, index: int) -> Enterprise:
        random = self._random(index, "enterprise")
        trade = TRADES[index % len(TRADES)]
        region, county, city, latitude, longitude = random.choice(self._counties)
        first8 = "".join(random.choice("0123456789") for _ in range(7)) + random.choice("0123456789ABCDEFG")
        digits = first8 + organisation_check_character(first8)
        uscc = make_uscc("9", "1", region[3:], digits)
        word = random.choice(FANCY_WORDS) + (random.choice(FANCY_ENDINGS) if random.random() < 0.5 else "")
        short = county.removesuffix("新区").removesuffix("区").removesuffix("县").removesuffix("市")
        name = f"{city}{short}{word}{random.choice(trade.endings)}"
        address = f"{city}{county}{random.choice(STREETS)}{random.randint(1, 999)}号"
        return Enterprise(
            uscc,
            name,
            trade,
            region,
            address,
            round(latitude + random.uniform(-0.2, 0.2), 5),
            round(longitude + random.uniform(-0.2, 0.2), 5),
        )

    def _someone(self, random: Random) -> Enterprise:
        """Any enterprise; in _REGULARS of the cases one by a law in which the first has twice as much as the second."""
        if random.random() < _REGULARS:
            return self.enterprise(int(ENTERPRISES ** random.random()) - 1)
        return self.enterprise(random.randrange(ENTERPRISES))

    def _plain(self, random: Random) -> dict[str, Any]:
        enterprise = self._someone(random)
        category = random.choice(enterprise.trade.categories)
        draw = random.random()
        if draw < 0.18:
            return self._violation(random, enterprise, category)
        event = self._about(enterprise, category) | self._said(random, enterprise, category, TEXTS[category])
        if draw < 0.30:
            return event | _claim(random, event)
        nature = "report" if random.random() < 0.35 else "complaint"
        event |= {"kind": "complaint", "nature": nature, "source": random.choice(("cn:12315", "cn:12345"))}
        if nature == "complaint":
            event["demand"] = random.choice(DEMANDS)
        return event

    def _burst(self, random: Random, kind: str, cycle: int) -> dict[str, Any]:
        trade, category, texts, tags = BURSTS[kind]
        where = self._random(cycle, f"burst:{kind}")
        place = where.randrange(ENTERPRISES // len(TRADES)) * len(TRADES) + self._by_trade[trade]
        enterprise = self.enterprise(place)
        address = enterprise.address + where.choice(COMPOUNDS) if kind in ("elevator", "odour") else enterprise.address
        enterprise = enterprise._replace(address=address)
        event = self._about(enterprise, category) | self._said(random, enterprise, category, texts)
        event |= {"kind": "complaint", "nature": "complaint", "source": "cn:12345", "tags": list(tags)}
        event["reporter"] = _reporter(random)  # a burst is many people
        if kind == "refund-refused":
            event["platform"] = where.choice(PLATFORMS)
        if kind == "odour":  # people smell it and do not know whose it is
            del event["enterprise"], event["industry"]
        return event

    def _about(self, enterprise: Enterprise, category: str) -> dict[str, Any]:
        return {
            "category": category,
            "enterprise": {"scheme": "uscc", "id": enterprise.uscc, "name": enterprise.name},
            "region": enterprise.region,
            "industry": enterprise.trade.industry,
            "address": enterprise.address,
            "position": {"latitude": enterprise.latitude, "longitude": enterprise.longitude},
        }

    def _said(self, random: Random, about: Enterprise, category: str, texts: tuple[str, ...]) -> dict[str, Any]:
        item = random.choice(about.trade.items)
        yuan = random.choice((19.9, 68, 128, 299, 680, 1280, 2999, 5800, 12800)) * random.choice((1, 1, 1, 2))
        when = random.choice(("今天", "昨天", "前天", "上周末", "本月初"))
        slots = {"name": about.name, "item": item, "yuan": f"{yuan:g}", "when": when, "address": about.address}
        text = random.choice(texts).format_map(slots)
        said: dict[str, Any] = {"text": text, "channel": random.choice(CHANNELS), "product": item}
        if "元" in text:
            said["amount_fen"] = round(yuan * 100)
        if category == "online-trade":
            said["platform"] = random.choice(PLATFORMS)
        if random.random() < 0.85:
            said["reporter"] = _reporter(random)
        return said

    def _violation(self, random: Random, enterprise: Enterprise, category: str) -> dict[str, Any]:
        result = random.choices(("pass", "conditional", "fail", "none"), (60, 18, 18, 4))[0]
        counts = {"pass": (0, 0, 2), "conditional": (0, 2, 4), "fail": (2, 4, 6), "none": (0, 0, 0)}[result]
        event = self._about(enterprise, category) | {
            "kind": "violation",
            "source": "cn:inspection",
            "result": result,
            "inspection": f"JC{random.randrange(10**10):010d}",
        }
        names = ("critical_count", "serious_count", "minor_count")
        event |= {name: random.randint(0, most) for name, most in zip(names, counts, strict=True)}
        if result == "fail":
            event["critical_count"] = max(1, event["critical_count"])
            event["severity"] = random.randint(2, 5)
            if random.random() < 0.6:
                event["penalty_fen"] = random.choice((500, 2_000, 10_000, 50_000, 100_000)) * 100
        return event


def burst_at(number: int) -> tuple[str, int] | None:
    """(kind, cycle) of the burst that event `number` belongs to. Every second event of a stretch is part of it."""
    cycle, place = divmod(number, _CYCLE)
    if cycle == 0:
        kinds = _FIRST
    elif cycle % _LATER_EVERY == 0:
        kind = list(_FIRST)[cycle // _LATER_EVERY % len(_FIRST)]
        kinds = {kind: _FIRST[kind]}
    else:
        return None
    for kind, begin in kinds.items():
        if begin <= place < begin + 2 * _BURST_EVENTS and (place - begin) % 2 == 0:
            return kind, cycle
    return None


def _counties() -> list[tuple[str, str, str, float, float]]:
    """(code, county, city, latitude, longitude) of the counties that are in force in the feed's cities."""
    cities = {prefix: (name, latitude, longitude) for prefix, name, latitude, longitude in CITIES}
    return [
        (row.code, row.name_zh, *cities[row.code[3:7]])
        for row in packaged_codes("regions_cn.csv")
        if row.level == "county" and row.valid_until is None and row.code[3:7] in cities
    ]


def _reporter(random: Random) -> dict[str, str]:
    phone = random.choice(MOBILE_PREFIXES) + "".join(random.choice("0123456789") for _ in range(8))
    return {"name": random.choice(SURNAMES) + random.choice(GIVEN_NAMES), "phone": phone}


def _claim(random: Random, event: dict[str, Any]) -> dict[str, Any]:
    outcome = random.choices(("pending", "mediated", "refused", "withdrawn", "transferred"), (40, 30, 15, 10, 5))[0]
    claim: dict[str, Any] = {
        "kind": "consumer-rights",
        "source": "cn:12315",
        "right": random.choice(("safety", "knowledge", "choice", "fair-trade", "compensation")),
        "outcome": outcome,
    }
    if outcome == "mediated" and "amount_fen" in event:
        claim["compensation_fen"] = event["amount_fen"] * random.randint(1, 3)
    return claim


def _spoil(event: dict[str, Any], random: Random) -> None:
    """Makes the event one that cannot be used, in one of the ways that are met in life."""
    fault = random.randrange(5)
    if fault == 0 and "enterprise" in event:
        last = event["enterprise"]["id"][-1]
        event["enterprise"]["id"] = event["enterprise"]["id"][:-1] + USCC_ALPHABET[USCC_ALPHABET.index(last) - 1]
    elif fault == 1:
        event["occurred_at"] = event["occurred_at"][:19]  # without a zone
    elif fault == 2:
        event["region"] = "cn:999999"
    elif fault == 3:
        event["amount_fen"] = "很多"
    else:
        del event["category"]
