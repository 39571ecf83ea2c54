"""The correlate stage: facts of one partition go through the windows of the rules and may raise alerts.

Pure but for the clock. One `Correlate` holds one partition of the facts topic; its state is a fold over facts and is
rebuilt, without emitting, when the partition is taken over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.china_time import SHANGHAI_MS
from jianguan.domain.fact import Fact, FactRun
from jianguan.domain.ids import make_id, partition_of
from jianguan.domain.trace import STAGES, Records, Step

_STAGE: Final = STAGES["correlate"]
_DAY_MS: Final = 86_400_000


Follow: TypeAlias = Callable[[Alert], Iterable[Fact]]
"""From an alert to its facts for rules on alerts."""


class Decided(Protocol):
    """What one fact led to."""

    @property
    def alerts(self) -> Sequence[Alert]: ...
    @property
    def late(self) -> bool: ...
    @property
    def limited(self) -> bool: ...


class Spent(Protocol):
    """What a rule took since this was asked last."""

    @property
    def rule(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def facts(self) -> int: ...
    @property
    def budget(self) -> int: ...
    @property
    def is_over(self) -> bool: ...


class WindowEngine(Protocol):
    """The windows of all active rules, for some of the keys."""

    def add_run(self, facts: FactRun, now_ms: int) -> Sequence[tuple[int, Decided]]: ...
    def fold(self, facts: Iterable[Fact]) -> None: ...
    def elapse(self, now_ms: int) -> Sequence[Alert]: ...
    def full(self) -> Sequence[tuple[str, str]]: ...
    def costs(self) -> Sequence[Spent]: ...
    def forget(self) -> int: ...
    def __len__(self) -> int: ...


class Early(Protocol):
    """Windows that are restored as facts come for them."""

    waiting: bool  # whether facts wait for theirs just now

    async def recall(self, facts: Sequence[FactRun]) -> bool:
        """Return when the windows are there that these facts belong to. Whether they may be worked: not if the
        partition was given up meanwhile."""


@dataclass(slots=True)
class Correlated:
    """What a run of facts became."""

    alerts: dict[int, list[Alert]] = field(default_factory=dict)  # by partition of the alerts topic
    facts: dict[int, list[Fact]] = field(default_factory=dict)  # of rules on alerts, by partition of the facts topic
    records: Records = field(default_factory=Records)
    raised: Counter[tuple[str, str]] = field(default_factory=Counter)  # (rule, severity)
    late: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)


class Correlate:
    """One partition of the correlate stage."""

    def __init__(
        self,
        engine: WindowEngine,
        clock: Clock,
        *,
        partitions: int,
        known: Iterable[str] = (),
        owed: Iterable[Alert] = (),
        follow: Follow = lambda alert: (),
        settling: bool = True,
        early: Early | None = None,
    ) -> None:
        """`known` are ids of facts that the restored windows hold already and that will be read once more: their
        alerts are raised by `raise_again`. Judged a second time, an old one could look late, though it was not.
        `owed` are alerts that the clock settled while nobody was there: the first `elapse` raises them.
        `follow` gives the facts that an alert is for rules on alerts. Without `settling` the clock decides nothing
        until `owe` has told what it owes. `early`: not all windows are there; what is to be worked has to be recalled
        first, until `go_on` has brought all."""
        self.engine = engine
        self.early = early
        self.settling = settling
        self._clock = clock
        self._partitions = partitions
        self._follow = follow
        self._known = set(known)
        self._owed = list(owed)
        self._daily = _Daily()
        self.doubtful: tuple[Alert, ...] = ()  # settled before the clock may decide, and perhaps stored

    def work(self, runs: Iterable[FactRun]) -> Correlated:
        """Add facts to their windows, in order."""
        result = Correlated()
        now = to_millis(self._clock.now())
        for run in runs:
            facts = self._without_known(run) if self._known else run
            if facts is None:
                continue
            self._add(facts, now, result)
        return result

    def _add(self, facts: FactRun, now: int, result: Correlated) -> None:
        names: list[tuple[str, str]] = []
        rule, notes = facts.rule, _Notes(facts.rule, facts.version, now)
        for place, decision in self.engine.add_run(facts, now):
            names = names or list(zip(facts.ids(), facts.names(), strict=True))
            fact, event = names[place]
            for alert in decision.alerts:
                _raise(alert, (event,), now, self._partitions, result)
                _pass_on(self._follow(alert), self._partitions, result)
            if decision.late:
                result.late[rule] += 1
                late = make_id("st", "late-for-rule", fact)
                result.records.trace.append(notes.step(fact, event, "late-for-rule", late))
            if decision.limited:
                result.limited[rule] += 1
                # Of a full window one telling a day is enough, by the first event; the metric counts every time.
                if step := self._daily.first("window-full", f"{rule}/{facts.keys[place]}", now):
                    result.records.trace.append(notes.step(fact, event, "window-full", step))

    def _without_known(self, facts: FactRun) -> FactRun | None:
        """Those that the restored windows do not hold."""
        known, places = self._known, []
        for place, identifier in enumerate(facts.ids()):
            if identifier in known:
                known.discard(identifier)
            else:
                places.append(place)
        return facts.take(places) if places else None

    def go_on(self, engine: WindowEngine) -> None:
        """With the windows of all keys."""
        self.engine, self.early = engine, None

    def doubt(self, settled: Iterable[Alert]) -> None:
        """Keep what was settled before, and what windows give only once, until `owe` tells what of it is not stored."""
        self.doubtful += tuple(settled)

    def owe(self, owed: Iterable[Alert]) -> None:
        """Let the clock decide from now on, these alerts first: settled before, and not stored."""
        self._owed.extend(owed)
        self.doubtful = ()
        self.settling = True

    def costs(self, conditions: Iterable[Spent] = ()) -> tuple[list[Spent], Correlated]:
        """What the windows of each rule took since this was asked last, and a step a day for each that took more than
        it may; for those of `conditions` too."""
        spent, result = list(self.engine.costs()), Correlated()
        now = to_millis(self._clock.now())
        for each in [*spent, *conditions]:
            if each.is_over and (step := self._daily.first("rule-over-budget", each.rule, now)):
                micros = round(each.seconds * 1_000_000 / each.facts)
                detail = json.dumps({"rule": each.rule, "micros": micros, "budget": each.budget}, separators=(",", ":"))
                result.records.trace.append(
                    Step(step, each.rule, now, _STAGE, "rule-over-budget", "system", "", "", (), detail)
                )
        return spent, result

    def elapse(self, until: int) -> Correlated:
        """Raise what the clock has settled by `until` (ms): nothing that counts can come any more for it."""
        result = Correlated()
        owed, self._owed = self._owed, []
        now = to_millis(self._clock.now())
        for alert in (*owed, *self.engine.elapse(until)):
            _raise(alert._replace(raised_at=now), alert.events[-1:], now, self._partitions, result)
            _pass_on(self._follow(alert), self._partitions, result)
        for rule, key in self.engine.full():
            result.limited[rule] += 1
            if step := self._daily.first("pattern-full", f"{rule}/{key}", now):
                detail = json.dumps({"rule": rule, "key": key}, ensure_ascii=False, separators=(",", ":"))
                result.records.trace.append(Step(step, rule, now, _STAGE, "pattern-full", "system", "", "", (), detail))
        return result


def raise_again(
    missing: Iterable[Alert],
    stored: Iterable[Alert],
    now: int,
    partitions: int,
    follow: Follow = lambda alert: (),
) -> Correlated:
    """What a restart has to send: alerts that the stored facts imply and the store lacks, and, for the next stage
    alone, alerts that were stored so recently that it may not have seen them; of both, the facts that they are."""
    result = Correlated()
    for alert in missing:
        _raise(alert, alert.events[-1:], now, partitions, result)
        _pass_on(follow(alert), partitions, result)
    for alert in stored:
        _pass_on(follow(alert), partitions, result)
        result.alerts.setdefault(partition_of(alert.case_key or alert.rule, partitions), []).append(alert)
    return result


def _raise(alert: Alert, because: tuple[str, ...], now: int, partitions: int, result: Correlated) -> None:
    partition = partition_of(alert.case_key or alert.rule, partitions)
    result.alerts.setdefault(partition, []).append(alert)
    result.records.alerts.append(alert)
    result.raised[(alert.rule, alert.severity)] += 1
    detail = json.dumps(
        {"rule": alert.rule, "version": alert.version, "values": alert.values, "thresholds": alert.thresholds},
        separators=(",", ":"),
    )
    result.records.trace.append(
        Step(make_id("st", alert.id, "raised"), alert.id, now, _STAGE, "raised", "system", "", "", because, detail)
    )


def _pass_on(facts: Iterable[Fact], partitions: int, result: Correlated) -> None:
    for fact in facts:
        result.facts.setdefault(partition_of(fact.rule + fact.key, partitions), []).append(fact)
        result.records.facts.append(fact)


class _Daily:
    """What is told of a rule or a window once a day, by the calendar in China: the store keeps every telling that has a
    time of its own. The id is that of the day, so that what is told again after a restart reads as one step."""

    def __init__(self) -> None:
        self._day = 0
        self._told: set[str] = set()

    def first(self, what: str, identity: str, now: int) -> str | None:
        """The id of a step that is the first one of its day; None when that has been told."""
        if (day := (now + SHANGHAI_MS) // _DAY_MS) != self._day:
            self._day, self._told = day, set()
        step = make_id("st", what, f"{identity}/{day}")
        if step in self._told:
            return None
        self._told.add(step)
        return step


class _Notes:
    """Steps about facts of a rule that raised nothing."""

    def __init__(self, rule: str, version: int, now: int) -> None:
        self._now = now
        self._detail = json.dumps({"rule": rule, "version": version}, separators=(",", ":"))

    def step(self, fact: str, event: str, what: str, identifier: str) -> Step:
        """What became of a fact."""
        return Step(identifier, event, self._now, _STAGE, what, "system", "", "", (fact,), self._detail)
