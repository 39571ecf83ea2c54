"""What is kept of one key of a rule that is judged over whole facts: the facts in time order, and how far it has been
decided. Memory is bounded by the rule's limits. It must not know what is decided.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from jianguan.domain.by_field import tuples_of
from jianguan.domain.fact import Fact, FactRun
from jianguan.errors import InputError

Value: TypeAlias = "str | int | float | None"
BEGINNING: Final = -(2**62)
# The lowest bits of a mask; a rule's own conditions have those from FIRST_BIT on.
HISTORICAL: Final = 1
INHIBITS: Final = 2  # not a fact of the rule, but an alert that silences it; it carries the end of its silence
FIRST_BIT: Final = 4


class Kept(NamedTuple):
    """A fact, in the order (time, id)."""

    time: int
    id: str
    event: str
    received_at: int
    mask: int  # which of the rule's conditions the event meets
    values: tuple[Value, ...]  # in the order of the rule's `carried`
    enterprise_name: str | None
    region: str | None
    industry: str | None
    category: str

    @property
    def historical(self) -> bool:
        return bool(self.mask & HISTORICAL)


def carry(mask: int, values: list[Value]) -> str:
    """What a fact carries, as text."""
    return _encode([mask, *values]).decode()


def kept(fact: Fact, width: int) -> Kept:
    """`fact` as it is kept; `width` is how many values its rule asks for. InputError when it carries something else."""
    mask, *values = _carried(fact.carried, width, fact.id)
    return Kept(
        fact.time, fact.id, fact.event, fact.received_at, mask, tuple(values),
        fact.enterprise_name, fact.region, fact.industry, fact.category,
    )  # fmt: skip


def kept_of(facts: FactRun, width: int) -> list[Kept]:
    """`kept` of many facts, field by field."""
    ids = facts.ids()
    carried = [_carried(text, width, name) for text, name in zip(facts.carried or repeat(None), ids)]  # noqa: B905
    return tuples_of(
        Kept,
        zip(  # noqa: B905 - some are endless
            facts.times, ids, facts.names(), facts.received, [each[0] for each in carried],
            [tuple(each[1:]) for each in carried], facts.enterprise_names or repeat(None),
            facts.regions or repeat(None), facts.industries or repeat(None), facts.categories,
        )
    )  # fmt: skip


def _carried(text: str | None, width: int, name: str) -> list[Any]:
    """The mask, and the values."""
    try:
        found = _decode(text or "")
        if len(found) != (2 if found[0] & INHIBITS else width + 1):
            raise ValueError
    except (msgspec.DecodeError, ValueError, IndexError, TypeError):
        raise InputError("bad-fact", f"{name} does not carry what its rule asks for") from None
    return found


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Any]).decode


@dataclass(slots=True)
class Attempt:
    """A match of a pattern that has begun."""

    deadline: int
    facts: list[Kept] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # the step that took each fact
    bound: dict[str, Value] = field(default_factory=dict)  # fields of the facts taken, as `a.amount_fen`
    stage: int = 0
    taken: int = 0  # by that stage
    closed: bool = False  # that stage takes no more


@dataclass(slots=True)
class Run:
    """The attempts that began in one episode, in that order."""

    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class KeyState:
    """One key. Moments are ms of event time."""

    key: str
    facts: list[Kept] = field(default_factory=list)
    decided: int = BEGINNING  # every moment up to here has been decided with the facts that are here
    raised: dict[str, int] = field(default_factory=dict)  # alert id -> its moment
    held: list[int] = field(default_factory=list)  # moments at which the trigger held, for cooldown
    runs: dict[int, Run] = field(default_factory=dict)  # a pattern's, by the episode in which they begin
    history_from: int | None = None  # oldest historical fact that has not been decided
    history_until: int = 0  # until then more of history may come
    silent: list[tuple[int, int, str]] = field(default_factory=list)  # (from, to, alert) of rules that inhibit this one
    due: int | None = None  # when the clock has to look again
    touched: bool = True

    def place(self, fact: Kept | Fact) -> tuple[int, bool]:
        """Where a fact belongs, and whether it is there."""
        index = bisect_left(self.facts, (fact.time, fact.id))
        there = index < len(self.facts) and self.facts[index].time == fact.time and self.facts[index].id == fact.id
        return index, there

    def is_silent(self, time: int) -> bool:
        """Whether an alert of another rule keeps this key silent at `time`."""
        return any(start <= time < end for start, end, _ in self.silent)

    def after(self, time: int) -> int:
        """The place of the first fact later than `time`."""
        return bisect_right(self.facts, time, key=_time)

    def at(self, time: int) -> int:
        """The place of the first fact at `time` or later."""
        return bisect_left(self.facts, time, key=_time)


def _time(fact: Kept) -> int:
    return fact.time
