"""Builds the state of a partition from what the store has (DESIGN D2), at a start, a takeover and a change of rules."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from itertools import compress, groupby
from typing import Final, NamedTuple, TypeAlias

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert, Raised
from jianguan.domain.casework import REMEMBER_CLOSED_MS, CaseDesk
from jianguan.domain.event import EventRun
from jianguan.domain.fact import Fact, FactRun, FactsWanted, runs_at_once, runs_of
from jianguan.domain.filters import Test, all_of, some_of
from jianguan.ports import Archive
from jianguan.wiring.recent import Recent
from jianguan.wiring.restored_cases import open_desks
from jianguan.wiring.tables import Tables
from jianguan.wiring.tasks import to_its_end
from rules.alert_facts import AlertMatcher
from rules.engine import Engine
from rules.facts import Matcher
from rules.lateness import in_time, late_after
from rules.pushdown import fields_of_rule, filter_of_rule
from rules.reference import deadlines
from rules.rule import Rule
from rules.ruleset import RuleSet
from streams.correlate import Correlate, Early
from streams.elapsing import SETTLE_AFTER_MS, settled_until
from streams.handle import Handle
from streams.ingest import spread
from streams.rulebook import RuleBook

log = logging.getLogger(__name__)

FOREVER: Final = 2**52  # ms
# What was received before a rule was activated may be stored, or be judged, a moment later.
SETTLED_MS: Final = 3_000


LatestFacts: TypeAlias = Callable[[Collection[int]], AsyncIterator[tuple[int, FactRun]]]
"""Of some partitions, the facts that the store may lack."""


class Recovered(NamedTuple):
    """Alerts that a crash may have kept from the handle stage."""

    missing: list[Alert]  # implied by stored facts, but not stored
    stored: list[Alert]


class Folded(NamedTuple):
    """What was folded into an engine."""

    facts: int
    newest: int  # when the newest of them was received, ms


class OfKeys(NamedTuple):
    """What the store has of some keys."""

    facts: list[FactRun]
    open_since: Mapping[str, int]  # by rule; see FactsWanted
    raised: list[Raised]

    def fold(self, engine: Engine) -> None:
        """Put it into windows."""
        for run in self.facts:
            engine.fold_run(run, self.open_since.get(run.rule))
        engine.remember(self.raised)


# An alert that was settled so long before the last stored fact came in may have been cut off before it was stored.
_BEFORE_MS: Final = 3_600_000


class Restorer:
    """Builds the state of a partition from what the store has (DESIGN D2)."""

    def __init__(
        self,
        archive: Archive,
        rulebook: RuleBook,
        tables: Tables,
        clock: Clock,
        partitions: int,
        latest_facts: LatestFacts | None = None,
        *,
        max_age: int = FOREVER,
        warm: bool = True,
        current: Callable[[], Awaitable[Archive]] | None = None,
    ) -> None:
        """`current` gives the archive to restore from, as of now, where other workers write to the store too.
        `latest_facts` tells what even that may lack."""
        self._current = current
        self._expected: set[int] = set()
        self._desks: dict[int, CaseDesk] = {}  # made for who asks next
        self._epoch = 0
        self._lock = asyncio.Lock()
        self._alive: dict[int, int] = {}  # by partition, when its newest fact was received
        self._max_age = max_age
        self._warm = warm
        self._archive = archive
        self._rulebook = rulebook
        self._tables = tables
        self._clock = clock
        self._partitions = partitions
        self._latest_facts = latest_facts
        self._known: set[str] = set()
        self._since: int | None = None

    def expect(self, partitions: set[int]) -> None:
        """These are going to be asked for: their cases are restored in one pass over the store."""
        self._expected = set(partitions)
        self._desks = {}
        self._epoch += 1

    def empty(self) -> Engine:
        """Windows of the running rules, without facts."""
        return Engine(self._rulebook.ruleset, self._clock.monotonic)

    def over(self, engine: Engine, early: Early) -> Correlate:
        """The stage over windows that are there so `early`. The clock decides nothing until it is told what it owes."""
        return Correlate(
            engine,
            self._clock,
            partitions=self._partitions,
            known=self._known,
            follow=self._rulebook.follow,
            settling=False,
            early=early,
        )

    async def settle(self, partition: int, state: Correlate, reached: int) -> None:
        """Let the clock decide what it had settled before this partition was restored: everything that was received
        before `reached` (ms) is through. Nothing else may use its windows meanwhile. They give it only once, so it is
        with the state, also when whoever asked is gone."""
        engine = state.engine
        assert isinstance(engine, Engine)
        until = settled_until(self._clock, reached)
        await to_its_end(lambda: state.doubt(self._settled_since(engine, self._alive.get(partition, 0), until)))

    async def owe(self, state: Correlate) -> None:
        """Let the clock decide from now on for a partition whose past is settled, and have raised what the store lacks
        of that."""
        archive = await self._archive_now()
        state.owe(await asyncio.to_thread(_not_stored, state.doubtful, archive))

    def settled_until(self) -> int:
        """Until when (ms) the clock may decide: not on what is read again."""
        return settled_until(self._clock, self._since)

    async def owed(self, partition: int, engine: Engine, until: int) -> list[Alert]:
        """What the clock has settled by `until` (ms) since the restored windows were alive, less what is stored."""
        archive = await self._archive_now()
        alive = self._alive.get(partition, 0)
        return await to_its_end(lambda: _not_stored(self._settled_since(engine, alive, until), archive))

    def pass_over(self, engine: Engine, until: int) -> None:
        """Let the clock decide up to `until` (ms), and tell nobody. Blocking."""
        _settled(engine, until)

    async def handle(self, partition: int) -> Handle:
        """Cases as the store has them."""
        async with self._lock:
            desk = self._desks.pop(partition, None)
            if desk is None:
                epoch, wanted = self._epoch, self._with_expected(partition)
                archive = await self._archive_now()
                # By the time of what is read again: an alert of then must not open its case anew.
                since = self.settled_until() - REMEMBER_CLOSED_MS
                deadline = deadlines(self._tables.rules)
                desks = await asyncio.to_thread(open_desks, archive, wanted, self._partitions, since, deadline)
                desk = desks.pop(partition)
                if epoch == self._epoch:
                    self._desks.update(desks)
        return Handle(desk, self._clock, partitions=self._partitions)

    def _with_expected(self, partition: int) -> set[int]:
        return self._expected | {partition} if partition in self._expected else {partition}

    async def _archive_now(self) -> Archive:
        return self._archive if self._current is None else await self._current()

    async def whole(
        self, partitions: Sequence[int], before: int | None, wanted: Callable[[], bool]
    ) -> dict[int, Engine]:
        """The windows of all keys of some partitions, of what was received `before` (ms), if that is given, and of what
        even the store may lack. Not to the end when they are not `wanted` any more, which is asked in a thread: it may
        wait for the event loop."""
        archive = await self._archive_now()
        engines = {partition: self.empty() for partition in partitions}
        running = self._rulebook.ruleset.running
        folded = await asyncio.to_thread(self._fold, engines, running, archive, before=before, wanted=wanted)
        if self._latest_facts is not None and await asyncio.to_thread(wanted):
            async for partition, run in self._latest_facts(partitions):
                engines[partition].fold_run(run)
        for partition in engines:
            self._alive[partition] = folded[partition].newest
            log.info("partition %d: windows restored from %d facts", partition, folded[partition].facts)
        return engines

    async def recent(self, partitions: Sequence[int]) -> Recent | None:
        """What even the store may lack, by key; None when it is too much to be kept so."""
        recent = Recent(partitions)
        if self._latest_facts is not None:
            async for _, run in self._latest_facts(partitions):
                if not recent.add(run):
                    return None
        return recent

    async def of_keys(
        self, rules: Sequence[Rule], keys: Mapping[tuple[str, int], Collection[str]], before: int | None
    ) -> OfKeys:
        """What the store has of some keys, which are given by the id and version of their rule."""
        archive = await self._archive_now()

        def read() -> OfKeys:
            last = archive.last_received()
            asked = [rule for rule in rules if keys.get((rule.id, rule.version))]
            wanted = [_wanted(rule, before, last, keys[rule.id, rule.version]) for rule in asked]
            facts = [
                run
                for rule, each in zip(asked, wanted, strict=True)
                for run in in_time(archive.facts_to_fold(each), late_after(rule))
            ]
            facts += self._silencing(asked, archive, keys)
            open_since = {each.rule: each.open_since for each in wanted if each.open_since is not None}
            return OfKeys(facts, open_since, self._raised(asked, archive, set().union(*keys.values())))

        return await asyncio.to_thread(read)

    def filled(self, partitions: Collection[int], rules: Sequence[Rule]) -> dict[int, Engine]:
        """Windows of each of `partitions` for `rules` alone, as they begin. Blocking."""
        engines = {partition: Engine(RuleSet(rules), self._clock.monotonic) for partition in partitions}
        self.fold(engines, rules)
        return engines

    def fold(
        self,
        engines: Mapping[int, Engine],
        rules: Sequence[Rule],
        *,
        before: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> dict[int, Folded]:
        """Fold the stored facts of `rules` into the engine of each partition, after those of the events that came
        before a rule was activated. What the clock had settled by then stays unsaid. Facts that were received `before`
        (ms), if that is given. Not to the end when it is not `wanted` any more. Blocking."""
        return self._fold(engines, rules, self._archive, before=before, wanted=wanted)

    def _fold(
        self,
        engines: Mapping[int, Engine],
        rules: Sequence[Rule],
        archive: Archive,
        *,
        before: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> dict[int, Folded]:
        """The same from any archive. All partitions in one pass: the store reads as much for one as for all."""
        history = self._fold_history(engines, rules, archive, wanted) if self._warm else {}
        found = {partition: Folded(history.get(partition, 0), 0) for partition in engines}
        last = archive.last_received()
        for rule in rules:
            of_rule = _wanted(rule, before, last)
            for facts in in_time(archive.facts_to_fold(of_rule), late_after(rule)):
                if not wanted():
                    return found
                for partition, part in self._fold_run(engines, facts, of_rule.open_since):
                    count, newest = found[partition]
                    found[partition] = Folded(count + len(part), max(newest, max(part.received)))
        for facts in self._silencing(rules, archive):
            for _ in self._fold_run(engines, facts):
                pass
        raised = self._raised(rules, archive)
        for engine in engines.values():
            engine.remember(raised)
            self.warm(engine, rules)
        return found

    def _silencing(
        self, rules: Sequence[Rule], archive: Archive, keys: Mapping[tuple[str, int], Collection[str]] | None = None
    ) -> list[FactRun]:
        """The alerts that keep some of `rules` silent, or of these some keys if they are given, as facts: they may have
        happened before any fact that is wanted, and a new version of a rule has none of them."""
        silent = [rule for rule in rules if rule.inhibited_by]
        if not silent:
            return []
        matcher = AlertMatcher(RuleSet(silent), self._tables.rules)
        heard = {name for rule in silent for name in rule.inhibited_by}
        found: list[Fact] = []
        for alert in archive.alerts_of(heard, self._alive_since(silent)):
            found += [
                fact
                for fact in matcher.silences(alert)
                if keys is None or fact.key in keys.get((fact.rule, fact.version), ())
            ]
        return runs_of(found)

    def _raised(self, rules: Sequence[Rule], archive: Archive, keys: Collection[str] | None = None) -> list[Raised]:
        """The stored alerts of open episodes, which the facts that are folded may not tell of; key by key."""
        if not rules:
            return []
        found = archive.raised({rule.id for rule in rules}, self._alive_since(rules), keys)
        return sorted(found, key=lambda alert: (alert.rule, alert.key))

    def _alive_since(self, rules: Sequence[Rule]) -> int:
        """An episode of `rules` that ended before (ms) gets no more facts, but for those of history."""
        return max(0, to_millis(self._clock.now()) - max(rule.retention for rule in rules))

    def warm(self, engine: Engine, rules: Sequence[Rule]) -> None:
        """Decide what the clock had settled before each of `rules` was activated, and tell nobody."""
        for rule in rules:
            activated = self._rulebook.activated_at(rule.id)
            if activated is not None:
                engine.warm([rule.id], activated - SETTLE_AFTER_MS)

    def with_history(self) -> frozenset[str]:
        """The running rules whose windows reach back to before their activation, so that there are no facts of some of
        what they count. Blocking."""
        new = self._new(self._rulebook.ruleset.running) if self._warm else {}
        first = self._archive.first_received() if new else None
        return frozenset(rule for rule, activated in new.items() if first is not None and first < activated)

    def _fold_run(
        self, engines: Mapping[int, Engine], facts: FactRun, open_since: int | None = None
    ) -> Iterator[tuple[int, FactRun]]:
        """Fold facts of one rule into the engine of each one's partition; what each of them got."""
        for partition, part in spread(facts, self._partitions).items():
            if partition in engines:
                engines[partition].fold_run(part, open_since)
                yield partition, part

    def _new(self, rules: Sequence[Rule]) -> dict[str, int]:
        """When those of `rules` were activated (ms) that look at more than has come since; not those that look at
        alerts."""
        now = to_millis(self._clock.now())
        found: dict[str, int] = {}
        for rule in rules:
            activated = self._rulebook.activated_at(rule.id)
            if activated is not None and activated > now - rule.retention and not rule.weights:
                found[rule.id] = activated
        return found

    def _fold_history(
        self, engines: Mapping[int, Engine], rules: Sequence[Rule], archive: Archive, going_on: Callable[[], bool]
    ) -> dict[int, int]:
        """Fill windows from the events that came before their rules: there are no facts of those. What it implies has
        raised nothing, and must not keep quiet what comes. An alert of the first SETTLED_MS may be raised again for
        that, under the same id. How many facts each partition got."""
        new = self._new(rules)
        fresh = [rule for rule in rules if rule.id in new]
        if not fresh:
            return {}
        matcher = Matcher(RuleSet(fresh), self._tables.rules)
        latest = max(new.values()) + SETTLED_MS
        wanted = all_of(
            [
                some_of([filter_of_rule(rule, self._tables.rules) for rule in fresh]),
                Test("received_at", "<", (latest,)),
            ]
        )
        fields = frozenset().union(*(fields_of_rule(rule) for rule in fresh))
        since = min(new[rule.id] - rule.retention for rule in fresh)
        folded: Counter[int] = Counter()
        for events in archive.events_to_judge(wanted, fields, max(0, since), FOREVER, self._max_age):
            if not going_on():
                return folded
            for each in matcher.facts_of(EventRun.of(events)):
                facts = _before(each.facts, new[each.facts.rule] + SETTLED_MS)
                for partition, part in self._fold_run(engines, facts) if facts is not None else ():
                    folded[partition] += len(part)
        for engine in engines.values():
            engine.forget_alerts(new)
        return folded

    def recover(self, since: int | None) -> Recovered:
        """What may have been cut off in records received at `since` (ms) or later, which are read again; None when
        nothing is. Blocking."""
        self._known, self._since = set(), since
        if since is None:
            return Recovered([], [])
        scratch = Engine(self._rulebook.ruleset)
        now = to_millis(self._clock.now())
        implied: dict[str, Alert] = {}
        known: set[str] = set()  # not those that were late: they are late again
        after = {(rule.id, rule.version): late_after(rule) for rule in scratch.running}
        for rule, facts in groupby(self._archive.facts_of_keys_since(since), lambda fact: (fact.rule, fact.version)):
            for run in in_time(runs_at_once(facts), after.get(rule)):
                if max(run.received) >= since:
                    known.update(compress(run.ids(), [received >= since for received in run.received]))
                for _, decision in scratch.add_run(run, now):
                    implied.update((alert.id, alert) for alert in decision.alerts)
        there = self._archive.known_alerts(list(implied))
        missing = [alert for identifier, alert in implied.items() if identifier not in there]
        self._known = known
        return Recovered(missing, list(self._archive.alerts_since(since)))

    def _settled_since(self, engine: Engine, alive: int, until: int) -> list[Alert]:
        """What the clock has settled by `until` since the windows were last `alive` (both ms)."""
        after = {rule.id: _settles_after(rule) for rule in self._rulebook.ruleset.running}
        return [
            alert
            for alert in _settled(engine, until)
            if max(alert.time, alert.received_at) + after[alert.rule] >= alive - _BEFORE_MS
        ]


def _wanted(rule: Rule, before: int | None, last: int | None, keys: Collection[str] | None = None) -> FactsWanted:
    """`last` is when the newest of all facts was received, ms."""
    open_since, back = None, 0
    if last is not None and rule.judging is not None and rule.judging.settled:
        open_since, back = last - rule.lateness - _BEFORE_MS, rule.judging.back
    return FactsWanted(rule.id, rule.version, rule.retention, rule.looks_at, before, keys, open_since, back)


def _settles_after(rule: Rule) -> int:
    """How long (ms) after its fact an alert of a rule is settled at most."""
    return rule.lateness + (0 if rule.judging is None else rule.judging.delay)


def _settled(engine: Engine, until: int) -> list[Alert]:
    """All that the clock has settled by `until` (ms)."""
    found: list[Alert] = []
    while (due := engine.due()) is not None and due <= until:
        found.extend(engine.elapse(until))
    return found


def _not_stored(settled: Sequence[Alert], archive: Archive) -> list[Alert]:
    """Of what the clock has settled, what the store lacks."""
    there = archive.known_alerts([alert.id for alert in settled])
    owed = [alert for alert in settled if alert.id not in there]
    if owed:
        log.info("the clock has settled %d alerts that are not stored", len(owed))
    return owed


def _before(facts: FactRun, end: int) -> FactRun | None:
    """Those received before `end` (ms), if any: key by key and in order of time, which is how windows fill quickest."""
    received, keys, times = facts.received, facts.keys, facts.times
    places = [place for place in range(len(facts)) if received[place] < end]
    return facts.take(sorted(places, key=lambda place: (keys[place], times[place]))) if places else None
