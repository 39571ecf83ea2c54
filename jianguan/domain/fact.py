"""A fact: an event satisfied the condition of a rule. The only thing that travels by key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from jianguan.domain.by_field import Constant, joined, take
from jianguan.domain.ids import WIDTH, Ids, Prefix, fact_bits, packed, unpacked

T = TypeVar("T")
_AT_ONCE: Final = 10_000  # facts


class Fact(NamedTuple):
    """Small on purpose: what a window needs, and what an alert wants to say about its subject."""

    id: str
    rule: str
    version: int
    key: str  # the group key: the values of group_by, joined by U+001F
    time: int  # event time, ms
    event: str
    received_at: int  # ms, when the event was received: the latency of an alert is measured from here
    number: float | None  # the operand of sum
    member: str | None  # the operand of distinct
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    industry: str | None
    category: str
    carried: str | None = None  # what the rule asks of whole facts: a JSON array, see rules/keys.py


class FactRun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Facts of one rule that were found together, at least one, field by field: how they travel to their windows.

    All sequences have the same length. A field that no fact has is None as a whole. The order is that of the events,
    and it is kept: facts of one key are judged in it.
    """

    rule: str
    version: int
    kind: Prefix  # of what the facts are about: ev, or al for rules on alerts
    events: bytes  # the bits of their ids, WIDTH bytes each
    keys: Sequence[str]
    times: Sequence[int]
    received: Sequence[int]
    numbers: Sequence[float | None] | None
    members: Sequence[str | None] | None
    carried: Sequence[str | None] | None
    enterprises: Sequence[str | None] | None
    enterprise_names: Sequence[str | None] | None
    regions: Sequence[str | None] | None
    industries: Sequence[str | None] | None
    categories: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)

    def ids(self) -> list[str]:
        """The id of each fact."""
        return unpacked("ft", fact_bits(self.rule, self.version, self.events))

    def names(self) -> list[str]:
        """The id of the event, or the alert, of each fact."""
        return unpacked(self.kind, self.events)

    def fields(self) -> list[Sequence[Any]]:
        """The same in the order of Fact, constant ones too."""

        def same(value: Any) -> Constant[Any]:
            return Constant(value, len(self))

        optional = (
            self.numbers, self.members, self.enterprises, self.enterprise_names, self.regions, self.industries,
        )  # fmt: skip
        return [
            Ids("ft", fact_bits(self.rule, self.version, self.events)), same(self.rule), same(self.version),
            self.keys, self.times, Ids(self.kind, self.events), self.received,
            *[same(None) if each is None else each for each in optional], self.categories,
            same(None) if self.carried is None else self.carried,
        ]  # fmt: skip

    def rows(self) -> list[Fact]:
        """The same, fact by fact."""
        return list(map(Fact._make, zip(*self.fields(), strict=True)))

    def row(self, place: int) -> Fact:
        """One of the facts."""
        event = self.events[place * WIDTH : (place + 1) * WIDTH]
        ((name,), (about,)) = unpacked("ft", fact_bits(self.rule, self.version, event)), unpacked(self.kind, event)

        def of(values: Sequence[T] | None) -> T | None:
            return None if values is None else values[place]

        return Fact(
            name, self.rule, self.version, self.keys[place], self.times[place], about, self.received[place],
            of(self.numbers), of(self.members), of(self.enterprises), of(self.enterprise_names), of(self.regions),
            of(self.industries), self.categories[place], of(self.carried),
        )  # fmt: skip

    def take(self, places: Sequence[int]) -> FactRun:
        """The facts at these places, at least one."""
        bits = self.events

        def some(values: Sequence[T] | None) -> Sequence[T] | None:
            return None if values is None else take(values, places)

        return FactRun(
            self.rule, self.version, self.kind,
            b"".join([bits[at * WIDTH : (at + 1) * WIDTH] for at in places]),
            take(self.keys, places), take(self.times, places), take(self.received, places),
            some(self.numbers), some(self.members), some(self.carried), some(self.enterprises),
            some(self.enterprise_names), some(self.regions), some(self.industries), take(self.categories, places),
        )  # fmt: skip


def fields_of(runs: Sequence[FactRun]) -> list[Sequence[Any]]:
    """The facts of all runs in the order of Fact, field by field."""
    return [joined(each) for each in zip(*[run.fields() for run in runs], strict=True)]


def runs_of(facts: Iterable[Fact]) -> list[FactRun]:
    """Facts by rule and version, in their order. InputError when an event's id is none."""
    groups: dict[tuple[str, int, str], list[Fact]] = {}
    for fact in facts:
        groups.setdefault((fact.rule, fact.version, fact.event[:2]), []).append(fact)
    return [_run(group) for group in groups.values()]


def runs_at_once(facts: Iterable[Fact]) -> Iterator[FactRun]:
    """`runs_of` for however many facts: so many at once, without holding all."""
    rest = iter(facts)
    while part := list(islice(rest, _AT_ONCE)):
        yield from runs_of(part)


# What a fact may say beside its key, its time, its event and when that was received.
SAID: Final = ("number", "member", "enterprise", "enterprise_name", "region", "industry", "category", "carried")


@dataclass(frozen=True, slots=True)
class FactsWanted:
    """Which stored facts windows are restored from: those of one rule version that are at most `retention` ms older
    than the newest of their own key, and of what they say beside key, time, event and receipt, `said`.

    What was received at `open_since` or later may not be decided yet, however long ago it happened: of a key that has
    such facts also those that are at most `back` ms older than the oldest of them."""

    rule: str
    version: int
    retention: int
    said: Collection[str] = SAID
    before: int | None = None  # only what was received before (ms)
    keys: Collection[str] | None = None  # only of these
    open_since: int | None = None  # ms
    back: int = 0  # ms

    def may_take(self, fact: Fact) -> bool:
        """Whether they may be of these. How old the newest of its key is, a single fact cannot tell."""
        return (
            (fact.rule, fact.version) == (self.rule, self.version)
            and (self.before is None or fact.received_at < self.before)
            and (self.keys is None or fact.key in self.keys)
        )


def stored_runs(
    rule: str,
    version: int,
    keys: Sequence[str],
    times: Sequence[int],
    events: Sequence[str],
    received: Sequence[int],
    said: Mapping[str, Sequence[Any]],
) -> list[FactRun]:
    """Facts of one rule version, at least one, field by field, by the kind of what they are about. `said` has what was
    asked of SAID. InputError when an event's id is none."""

    def of(name: str) -> Sequence[Any] | None:
        return _or_nothing(said.get(name, ()))

    run = FactRun(
        rule, version, _kind(events), packed(events), keys, times, received, of("number"), of("member"), of("carried"),
        of("enterprise"), of("enterprise_name"), of("region"), of("industry"),
        said.get("category") or Constant("", len(keys)),
    )  # fmt: skip
    kinds = {event[:2] for event in events}
    if len(kinds) == 1:
        return [run]
    places = {kind: [place for place, event in enumerate(events) if event.startswith(kind)] for kind in sorted(kinds)}
    return [replace(run.take(some), kind=_kind(take(events, some))) for some in places.values()]


def _run(facts: Sequence[tuple[Any, ...]]) -> FactRun:
    _, rules, versions, keys, times, events, received, *optional, categories, carried = zip(*facts, strict=True)
    numbers, members, enterprises, names, regions, industries = (_or_nothing(each) for each in optional)
    return FactRun(
        rules[0], versions[0], _kind(events), packed(events), keys, times, received,
        numbers, members, _or_nothing(carried), enterprises, names, regions, industries, categories,
    )  # fmt: skip


def _kind(events: Sequence[str]) -> Prefix:
    return "al" if events[0].startswith("al") else "ev"


def _or_nothing(values: Sequence[T | None]) -> Sequence[T | None] | None:
    return None if values.count(None) == len(values) else values
