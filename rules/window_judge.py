"""Decides what holds over windows of whole facts. A pure function of the facts of a key and of how far it may decide.

At once, for triggers that more facts never make false: at each fact, over its window up to it.
Settled, for all others: at each fact of a sliding window; at the last fact of each period of a tumbling window, when
the period is over; at the last fact of a session, when its gap has passed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from jianguan.domain.alert import MAX_EVENTS, Alert
from jianguan.domain.ids import alert_id, make_id
from rules.alerts import Found, alert_of
from rules.cel.functions import distance_m
from rules.figures import Condition, View, thresholds
from rules.judging import Judging
from rules.keys import BEGINNING, Kept, KeyState
from rules.rule import Grid, Rule


class WindowJudge:
    """Windows of one rule."""

    def __init__(self, rule: Rule, judging: Judging) -> None:
        self._rule = rule
        self._judging = judging
        self._span = judging.span
        self._grid = Grid.of(judging.span.size)
        self._kind = judging.kind

    def at_once(self, state: KeyState, time: int, now_ms: int, again: bool) -> list[Alert]:
        """Alerts that a fact at `time` can have brought about; `again`: also those that were raised before."""
        span, facts = self._span, state.facts
        end = time + span.size
        found: list[Alert] = []
        index = state.at(time)
        raised: set[str] = set()
        while index < len(facts) and facts[index].time < end:
            index = state.after(facts[index].time)  # facts of the same moment have one window
            for alert in self._decide(state, index - 1, facts[index - 1].time, now_ms):
                if alert.id not in raised and (again or alert.id not in state.raised):
                    found.append(alert)
                    raised.add(alert.id)
                    state.raised[alert.id] = alert.time
        return found

    def rewind(self, state: KeyState, time: int) -> None:
        """A fact at `time` was put in: what was decided from there on is open again."""
        state.decided = min(state.decided, time - 1)
        while state.held and state.held[-1] >= time:
            state.held.pop()

    def advance(self, state: KeyState, until: int, now_ms: int) -> list[Alert]:
        """Decide every moment up to `until`."""
        found = []
        for index, moment in self._moments(state):
            if moment > until:
                break
            for alert in self._decide(state, index, moment, now_ms):
                if alert.id not in state.raised:
                    found.append(alert)
                    state.raised[alert.id] = alert.time
        state.decided = max(state.decided, until)
        if state.held and state.held[0] < (needed := self.needed_from(state)):
            state.held = [moment for moment in state.held if moment >= needed]
        return found

    def next_moment(self, state: KeyState) -> int | None:
        """The earliest moment that may have to be decided. Of a session: that at which it is over if no fact follows
        the first that is open. Finding its end would cost a look at each of its facts for each further one."""
        if self._kind != "session":
            return next((moment for _, moment in self._moments(state)), None)
        index = state.after(state.decided - self._judging.gap + 1) if state.decided > BEGINNING else 0
        return state.facts[index].time + self._judging.gap - 1 if index < len(state.facts) else None

    def needed_from(self, state: KeyState) -> int:
        """Facts before this time can matter no more."""
        return state.decided - self._judging.back

    def decided_with(self, first: int) -> int:
        """Up to which moment windows may lack facts, when there are only those of `first` (ms) or later."""
        return first + self._judging.back - 1

    def _moments(self, state: KeyState) -> Iterator[tuple[int, int]]:
        """(place of a fact, moment at which its window is over), in order, of what is not decided."""
        facts = state.facts
        index = state.after(state.decided - self._judging.delay) if state.decided > BEGINNING else 0
        while index < len(facts):
            time = facts[index].time
            if self._kind == "tumbling":
                end = self._grid.start(time) + self._grid.size
                index = state.at(end)  # one look a period, however many facts it holds
                moment = end - 1
            else:
                index = state.after(time)  # the last fact of a moment stands for all of them
                moment = time
                if self._kind == "session":
                    end = time + self._judging.gap
                    if index < len(facts) and facts[index].time < end:
                        continue
                    moment = end - 1
            if moment > state.decided:
                yield index - 1, moment

    def _decide(self, state: KeyState, index: int, moment: int, now_ms: int) -> Iterator[Alert]:
        """The alerts of the moment whose last fact is at `index`: of one window, or of one around each fact's place."""
        first = index if self._judging.metres is None else state.at(state.facts[index].time)
        for place in range(first, index + 1):
            yield from self._decide_at(state, state.facts[place], index + 1, moment, now_ms)

    def _decide_at(self, state: KeyState, at: Kept, end: int, moment: int, now_ms: int) -> Iterator[Alert]:
        rule, levels = self._rule, self._judging.levels
        window = self._window(state, at, end)
        if len(window) < rule.least:
            return
        view = View(window, lambda periods: self._past(state, at.time, periods))
        if not view.holds(levels[0].condition):
            return
        cooling = self._judging.cooldown and self._is_cooling(state, moment)
        if state.is_silent(at.time):
            return
        episode = rule.episodes.start(at.time)
        for number, level in enumerate(levels):
            if not view.holds(level.condition) if number else cooling:
                continue
            if number:
                identifier = make_id("al", rule.id, state.key, str(episode), level.severity)
            else:
                identifier = alert_id(rule.id, state.key, episode)
            found = self._found(identifier, at, episode, view, level.condition)
            yield alert_of(rule, state.key, newest(window), found, level.severity, now_ms)

    def _is_cooling(self, state: KeyState, moment: int) -> bool:
        """Whether the trigger held within the cooldown before `moment`, at which it holds again."""
        held = state.held
        if not held or held[-1] < moment:
            held.append(moment)
        before = bisect_left(held, moment) - 1
        return before >= 0 and held[before] > moment - self._judging.cooldown

    def _found(self, identifier: str, at: Kept, episode: int, view: View, condition: Condition) -> Found:
        facts = view.facts
        return Found(
            id=identifier,
            time=at.time,
            window_start=self._start(at.time),
            episode=episode,
            episode_end=episode + self._rule.episodes.size,
            values=view.values(condition),
            thresholds=thresholds(condition),
            events=tuple(fact.event for fact in facts[-MAX_EVENTS:]),
            event_count=len(facts),
        )

    def _start(self, time: int) -> int:
        """What is later than this, up to `time`, may be in the window."""
        return self._grid.start(time) - 1 if self._kind == "tumbling" else self._span.start(time)

    def _window(self, state: KeyState, at: Kept, end: int) -> list[Kept]:
        facts = state.facts[state.after(self._start(at.time)) : end]
        if self._kind == "session":
            facts = self._session(facts)
        if self._judging.metres is not None:
            facts = [fact for fact in facts if self._near(fact, at)]
        return facts

    def _session(self, facts: list[Kept]) -> list[Kept]:
        """The facts at the end that follow each other in less than the gap."""
        first = len(facts) - 1
        while first > 0 and facts[first].time - facts[first - 1].time < self._judging.gap:
            first -= 1
        return facts[first:]

    def _near(self, fact: Kept, at: Kept) -> bool:
        metres = self._judging.metres
        here, there = fact.values[:2], at.values[:2]
        if metres is None or None in here or None in there:
            return False
        if abs(float(here[0] or 0) - float(there[0] or 0)) * _METRES_A_DEGREE > metres:
            return False  # most are far away, and this is quicker than the distance
        return distance_m(*(float(each or 0) for each in (*here, *there))) <= metres

    def _past(self, state: KeyState, time: int, periods: int) -> list[int]:
        """How many facts there are in each of the windows before the one that ends at `time`, newest first."""
        high = self._start(time)
        found = []
        for _ in range(periods):
            low = high - self._span.size
            found.append(state.after(high) - state.after(low))
            high = low
        return found


_METRES_A_DEGREE = 111_000  # a little less than a degree of latitude is anywhere


def newest(facts: list[Kept]) -> Kept:
    """The fact that was received last; the later one of those received together."""
    return max(facts, key=lambda fact: (fact.received_at, fact.time, fact.id))
