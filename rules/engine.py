"""Decides which alerts exist. A pure function of facts: no clock, no I/O, the same answer in any order of arrival.

Here are the rules that count, tell apart or add up over sliding and tumbling windows. All others are judged over whole
facts, in `judged.py`; those among them that more facts could prove wrong are settled by the clock: `elapse`.

State is kept for each (rule, group key): its facts, ordered by (event time, event), and the episodes alerted.

*Window.* At a fact f, sliding: the facts g with f.time - size < g.time <= f.time. Tumbling: the facts of the
period that holds f, up to and including f.time; periods are [start, start + size).

*Episode.* Time is cut into periods of the rule's `episode`, the same for every key. Both grids count from
1970-01-01: lengths that are multiples of a day begin at midnight of China Standard Time (UTC+8), others count in UTC.
There is an alert of (rule, key, episode) if, and only if, the trigger holds at some fact of the key in that episode.
More facts never make a trigger false: the set of alerts grows with the set of facts and depends on nothing else: not
on their order, on batches, duplicates, restarts or the number of partitions. Numbers to be summed are at least 0 for
that reason; a negative one adds nothing.

*Adding* a fact at t can only change the windows of facts in [t, t + size), so those are looked at again, and each
episode among them that has no alert yet and whose trigger now holds raises one, at its first such fact.

*Duplicates* change nothing, but raise again the alerts of the episodes in [t, t + size) whose trigger holds: after a
crash the replayed fact is already in the state that was folded from the store, and its alert may never have left.
Whoever receives alerts tells them apart by id.

*Late* is a fact that is older than the key's newest time - size - lateness. It is not added, and `Decision.late`
says so. Facts are kept for another size beyond that, because an accepted fact's window reaches there.

*Limit.* Beyond `limits.facts_per_key` the oldest facts of the key go, and `Decision.limited` says so: memory is
bounded under any rule, and only then can the order of arrival matter.

*What an alert says* of enterprise, region and industry is the group's value where the rule groups by it; else the
region, industry and category of the fact that brought it, and no enterprise. `time` is the fact at which the trigger
holds; `received_at` is when the fact that brought it about was received.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice, repeat
from typing import Protocol

from jianguan.domain.alert import MAX_EVENTS, Alert, Raised
from jianguan.domain.fact import Fact, FactRun, runs_at_once
from jianguan.domain.ids import WIDTH, alert_id, packed
from rules.alerts import Found, alert_of
from rules.decisions import LATE, NOTHING, UNKNOWN, Cost, Decision, RuleStats
from rules.judged import Judged, Timer
from rules.key_states import AWAKE
from rules.rule import Rule
from rules.rule_windows import AGAIN, LIMITED, LOOK, TOO_LATE, RuleWindows
from rules.windows import Sweep, Window


class RunningRules(Protocol):
    """The part of a RuleSet that the engine needs."""

    @property
    def running(self) -> tuple[Rule, ...]:
        """Active and shadow rules."""


@dataclass(frozen=True, slots=True)
class Look:
    """The window of one key as it ends at one of its facts. Times are ms."""

    holds: bool  # whether the trigger does
    start: int  # exclusive
    values: dict[str, float]  # by clause of the trigger
    facts: tuple[tuple[str, int], ...]  # (event, time), oldest first, at most MAX_EVENTS of the newest
    count: int
    newest: int  # time of the key's newest fact


class Engine:
    """Windows of all rules of a rule set. Not thread-safe: one owner."""

    def __init__(self, ruleset: RunningRules, timer: Timer | None = None, awake: int = AWAKE) -> None:
        """`timer` tells seconds, for the time that each rule takes. Of rules that are judged over whole facts, `awake`
        keys are kept ready, and the others small."""
        self._timer = timer
        self._awake = awake
        self._states = {rule.id: RuleWindows(rule, {}) for rule in ruleset.running if rule.judging is None}
        self._judged = {rule.id: Judged(rule, timer, awake) for rule in ruleset.running if rule.judging is not None}
        self._sweep: Iterator[tuple[str, list[str]]] = iter(())

    def add(self, fact: Fact, now_ms: int) -> Decision:
        """Take a fact in and say what follows. `now_ms` becomes `raised_at` of new alerts and decides nothing."""
        state = self._states.get(fact.rule)
        if state is None or state.rule.version != fact.version:
            judged = self._judged.get(fact.rule)
            return UNKNOWN if judged is None or judged.rule.version != fact.version else judged.add(fact, now_ms)
        window = state.window(fact.key)
        outcome = state.put(window, fact.time, packed((fact.event,)), fact.member, fact.number)
        return self._decided(outcome, state, window, fact.time, partial(_same, fact), now_ms) if outcome else NOTHING

    def add_run(self, facts: FactRun, now_ms: int) -> list[tuple[int, Decision]]:
        """`add` for each of `facts`, in their order: the place and the decision of those that led to anything."""
        state = self._states.get(facts.rule)
        if state is None or state.rule.version != facts.version:
            judged = self._judged.get(facts.rule)
            if judged is None or judged.rule.version != facts.version:
                return [(place, UNKNOWN) for place in range(len(facts))]
            return judged.add_run(facts, now_ms)
        if self._timer is None:
            return self._added(state, facts, now_ms)
        started = self._timer()
        found = self._added(state, facts, now_ms)
        state.seconds += self._timer() - started
        state.taken += len(facts)
        return found

    def _added(self, state: RuleWindows, facts: FactRun, now_ms: int) -> list[tuple[int, Decision]]:
        found: list[tuple[int, Decision]] = []
        windows, put, rule, events = state.windows, state.put, state.rule, facts.events
        members, numbers = facts.members or repeat(None), facts.numbers or repeat(None)
        at = 0
        for key, time, member, number in zip(facts.keys, facts.times, members, numbers):  # noqa: B905 - some are endless
            window = windows.get(key)
            if window is None:
                window = windows[key] = Window(rule)
            outcome = put(window, time, events[at : at + WIDTH], member, number)
            at += WIDTH
            if outcome:
                place = at // WIDTH - 1
                decision = self._decided(outcome, state, window, time, partial(facts.row, place), now_ms)
                if decision is not NOTHING:
                    found.append((place, decision))
        return found

    def fold(self, facts: Iterable[Fact], open_since: int | None = None) -> None:
        """Take facts in, in any order, as `add` would, and emit nothing.

        A restart folds what the store has and then replays what was not committed. Lateness is not judged here, as
        the order of arrival is not known: facts beyond the retention are left out, all others are added. What was late
        is left out by whoever knows when each was received (see lateness).

        `open_since` (ms) is for a rule whose facts were chosen by it (see FactsWanted): the clock decides again only
        what it may not have decided before, and of which all facts are there.
        """
        for run in runs_at_once(facts):
            self.fold_run(run, open_since)

    def fold_run(self, facts: FactRun, open_since: int | None = None) -> None:
        """`fold` for facts of one rule."""
        state = self._states.get(facts.rule)
        if state is None or state.rule.version != facts.version:
            judged = self._judged.get(facts.rule)
            if judged is not None and judged.rule.version == facts.version:
                judged.fold(facts, open_since)
            return
        rule, first = state.rule, 0
        for key, group in groupby(facts.keys):
            end = first + len(list(group))
            window = state.window(key)
            place = None
            if end - first > 1:
                place = state.extend(
                    window, facts.times[first:end], facts.events[first * WIDTH : end * WIDTH],
                    facts.members and facts.members[first:end], facts.numbers and facts.numbers[first:end],
                )  # fmt: skip
            if place is None:
                self._fold_one_by_one(state, window, facts, range(first, end))
            else:
                _mark(rule, window, place)
                state.trim(window)
            first = end

    def remember(self, alerts: Iterable[Raised]) -> None:
        """Count alerts as raised that the facts which were folded may not tell of: no more is said of their episodes.
        Those of other versions of a rule are left out."""
        for alert in alerts:
            state = self._states.get(alert.rule)
            if state is None:
                judged = self._judged.get(alert.rule)
                if judged is not None and judged.rule.version == alert.version:
                    judged.remember(alert)
            elif state.rule.version == alert.version:
                window = state.windows.get(alert.key)
                if window is not None and len(window):
                    _remember(state.rule, window, [alert.episode])

    def _fold_one_by_one(self, state: RuleWindows, window: Window, facts: FactRun, places: Iterable[int]) -> None:
        members, numbers = facts.members, facts.numbers
        for place in places:
            time, event = facts.times[place], facts.events[place * WIDTH : (place + 1) * WIDTH]
            member = None if members is None else members[place]
            number = None if numbers is None else numbers[place]
            if state.put(window, time, event, member, number, folding=True) & LOOK:
                self._check(state.rule, window, time, partial(facts.row, place), 0, again=False)

    def elapse(self, now_ms: int, budget: int = 5_000) -> tuple[Alert, ...]:
        """Decide what the clock settles by `now_ms`, of up to `budget` keys, the longest due first: nothing that
        counts can come any more for it. Asked again, it goes on. The same alert is not given twice."""
        found: list[Alert] = []
        for judged in self._judged.values():
            budget -= judged.elapse(now_ms, budget, found)
            if budget <= 0:
                break
        return tuple(found)

    def full(self) -> list[tuple[str, str]]:
        """(rule, key) of patterns that have begun more matches than their limit, since this was asked last: further
        ones were not begun."""
        return [(name, key) for name, judged in self._judged.items() for key in sorted(judged.full())]

    def costs(self) -> list[Cost]:
        """What each rule has taken since this was asked last: of those that decide by a few bytes a fact, such as got
        facts, run by run."""
        counting = [state.cost() for state in self._states.values() if state.taken]
        return [*counting, *(judged.cost() for judged in self._judged.values())]

    def warm(self, rules: Iterable[str], now_ms: int) -> None:
        """Decide what the clock has settled by `now_ms` for rules whose facts have just been folded in, and tell
        nobody: they begin to raise alerts then."""
        for identifier in rules:
            judged = self._judged.get(identifier)
            if judged is None or not judged.settled:
                continue
            judged.pass_over(now_ms)

    def due(self) -> int | None:
        """The earliest time (ms) at which `elapse` will have something to decide; None when nothing waits."""
        return min((due for judged in self._judged.values() if (due := judged.due()) is not None), default=None)

    def swap(self, ruleset: RunningRules) -> tuple[Rule, ...]:
        """Run another rule set. Rules with the same id, version and content keep their windows; those returned start
        empty and need their facts folded in."""
        before, judged = self._states, self._judged
        self._states, self._judged = {}, {}
        fresh: list[Rule] = []
        for rule in ruleset.running:
            if rule.judging is not None:
                kept = judged.get(rule.id)
                if kept is not None and kept.rule.identity == rule.identity:
                    self._judged[rule.id] = kept
                else:
                    self._judged[rule.id] = Judged(rule, self._timer, self._awake)
                    fresh.append(rule)
                continue
            known = before.get(rule.id)
            if known is not None and known.rule.identity == rule.identity:
                known.rule = rule
                self._states[rule.id] = known
            else:
                self._states[rule.id] = RuleWindows(rule, {})
                fresh.append(rule)
        self._sweep = iter(())
        return tuple(fresh)

    def fresh(self, ruleset: RunningRules) -> tuple[Rule, ...]:
        """What `swap` would return. Changes nothing."""
        known = {each.rule.identity for each in self._states.values()}
        known |= {each.rule.identity for each in self._judged.values()}
        return tuple(rule for rule in ruleset.running if rule.identity not in known)

    def adopt(self, filled: Engine) -> None:
        """Take over the windows of another engine for the rules that both run. The other is of no use afterwards."""
        self._states.update({rule: state for rule, state in filled._states.items() if rule in self._states})
        self._judged.update({rule: judged for rule, judged in filled._judged.items() if rule in self._judged})
        self._sweep = iter(())

    def take_keys(self, other: Engine) -> None:
        """Take over the windows of every key that another engine knows, in place of its own, for the rules that both
        run. The other is of no use afterwards."""
        for identifier, state in other._states.items():
            own = self._states.get(identifier)
            if own is not None and own.rule.identity == state.rule.identity:
                own.take_keys(state)
        for identifier, judged in other._judged.items():
            mine = self._judged.get(identifier)
            if mine is not None and mine.rule.identity == judged.rule.identity:
                mine.take_keys(judged)
        self._sweep = iter(())

    @property
    def running(self) -> tuple[Rule, ...]:
        """The rules that it runs."""
        return (*(state.rule for state in self._states.values()), *(each.rule for each in self._judged.values()))

    def forget(self, budget: int = 50_000) -> int:
        """Drop keys that can matter no more, looking at up to `budget` keys; how many went.

        A key goes when its newest fact is further behind the rule's newest fact than the rule keeps facts, and no
        fact came for it since the last time that it was looked at.
        """
        dropped = 0
        while budget > 0:
            part = next(self._sweep, None)
            if part is None:
                self._sweep = self._parts()
                break
            identifier, keys = part
            budget -= len(keys)
            if identifier in self._judged:
                dropped += self._judged[identifier].forget(keys)
            else:
                dropped += self._states[identifier].forget(keys)
        return dropped

    def __len__(self) -> int:
        """How many windows (rule and key) there are."""
        return sum([len(state.windows) for state in self._states.values()]) + sum(map(len, self._judged.values()))

    def forget_alerts(self, rules: Iterable[str]) -> None:
        """Count every episode of these rules as one without an alert: history filled their windows, and told nobody."""
        for identifier in rules:
            state = self._states.get(identifier)
            for window in state.windows.values() if state is not None else ():
                window.alerted = ()
            if identifier in self._judged:
                self._judged[identifier].forget_alerts()

    def look(self, rule: str, key: str, time: int) -> Look | None:
        """The window of a key that ends at `time`, the time of one of its facts; None when nothing is known of the key,
        and for rules that are judged over whole facts. Changes nothing."""
        state = self._states.get(rule)
        window = state.windows.get(key) if state is not None else None
        if state is None or window is None or not len(window):
            return None
        sweep = Sweep(state.rule, window)
        held = sweep.look(time)
        low = max(sweep.low, sweep.high - MAX_EVENTS)
        return Look(
            holds=held,
            start=_window_start(state.rule, time),
            values=sweep.values(),
            facts=tuple(zip(window.events(low, sweep.high), window.times[low : sweep.high], strict=True)),
            count=sweep.high - sweep.low,
            newest=window.times[-1],
        )

    def stats(self) -> dict[str, RuleStats]:
        """Figures by rule id."""
        return {identifier: state.stats() for identifier, state in self._states.items()} | {
            identifier: judged.stats() for identifier, judged in self._judged.items()
        }

    def _decided(
        self, outcome: int, state: RuleWindows, window: Window, time: int, bringer: Callable[[], Fact], now_ms: int
    ) -> Decision:
        """What follows from what became of a fact at `time`."""
        if outcome & TOO_LATE:
            return LATE
        again, limited = bool(outcome & AGAIN), bool(outcome & LIMITED)
        alerts = self._check(state.rule, window, time, bringer, now_ms, again) if outcome & LOOK else ()
        return Decision(alerts, limited=limited, duplicate=again) if alerts or limited or again else NOTHING

    def _check(
        self, rule: Rule, window: Window, time: int, bringer: Callable[[], Fact], now_ms: int, again: bool
    ) -> tuple[Alert, ...]:
        """Alerts of the episodes that a fact at `time` can have changed; `again`: also of those that have one."""
        times = window.times
        size = len(times)
        if size < rule.least:
            return ()
        index = size - 1 if time == times[-1] else bisect_left(times, time)
        end_time = time + rule.size if rule.periods is None else rule.periods.start(time) + rule.size
        end = size if times[-1] < end_time else bisect_left(times, end_time, index)
        alerts: list[Alert] = []
        found: list[int] = []
        for moment, episode, sweep in _episodes(rule, window, index, end, () if again else window.alerted):
            found.append(episode)
            alerts.append(_alert(rule, window, bringer(), moment, episode, sweep, now_ms))
        _remember(rule, window, found)
        return tuple(alerts)

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        """All keys in parts of 1,000, as they were when their rule's turn came."""
        for identifier in [*self._states, *self._judged]:
            state = self._states.get(identifier)
            keys = iter(list(state.windows if state is not None else self._judged[identifier].keys))
            while part := list(islice(keys, 1_000)):
                yield identifier, part


def _episodes(
    rule: Rule, window: Window, index: int, end: int, known: Sequence[int]
) -> Iterator[tuple[int, int, Sweep]]:
    """The episodes that are not `known` and in which the trigger holds at one of the facts [index, end): the time of
    the first such fact, the episode, and the window there."""
    times, found = window.times, set(known)
    sweep = Sweep.of(rule, window)
    while index < end:
        time = times[index]
        episode = rule.episodes.start(time)
        if episode in found:
            index = bisect_left(times, episode + rule.episodes.size, index, end)
        elif sweep.holds(time):
            found.add(episode)
            yield time, episode, sweep
        else:
            index = sweep.high


def _remember(rule: Rule, window: Window, found: Sequence[int]) -> None:
    """Episodes that have an alert now; those that no fact can change any more are forgotten."""
    if found:
        horizon = window.times[-1] - rule.size - rule.lateness - rule.episodes.size
        window.alerted = tuple({each for each in (*window.alerted, *found) if each >= horizon})


def _mark(rule: Rule, window: Window, index: int) -> None:
    """Count the episodes in which the trigger holds from a fact on as alerted."""
    size = len(window.times)
    if size >= rule.least:
        _remember(rule, window, [episode for _, episode, _ in _episodes(rule, window, index, size, window.alerted)])


def _alert(rule: Rule, window: Window, fact: Fact, time: int, episode: int, sweep: Sweep, now_ms: int) -> Alert:
    found = Found(
        id=alert_id(rule.id, fact.key, episode),
        time=time,
        window_start=_window_start(rule, time),
        episode=episode,
        episode_end=episode + rule.episodes.size,
        values=sweep.values(),
        thresholds=rule.thresholds,
        events=window.events(max(sweep.low, sweep.high - MAX_EVENTS), sweep.high),
        event_count=sweep.high - sweep.low,
    )
    return alert_of(rule, fact.key, fact, found, rule.severity, now_ms)


def _same(fact: Fact) -> Fact:
    return fact


def _window_start(rule: Rule, time: int) -> int:
    """The exclusive start of the window that ends at `time`."""
    if rule.periods is not None:
        return rule.periods.start(time) - 1
    return time - rule.size if rule.span is None else rule.span.start(time)
