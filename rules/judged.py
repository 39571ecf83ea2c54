"""Rules that are judged over whole facts: at once where more facts never make a trigger false, else by the clock.

*Settled.* A fact of a settled rule counts if it was received within the rule's lateness after it happened, or if its
event is historical; whether it counts depends on nothing but itself. What happened at t is decided when the clock has
passed t + lateness: no fact of t or earlier that counts can still come. So the alerts are a function of the facts that
count, whatever their order, batches, duplicates or restarts.

*History* has no such end: it is settled when the clock has passed the newest receipt of a historical fact of the key
by the lateness. Should more of it come later still, it is decided again from there on, and what was raised stands.

A fact that the transport brings after its moment was decided is treated in the same way.

It must not know what a trigger is: that is the judge's.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from jianguan.domain.alert import Alert, Raised
from jianguan.domain.fact import Fact, FactRun
from rules.decisions import LATE, NOTHING, Cost, Decision, RuleStats
from rules.key_states import AWAKE, KeyStates
from rules.keys import INHIBITS, Kept, KeyState, kept, kept_of
from rules.pattern_judge import PatternJudge
from rules.rule import Rule
from rules.window_judge import WindowJudge

_MOST_SILENT: Final = 1_000


Timer: TypeAlias = Callable[[], float]
"""Seconds from an arbitrary origin."""


class Judge(Protocol):
    """Decides what holds for one key."""

    def at_once(self, state: KeyState, time: int, now_ms: int, again: bool) -> list[Alert]: ...
    def rewind(self, state: KeyState, time: int) -> None: ...
    def advance(self, state: KeyState, until: int, now_ms: int) -> list[Alert]: ...
    def next_moment(self, state: KeyState) -> int | None: ...
    def needed_from(self, state: KeyState) -> int: ...
    def decided_with(self, first: int) -> int: ...


class Judged:
    """The keys of one rule."""

    def __init__(self, rule: Rule, timer: Timer | None = None, awake: int = AWAKE) -> None:
        """`timer` tells seconds, for the time that the rule takes; without it none is measured. See KeyStates for
        `awake`."""
        assert rule.judging is not None
        self._timer = timer
        self.seconds = 0.0  # spent on this rule
        self.taken = 0  # facts since `cost` was asked
        self._told = 0.0
        self.rule = rule
        self.keys = KeyStates(awake)
        self._judging = rule.judging
        self._judge: Judge = (
            WindowJudge(rule, rule.judging)
            if rule.judging.pattern is None
            else PatternJudge(rule, rule.judging, rule.judging.pattern)
        )
        self._due: list[tuple[int, str]] = []  # (due ms, key); only the entry that a key names itself counts
        self._facts = 0
        self._newest: int | None = None
        self._late = self._limited = self._duplicates = 0

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, fact: Fact, now_ms: int) -> Decision:
        """Take a fact in and say what follows at once."""
        self.taken += 1
        entry = kept(fact, len(self._judging.carried))
        if self._timer is None:
            return self._take(fact.key, entry, now_ms)
        started = self._timer()
        try:
            return self._take(fact.key, entry, now_ms)
        finally:
            self.seconds += self._timer() - started

    def cost(self) -> Cost:
        """The time and the facts since this was asked last."""
        found = Cost(self.rule.id, self.seconds - self._told, self.taken, self.rule.micros_per_fact)
        self._told, self.taken = self.seconds, 0
        return found

    def add_run(self, facts: FactRun, now_ms: int) -> list[tuple[int, Decision]]:
        """`add` for each of `facts`: the place and the decision of those that led to anything."""
        self.taken += len(facts)
        started = self._timer() if self._timer is not None else 0.0
        try:
            entries = kept_of(facts, len(self._judging.carried))
            found = [self._take(key, entry, now_ms) for key, entry in zip(facts.keys, entries, strict=True)]
        finally:
            if self._timer is not None:
                self.seconds += self._timer() - started
        return [(place, decision) for place, decision in enumerate(found) if decision is not NOTHING]

    def _take(self, key: str, entry: Kept, now_ms: int) -> Decision:
        settled = self._judging.settled
        state = self.keys.get(key)
        if entry.mask & INHIBITS:
            self._silence(key, entry)
            return NOTHING
        if state is not None and state.place(entry)[1]:
            self._duplicates += 1
            if settled:
                return Decision(duplicate=True)
            return Decision(tuple(self._judge.at_once(state, entry.time, now_ms, again=True)), duplicate=True)
        if self._is_late(entry, state):
            self._late += 1
            return LATE
        if state is None:
            state = self.keys.made(key)
        if not self._insert(state, entry):
            return Decision(limited=True)
        limited = self._limit(state)
        if settled:
            self._schedule(state)
            return Decision(limited=True) if limited else NOTHING
        alerts = tuple(self._judge.at_once(state, entry.time, now_ms, again=False))
        self._prune(state)
        return Decision(alerts, limited=limited) if alerts or limited else NOTHING

    def fold(self, facts: FactRun, open_since: int | None = None) -> None:
        """Take facts in without a word. Of a rule that decides at once, it marks what they bring about as raised. With
        `open_since`: see `Engine.fold`."""
        by_key: dict[str, list[Kept]] = {}  # so that a key that sleeps wakes once
        for key, entry in zip(facts.keys, kept_of(facts, len(self._judging.carried)), strict=True):
            by_key.setdefault(key, []).append(entry)
        for key, entries in by_key.items():
            self._fold(key, entries, open_since)

    def _fold(self, key: str, entries: list[Kept], open_since: int | None) -> None:
        settled, inserted = self._judging.settled, False
        if settled and self.keys.is_new(key) and self._fold_first(key, entries, open_since):
            return
        state: KeyState | None = None
        for entry in entries:
            if entry.mask & INHIBITS:
                self._silence(key, entry)
                continue
            if state is None:
                state = self.keys.made(key)
            newest = state.facts[-1] if state.facts else None
            # By time and id: told from history, the same fact knows less of its subject.
            if newest is not None and entry[:2] <= newest[:2] and state.place(entry)[1]:
                continue
            if self._is_late(entry, state) if settled else newest and entry.time <= newest.time - self.rule.retention:
                continue
            if self._insert(state, entry):
                self._limit(state)
                inserted = True
                if not settled:
                    self._judge.at_once(state, entry.time, 0, again=False)
                    self._prune(state)
        if settled and inserted and state is not None:
            self._resume(state, open_since)
            self._schedule(state)

    def _fold_first(self, key: str, entries: list[Kept], open_since: int | None) -> bool:
        """`_fold` for a key of which nothing is known, if its facts can be put in at once; else False, and nothing."""
        if len(entries) > self.rule.facts_per_key or any(entry.mask & INHIBITS for entry in entries):
            return False
        facts = [entry for entry in entries if not self._is_late(entry, None)]
        if len({fact.id for fact in facts}) < len(facts):
            return False  # one is there twice, and perhaps knows less of its subject
        state = self.keys.made(key)
        if not facts:
            return True
        facts = state.facts = sorted(facts)  # ids differ: nothing behind them is compared
        self._count(len(facts), facts[-1].time)
        for fact in facts:
            if fact.historical:
                self._wait_for_history(state, fact)
        self._resume(state, open_since)
        self._schedule(state)
        return True

    def _resume(self, state: KeyState, open_since: int | None) -> None:
        """Leave out what was decided before: of its windows the older facts may not have been folded. What was received
        at `open_since` (ms) or later, and all after it, is decided again."""
        if open_since is None:
            return
        undecided = min((fact.time for fact in state.facts if fact.received_at >= open_since), default=None)
        first = state.facts[-1].time - self.rule.retention
        if undecided is not None:
            first = min(first, undecided - self._judging.back)
        decided = self._judge.decided_with(first)
        state.decided = max(state.decided, decided - self._judging.cooldown)
        # What held within the cooldown before is known again, and was told then or cooling.
        for alert in self._judge.advance(state, decided, 0) if self._judging.cooldown else ():
            state.raised.pop(alert.id, None)

    def remember(self, alert: Raised) -> None:
        """Count an alert as raised, if its key is known."""
        if not self.keys.is_new(alert.key):
            self.keys.made(alert.key).raised.setdefault(alert.id, alert.time)

    def elapse(self, now_ms: int, budget: int, found: list[Alert]) -> int:
        """Put into `found` what up to `budget` keys are decided to have by now; how many keys were looked at."""
        started = self._timer() if self._timer is not None and self._due else 0.0
        looked = 0
        while self._due and self._due[0][0] <= now_ms and looked < budget:
            due, key = heapq.heappop(self._due)
            if self.keys.due(key) != due:
                continue
            state = self.keys.made(key)
            looked += 1
            state.due = None
            until = now_ms - self.rule.lateness - 1
            if state.history_from is not None:
                if now_ms > state.history_until:
                    state.history_from = None
                else:
                    until = min(until, state.history_from - 1)
            found.extend(self._judge.advance(state, until, now_ms))
            self._prune(state)
            self._schedule(state)
        if self._timer is not None and looked:
            self.seconds += self._timer() - started
        return looked

    @property
    def settled(self) -> bool:
        """Whether the clock decides."""
        return self._judging.settled

    def pass_over(self, now_ms: int) -> None:
        """Decide all that the clock has settled by now, as `elapse` would, and count its alerts as ones that nobody was
        told of."""
        found: list[Alert] = []
        while self.elapse(now_ms, 1_000, found):
            pass
        for alert in found:
            self.keys.made(alert.key).raised.pop(alert.id, None)

    def forget_alerts(self) -> None:
        """Count every alert that was found so far as one that nobody was told of."""
        for key in list(self.keys):
            self.keys.made(key).raised = {}

    def take_keys(self, other: Judged) -> None:
        """Take over every key of `other`, of the same rule, in place of its own state."""
        self._facts += self.keys.take(other.keys)
        for entry in other._due:
            heapq.heappush(self._due, entry)
        if other._newest is not None:
            self._count(0, other._newest)
        self._late += other._late
        self._limited += other._limited
        self._duplicates += other._duplicates
        self.seconds += other.seconds - other._told
        self.taken += other.taken
        if isinstance(self._judge, PatternJudge) and isinstance(other._judge, PatternJudge):
            self._judge.full |= other._judge.full

    def full(self) -> set[str]:
        """Keys whose patterns have begun more matches than the limit, since the last time that this was asked."""
        if not isinstance(self._judge, PatternJudge) or not self._judge.full:
            return set()
        found, self._judge.full = self._judge.full, set()
        self._limited += len(found)
        return found

    def due(self) -> int | None:
        """When `elapse` may have something to do."""
        return self._due[0][0] if self._due else None

    def forget(self, keys: list[str]) -> int:
        """Drop those of `keys` that can matter no more and were not touched since the last look; how many went."""
        # An alert keeps its key quiet for as long as facts of its episode may come.
        kept = max(self.rule.retention, self.rule.episodes.size + self.rule.size + self.rule.lateness)
        dropped, facts = self.keys.forget(keys, (self._newest or 0) - kept)
        self._facts -= facts
        return dropped

    def stats(self) -> RuleStats:
        """Figures of this rule."""
        return RuleStats(
            keys=len(self.keys),
            facts=self._facts,
            bytes=self.keys.size_in_bytes(),
            newest=self._newest,
            late=self._late,
            limited=self._limited,
            duplicates=self._duplicates,
            seconds=self.seconds,
        )

    def _is_late(self, entry: Kept, state: KeyState | None) -> bool:
        if self._judging.settled:
            return not entry.historical and entry.received_at - entry.time > self.rule.lateness
        if state is None or not state.facts:
            return False
        return entry.time < state.facts[-1].time - self.rule.size - self.rule.lateness

    def _insert(self, state: KeyState, entry: Kept) -> bool:
        """Put a new fact in its place; whether there is room for one so old."""
        state.touched = True
        if len(state.facts) >= self.rule.facts_per_key and entry < state.facts[0]:
            self._limited += 1
            return False
        insort(state.facts, entry)
        self._count(1, entry.time)
        if self._judging.settled:
            self._judge.rewind(state, entry.time)
            if entry.historical:
                self._wait_for_history(state, entry)
        return True

    def _count(self, facts: int, newest: int) -> None:
        """So many more are kept, the newest of this time (ms)."""
        self._facts += facts
        if self._newest is None or newest > self._newest:
            self._newest = newest

    def _wait_for_history(self, state: KeyState, entry: Kept) -> None:
        """More like this historical fact may come until the lateness after its receipt."""
        oldest = entry.time if state.history_from is None else state.history_from
        state.history_from = min(oldest, entry.time)
        state.history_until = max(state.history_until, entry.received_at + self.rule.lateness)

    def _silence(self, key: str, entry: Kept) -> None:
        """An alert of a rule that inhibits this one. What was raised before it came stands."""
        state = self.keys.made(key)
        state.touched = True
        (end,) = entry.values
        silence = (entry.time, int(end or 0), entry.event)
        if silence not in state.silent:
            insort(state.silent, silence)
            del state.silent[:-_MOST_SILENT]

    def _limit(self, state: KeyState) -> bool:
        excess = len(state.facts) - self.rule.facts_per_key
        if excess <= 0:
            return False
        del state.facts[:excess]
        self._facts -= excess
        self._limited += 1
        return True

    def _prune(self, state: KeyState) -> None:
        """Forget facts that no decision needs any more, and alerts that cannot be found again."""
        if not state.facts:
            return
        horizon = state.facts[-1].time - self.rule.retention
        if self._judging.settled:
            horizon = min(horizon, self._judge.needed_from(state))
        if state.facts[0].time <= horizon:
            old = state.after(horizon)
            del state.facts[:old]
            self._facts -= old
        if state.silent:
            # Not only to what is needed now: history that comes later still has all that is kept decided again.
            state.silent = [each for each in state.silent if each[1] >= horizon]
        if len(state.raised) > 16:
            oldest = horizon - self.rule.episodes.size
            state.raised = {alert: time for alert, time in state.raised.items() if time >= oldest}

    def _schedule(self, state: KeyState) -> None:
        moment = self._judge.next_moment(state)
        if moment is None:
            state.due = None
            return
        due = moment + self.rule.lateness + 1
        if state.history_from is not None and moment >= state.history_from:
            due = max(due, state.history_until + 1)
        if state.due != due:
            state.due = due
            heapq.heappush(self._due, (due, state.key))
