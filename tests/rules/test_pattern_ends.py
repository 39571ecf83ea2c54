"""Patterns at their exact ends: which fact a step takes, which of two matches stands, what is decided again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from jianguan.domain.alert import Alert
from rules.engine import Engine
from rules.facts import Matcher
from rules.ruleset import RuleSet
from rules.running import Running
from tests.rules.support import DAY, HOUR, event, reference
from tests.rules.test_engine import MIDNIGHT
from tests.rules.test_facts import loaded
from tests.rules.test_window_ends import LATER, MINUTE, WIDE, at


def step(name: str, letters: str = "", **changes: Any) -> dict[str, Any]:
    """A step that takes events of some letters."""
    return {"name": name, "where": f"product in {list(letters or name)}", **changes}


def pattern(*steps: dict[str, Any], lateness: str = "10m", **changes: Any) -> dict[str, Any]:
    """A rule on what follows what within a day, an alert for each match."""
    told = {"steps": list(steps), "within": "1d", "lateness": lateness, "every": True, **changes}
    return {**WIDE, "window": None, "trigger": None, "pattern": told}


def found(changes: dict[str, Any], letters: str, first: int = 0) -> list[Alert]:
    """What a pattern finds in events an hour apart, each of one letter, from so many ms after midnight on."""
    running = Running(RuleSet([loaded(**changes)]), reference())
    some = [at(number, first + number * HOUR, product=letter) for number, letter in enumerate(letters)]
    return [*(alert for each in some for alert in running.take(each)), *running.elapse(LATER)]


def told(alerts: Iterable[Alert]) -> list[str]:
    """Of each match the places of its facts."""
    places = {at(number, 0).id: str(number) for number in range(20)}
    return ["".join(places[each] for each in alert.events) for alert in alerts]


A, B, C, X = (step(letter) for letter in "abcx")
TO_NEXT = {"after_match": "skip-to-next"}
SOME = {"at_least": 1, "at_most": 3}
B_NEXT = step("b", times=SOME, next=True)


@pytest.mark.parametrize(("changes", "letters", "expected"), [
    pytest.param(pattern(A), "axa", ["0", "2"], id="one step is complete with its first event"),
    pytest.param(pattern(A, B), "aab", ["02"], id="of two that one event completes the earlier one stands"),
    pytest.param(pattern(A, B, **TO_NEXT), "aab", ["02", "12"], id="or both do"),
    pytest.param(pattern(A, B, step("c", absent=True)), "aab", ["02"], id="as of two that waited for nothing to come"),
    pytest.param(pattern(A, B, step("c", absent=True), **TO_NEXT), "aab", ["02", "12"], id="or both of those do"),
    pytest.param(pattern(A, B, step("c", absent=True)), "aabab", ["02", "34"], id="and what began after it"),
    pytest.param(pattern(step("a", times={"at_least": 2}, next=True), C), "axac", [], id="next within a step"),
    pytest.param(pattern(step("a", times={"at_least": 2}, next=True), C), "aaxc", ["013"], id="not behind it"),
    pytest.param(pattern(A, B_NEXT, C), "abbxbc", ["0125"], id="what is interrupted takes no more"),
    pytest.param(pattern(step("a", times=SOME), B), "ab", ["01"], id="a step that has as many as it needs"),
    pytest.param(pattern(step("a", "ab"), B, step("x", absent=True)), "abb", ["01"], id="its last event begins none"),
    pytest.param(pattern(A, B_NEXT, C), "axbc", [], id="next to the step before"),
    pytest.param(pattern(A, B_NEXT, step("c", next=True)), "abxc", [], id="next to what may go on"),
    pytest.param(pattern(A, B_NEXT, step("c", next=True)), "abbc", ["0123"], id="next to the last of several"),
    pytest.param(pattern(A, step("b", times=SOME), step("x", absent=True), C), "abxc", [], id="barred before the next"),
    pytest.param(pattern(A, step("x", absent=True), step("b", times={"at_least": 2})), "abxb", ["013"],
                 id="not barred once the step has begun"),
    pytest.param(pattern({"all": [step("a", "ab"), step("b", "b")]}, C), "bbc", ["012"], id="all, one event each"),
    pytest.param(pattern({"all": [A, B]}, C), "aabc", ["023"], id="all, none of them twice"),
    pytest.param(pattern({"all": [A, B]}, {"all": [C, step("d", "a")]}), "abac", ["0123"], id="all after all"),
])  # fmt: skip
def test_which_events_make_a_match(changes: dict[str, Any], letters: str, expected: list[str]) -> None:
    assert told(found(changes, letters)) == expected


def test_an_alert_counts_what_each_step_took() -> None:
    (alert,) = found(pattern(A, B_NEXT, C), "abbxbc")
    assert (alert.values, alert.event_count) == ({"a": 1.0, "b": 2.0, "c": 1.0}, 4)


@pytest.mark.parametrize(("every", "episode"), [(True, (0, 5 * HOUR + 1)), (False, (0, DAY))])
def test_an_alert_of_a_match_lasts_as_long_as_it_does_and_else_as_long_as_the_episode(
    every: bool, episode: tuple[int, int]
) -> None:
    (alert,) = found(pattern(A, B_NEXT, C, every=every), "abbxbc")
    assert (alert.episode - MIDNIGHT, alert.episode_end - MIDNIGHT) == episode
    assert alert.window_start == MIDNIGHT - 1


def test_a_match_that_began_in_an_earlier_episode_drops_none_that_begin_in_the_next() -> None:
    """Midnight is before the third event. The first match is complete with the fourth, and drops nothing of the day."""
    assert told(found(pattern(A, B, C), "abacbc", -2 * HOUR)) == ["013", "245"]


def test_a_match_competes_with_those_that_began_in_its_own_episode_alone() -> None:
    """Of those that begin with the third and the fifth event one stands, though the first match is in their way too."""
    waiting = pattern(A, B, C, step("x", absent=True))
    assert told(found(waiting, "abacabc", -2 * HOUR)) == ["013", "256"]


def patient() -> Running:
    """A pattern that a slow transport can bring more for."""
    return Running(RuleSet([loaded(**pattern(A, B))]), reference())


def test_a_fact_of_the_last_moment_that_was_decided_has_it_decided_again() -> None:
    for after, alerts in ((0, 1), (1, 1)):
        running = patient()
        running.take(at(1, 0, product="a"))
        assert running.engine.elapse(MIDNIGHT + HOUR + 10 * MINUTE + 1) == ()
        running.take(at(2, HOUR + after, product="b"))
        assert len(running.elapse(LATER)) == alerts


def test_what_a_slow_transport_brings_does_not_raise_again_what_stands_or_what_another_match_ruled_out() -> None:
    """The first match begins with the first moment of an episode, which is decided again as a whole."""
    running = patient()
    for number, letter in enumerate("aab"):
        running.take(at(number, number * HOUR, product=letter))
    assert told(running.engine.elapse(MIDNIGHT + 2 * DAY)) == ["02"]
    running.take(at(4, DAY + 3 * HOUR, product="b"))
    assert running.elapse(LATER) == []


@pytest.mark.parametrize("first", [0, 1, HOUR])
def test_what_a_slow_transport_brings_is_put_behind_all_that_it_may_follow_and_nothing_is_raised_twice(
    first: int,
) -> None:
    """An episode is decided again from its first moment on, in which a match may have begun."""
    running = patient()
    for each in (at(1, first, product="a"), at(2, first + HOUR, product="b"), at(3, first + 2 * HOUR, product="a")):
        running.take(each)
    assert told(running.engine.elapse(MIDNIGHT + 5 * HOUR)) == ["12"]
    running.take(at(4, first + 3 * HOUR, product="b"))
    assert told(running.elapse(LATER)) == ["34"]


def test_the_clock_looks_again_at_the_next_fact_or_the_next_deadline_whichever_is_sooner() -> None:
    running = Running(RuleSet([loaded(**pattern(A, step("b", absent=True)))]), reference())
    running.take(at(1, 0, product="a"))
    late = MIDNIGHT + 10 * MINUTE
    assert running.engine.due() == late + 1
    assert running.engine.elapse(late + 1) == ()
    assert running.engine.due() == late + DAY
    running.take(at(2, HOUR, product="a"))
    assert running.engine.due() == late + HOUR + 1
    assert running.engine.elapse(late + HOUR + 1) == ()
    running.take(at(3, 2 * DAY, product="a"))
    assert running.engine.due() == late + DAY
    (alert,) = running.engine.elapse(late + DAY)
    assert alert.time == MIDNIGHT + DAY


@pytest.mark.parametrize(("first", "alerts"), [(0, 1), (1, 0)])
def test_a_restart_decides_matches_of_those_episodes_that_are_there_from_their_beginning(
    first: int, alerts: int
) -> None:
    """What is older than the retention before the newest fact was not asked for, and was decided before."""
    a_rule = loaded(**pattern(A, B))
    matcher, engine = Matcher(RuleSet([a_rule]), reference()), Engine(RuleSet([a_rule]))
    # The retention reaches back to the midnight at which the episode begins, or to a moment later.
    some = [at(1, first, product="a"), at(2, HOUR, product="b"), at(3, a_rule.retention + first, product="a")]
    facts = [fact for each in some for fact in matcher.facts(each)]
    engine.fold(facts, open_since=some[2].received_at)
    assert len(engine.elapse(LATER)) == alerts


def test_a_pattern_is_kept_silent_by_an_alert_of_a_rule_that_inhibits_it() -> None:
    loud = loaded(id="loud", **{**WIDE, "on": ["violation"], "trigger": {"count": {"at_least": 1}}})
    quiet = loaded(id="quiet", inhibited_by=["loud"], **pattern(A, B))
    for second, alerts in ((HOUR - 1, 1), (HOUR, 0)):
        running = Running(RuleSet([quiet, loud]), reference())
        some = [at(1, 0, product="a"), at(2, second, product="b"), at(3, HOUR, kind="violation")]
        raised = [alert for each in some for alert in running.take(each)] + running.elapse(LATER)
        assert sum(alert.rule == "quiet" for alert in raised) == alerts


@pytest.mark.parametrize("changes", [
    pytest.param(pattern(A, B), id="pattern"),
    pytest.param({**WIDE, "window": {"size": "2d", "lateness": "10m"},
                  "trigger": {"count": {"at_least": 2}, "not": {"count": {"at_least": 3}}}}, id="window"),
])  # fmt: skip
def test_history_that_is_not_settled_is_kept_however_far_behind_the_newest_fact_it_lies(
    changes: dict[str, Any],
) -> None:
    running = Running(RuleSet([loaded(**changes)]), reference())
    long = 200 * DAY
    for number, (product, time) in enumerate((("a", 2 * DAY), ("b", 2 * DAY + HOUR))):
        running.take(event(number, product=product, enterprise="uscc:X", historical=True,
                           occurred_at=MIDNIGHT + time, received_at=MIDNIGHT + long))  # fmt: skip
    old = event(7, product="b", enterprise="uscc:X", historical=False,
                occurred_at=MIDNIGHT - DAY, received_at=MIDNIGHT - DAY)  # fmt: skip
    running.take(old)
    running.take(at(8, long, product="a"))
    # What happened before the history is decided at its own time, and history when no more of it can come.
    assert running.engine.elapse(MIDNIGHT + long + MINUTE) == ()
    assert MIDNIGHT + 2 * DAY + HOUR in [alert.time for alert in running.elapse(MIDNIGHT + long + HOUR)]
