"""Finds the matches of a pattern in the facts of a key, in order of time. A pure function of those facts.

A match begins with any fact that meets the first step. From there on each step takes the earliest fact that meets it:
the next step has the first choice, then the step that may take more. So there is at most one match for each first
fact. Everything lies before the deadline of the first fact.

*Runs.* Matches compete (skip past last) only with those that begin in the same episode: what a key's matches are does
not depend on its whole past, and a restart that knows the last two episodes finds the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from jianguan.domain.alert import MAX_EVENTS, Alert
from jianguan.domain.ids import alert_id, make_id
from rules.alerts import Found, alert_of
from rules.judging import Judging
from rules.keys import Attempt, Kept, KeyState, Run, Value
from rules.pattern_plan import PatternPlan, Stage, Test
from rules.rule import Rule


class PatternJudge:
    """The pattern of one rule."""

    def __init__(self, rule: Rule, judging: Judging, plan: PatternPlan) -> None:
        self._rule = rule
        self._judging = judging
        self._plan = plan
        self._fields = judging.carried
        self._grid = rule.episodes
        self.full: set[str] = set()  # keys that had more attempts than the limit

    def at_once(self, state: KeyState, time: int, now_ms: int, again: bool) -> list[Alert]:
        """A pattern is settled: nothing follows at once."""
        return []

    def rewind(self, state: KeyState, time: int) -> None:
        """A fact at `time` was put in: if that moment was decided, so is everything open that it can be a part of."""
        if time > state.decided:
            return
        # What began before that episode was over before `time`.
        state.runs = {}
        state.decided = self._grid.start(time - self._judging.span.size) - 1

    def advance(self, state: KeyState, until: int, now_ms: int) -> list[Alert]:
        """Decide every moment up to `until`."""
        found: list[Alert] = []
        index = state.after(state.decided)
        while index < len(state.facts) and state.facts[index].time <= until:
            fact = state.facts[index]
            index += 1
            episode = self._grid.start(fact.time)
            state.runs.setdefault(episode, Run())
            for start in sorted(state.runs):
                run = state.runs[start]
                for attempt, moment in self._expire(run, fact.time):
                    found.extend(self._alerts(state, attempt, moment, now_ms))
                for attempt in self._feed(state, run, fact, start == episode):
                    found.extend(self._alerts(state, attempt, fact.time, now_ms))
            state.runs = {start: run for start, run in state.runs.items() if run.attempts or start == episode}
        for start in sorted(state.runs):
            for attempt, moment in self._expire(state.runs[start], until + 1):
                found.extend(self._alerts(state, attempt, moment, now_ms))
        state.decided = max(state.decided, until)
        return found

    def next_moment(self, state: KeyState) -> int | None:
        """The earliest moment that is still to be decided: of a fact, or of a deadline."""
        index = state.after(state.decided)
        moments = [run.attempts[0].deadline - 1 for run in state.runs.values() if run.attempts]
        if index < len(state.facts):
            moments.append(state.facts[index].time)
        return min(moments, default=None)

    def needed_from(self, state: KeyState) -> int:
        """Facts before this time can matter no more."""
        return state.decided - self._judging.back

    def decided_with(self, first: int) -> int:
        """Up to which moment a match may lack facts, when there are only those of `first` (ms) or later: matches of an
        episode are found from its beginning on."""
        start = self._grid.start(first)
        return (start if start == first else start + self._grid.size) - 1

    def _expire(self, run: Run, time: int) -> Iterator[tuple[Attempt, int]]:
        """Attempts whose deadline is not after `time`: those complete that only waited for nothing to come."""
        while run.attempts and run.attempts[0].deadline <= time:
            attempt = run.attempts.pop(0)
            if self._reached_the_end(attempt):
                self._skip(run, attempt)
                yield attempt, attempt.deadline

    def _feed(self, state: KeyState, run: Run, fact: Kept, may_begin: bool) -> Iterator[Attempt]:
        """Give a fact to all attempts, in the order in which they began, and let it begin one."""
        complete: list[Attempt] = []
        left: list[Attempt] = []
        for attempt in run.attempts:
            if self._goes_on(attempt, fact):
                (complete if self._is_complete(attempt) else left).append(attempt)
        run.attempts = left
        if complete and self._plan.skip_past_last:
            run.attempts = []
            yield complete[0]
            return
        yield from complete
        if may_begin and any(self._meets(test, fact, {}) for test in self._plan.stages[0].tests):
            attempt = Attempt(self._judging.span.deadline(fact.time))
            self._take(attempt, fact)
            if self._is_complete(attempt):
                yield attempt
            elif len(run.attempts) >= self._plan.partial_matches:
                self.full.add(state.key)
            else:
                run.attempts.append(attempt)

    def _skip(self, run: Run, match: Attempt) -> None:
        if self._plan.skip_past_last:
            last = (match.facts[-1].time, match.facts[-1].id)
            run.attempts = [each for each in run.attempts if (each.facts[0].time, each.facts[0].id) > last]

    def _goes_on(self, attempt: Attempt, fact: Kept) -> bool:
        """Whether an attempt is alive after a fact, which it takes if it can."""
        if self._reached_the_end(attempt):  # nothing is missing but that nothing comes
            return not self._meets_any(self._plan.final, fact, attempt)
        stages = self._plan.stages
        here = stages[attempt.stage]
        lingers = here.least <= attempt.taken
        following = stages[attempt.stage + 1] if lingers else None
        if following is not None and self._accepts(following, fact, attempt):
            attempt.stage, attempt.taken, attempt.closed = attempt.stage + 1, 0, False
            self._take(attempt, fact)
            return True
        if not attempt.closed and self._accepts(here, fact, attempt):
            self._take(attempt, fact)
            return True
        entered = following if following is not None else here if attempt.taken == 0 else None
        if entered is not None and (entered.next or self._meets_any(entered.forbidden, fact, attempt)):
            return False
        if here.next:
            if not lingers:
                return False
            attempt.closed = True
        return True

    def _accepts(self, stage: Stage, fact: Kept, attempt: Attempt) -> bool:
        return self._meets_any(self._wanted(stage, attempt), fact, attempt)

    def _wanted(self, stage: Stage, attempt: Attempt) -> tuple[Test, ...]:
        """Tests of a stage that may still take a fact."""
        if not stage.together:
            return stage.tests
        return tuple(test for test in stage.tests if test.name not in attempt.names)

    def _take(self, attempt: Attempt, fact: Kept) -> None:
        stage = self._plan.stages[attempt.stage]
        test = next(test for test in self._wanted(stage, attempt) if self._meets(test, fact, attempt.bound))
        attempt.facts.append(fact)
        attempt.names.append(test.name)
        attempt.taken += 1
        for name, value in zip(self._fields, fact.values, strict=True):
            attempt.bound[f"{test.name}.{name}"] = value
        if attempt.taken == stage.most and attempt.stage + 1 < len(self._plan.stages):
            attempt.stage, attempt.taken, attempt.closed = attempt.stage + 1, 0, False

    def _meets(self, test: Test, fact: Kept, bound: dict[str, Value]) -> bool:
        return test.met_by(fact, self._fields, bound)

    def _meets_any(self, tests: tuple[Test, ...], fact: Kept, attempt: Attempt) -> bool:
        return any(self._meets(test, fact, attempt.bound) for test in tests)

    def _reached_the_end(self, attempt: Attempt) -> bool:
        return attempt.stage + 1 == len(self._plan.stages) and attempt.taken >= self._plan.stages[-1].least

    def _is_complete(self, attempt: Attempt) -> bool:
        return not self._plan.final and self._reached_the_end(attempt)

    def _alerts(self, state: KeyState, attempt: Attempt, moment: int, now_ms: int) -> Iterator[Alert]:
        rule, facts = self._rule, attempt.facts
        if state.is_silent(moment):
            return
        episode, end = self._grid.start(moment), self._grid.start(moment) + self._grid.size
        identifier = alert_id(rule.id, state.key, episode)
        if self._plan.every:
            episode, end = facts[0].time, moment + 1
            identifier = make_id("al", rule.id, state.key, facts[0].event, facts[-1].event)
        if identifier in state.raised:
            return
        state.raised[identifier] = moment
        taken = Counter(attempt.names)
        found = Found(
            id=identifier,
            time=moment,
            window_start=facts[0].time - 1,
            episode=episode,
            episode_end=end,
            values={test.name: float(taken[test.name]) for stage in self._plan.stages for test in stage.tests}
            | {test.name: 0.0 for test in self._plan.final},
            thresholds=self._plan.thresholds,
            events=tuple(fact.event for fact in facts[-MAX_EVENTS:]),
            event_count=len(facts),
        )
        yield alert_of(rule, state.key, facts[-1], found, rule.severity, now_ms)
