"""What is sent: a pure function of a seed and a start.

Each record says by which door it comes, and what has to become of it. Records of one event (repeats, repeats with other
content) come by the same door and topic, after it: then they are in one partition, in this order, and which of them is
the first does not depend on who was quicker. The events' own ids and times are all that rules look at, so nothing else
depends on the order.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, Literal, NamedTuple

from tests.chaos.rulebook import DECISION_WITHIN
from tests.end_to_end.support import complaint, uscc

Door = Literal["http", "kafka"]

LATE: Final = timedelta(days=120)  # more than JIANGUAN_MAX_AGE
BLOCK: Final = 12.0  # seconds in which the same enterprises are complained of, so that alerts go on to the end
ENTERPRISES: Final = 14  # of a block
REMEMBERED: Final = 300  # events that may be repeated


class Sent(NamedTuple):
    """One record."""

    at: float  # seconds from the start
    door: Door
    topic: str
    key: str  # the event's name, or that of a record that is none
    value: bytes
    outcome: str  # accepted | duplicate | late | quarantined


class _Maker:
    def __init__(self, seed: int, start: datetime) -> None:
        self._chance = Random(f"stream {seed}")
        self._start = start
        self._number = 0
        self._known: list[tuple[Sent, dict[str, Any]]] = []

    def records(self, at: float) -> list[Sent]:
        """What is sent at one moment, and because of it later."""
        dice = self._chance.random()
        if dice < 0.06 and self._known:
            return [self._repeat(at, changed=dice < 0.015)]
        if dice < 0.07:
            return [self._garbage(at)]
        if dice < 0.20:
            return self._filed(at)
        self._number += 1
        if dice < 0.30:
            return [self._new(at, self._violation(at))]
        event = complaint(self._number, self._before(at, 1, 30), self._enterprise(at))
        if dice < 0.32:
            return [self._new(at, {**event, "region": "999999"}, "quarantined")]
        if dice < 0.34:
            return [self._new(at, {**event, "occurred_at": (self._start - LATE).isoformat()}, "late")]
        return [self._new(at, event)]

    def _new(self, at: float, event: dict[str, Any], outcome: str = "accepted") -> Sent:
        door: Door = self._chance.choice(("http", "kafka"))
        topic = "violations" if event["kind"] == "violation" else "complaints"
        sent = Sent(at, door, topic, f"{event['source']}/{event['id']}", _json(event), outcome)
        if outcome != "quarantined":
            self._known = [*self._known[-REMEMBERED:], (sent, event)]
        return sent

    def _repeat(self, at: float, *, changed: bool) -> Sent:
        # Not one that is planned, but not sent yet.
        past = [each for each in self._known if each[0].at < at] or self._known[:1]
        sent, event = self._chance.choice(past)
        at = max(at, sent.at)
        if changed:
            return sent._replace(at=at, value=_json({**event, "category": "other-matter"}), outcome="quarantined")
        return sent._replace(at=at, outcome="duplicate")

    def _garbage(self, at: float) -> Sent:
        self._number += 1
        value = self._chance.choice([b'{"kind": "complaint", "id": %d', b"[%d]", b"\xff\xfe %d"]) % self._number
        return Sent(at, "kafka", "complaints", f"garbage/{self._number}", value, "quarantined")

    def _filed(self, at: float) -> list[Sent]:
        """A complaint, and about half of the time the decision on it, perhaps by the other door."""
        self._number += 1
        matter = {"category": "service", "product": f"matter {self._number}", "status": "filed"}
        found = [self._new(at, complaint(self._number, self._before(at, 1, 2), self._enterprise(at), **matter))]
        if self._chance.random() < 0.5:
            self._number += 1
            later = at + self._chance.uniform(0.5, DECISION_WITHIN - 2)
            decided = complaint(self._number, self._before(later, 1, 1), 1, **{**matter, "status": "accepted"})
            found.append(self._new(later, decided))
        return found

    def _violation(self, at: float) -> dict[str, Any]:
        return {
            "kind": "violation",
            "source": "tests",
            "id": f"V{self._number:06d}",
            "category": "food-safety",
            "occurred_at": self._before(at, 1, 30),
            "region": "310104",
            "enterprise": {"id": uscc(self._enterprise(at)), "name": "某商行"},
            "result": self._chance.choice(("pass", "fail")),
            "penalty_fen": self._chance.randrange(1, 9) * 100_000,
        }

    def _enterprise(self, at: float) -> int:
        return 1_000 + int(at // BLOCK) * ENTERPRISES + self._chance.randrange(ENTERPRISES)

    def _before(self, at: float, least: float, most: float) -> str:
        """A time so many seconds before `at`: nothing comes from the future."""
        return (self._start + timedelta(seconds=at - self._chance.uniform(least, most))).isoformat("T", "milliseconds")


def stream(seed: int, seconds: float, rate: float, start: datetime) -> list[Sent]:
    """About `rate` records a second, in order of time; the last ones a little after `seconds`."""
    maker = _Maker(seed, start.astimezone(UTC))
    found = [sent for number in range(int(seconds * rate)) for sent in maker.records(number / rate)]
    return sorted(found, key=lambda sent: sent.at)


def closing(rules: int, start: datetime) -> list[Sent]:
    """Two records for each of the rules that were added, which raise its alert if it runs."""
    return [
        Sent(0.0, "kafka", "complaints", f"{event['source']}/{event['id']}", _json(event), "accepted")
        for number in range(rules)
        for place in range(2)
        for event in [
            complaint(900_000 + 2 * number + place, start.isoformat(), 5_000 + number, category=f"added-{number + 1}")
        ]
    ]


def _json(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()
