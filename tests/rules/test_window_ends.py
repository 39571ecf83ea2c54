"""Windows over whole facts at their exact ends: which fact is just inside, which moment is decided again."""

from __future__ import annotations

from typing import Any

import pytest

from jianguan.domain.alert import MAX_EVENTS, Alert
from jianguan.domain.event import Event
from rules.engine import Engine
from rules.facts import Matcher
from rules.ruleset import RuleSet
from rules.running import Running
from tests.rules.support import DAY, HOUR, event, reference
from tests.rules.test_engine import MIDNIGHT
from tests.rules.test_facts import loaded

MINUTE = 60_000
LATER = MIDNIGHT + 99 * DAY
ONE: dict[str, Any] = {"count": {"at_least": 1}}
WIDE: dict[str, Any] = {"condition": "true", "case": None, "lead": None}
MEAN: dict[str, Any] = {"avg": {"of": "amount_fen", "at_least": 5}}
ALONE: dict[str, Any] = {"not": {"count": {"at_least": 2}}}


def running(*changes: dict[str, Any]) -> Running:
    """Rules on anything that is complained of."""
    return Running(RuleSet([loaded(**WIDE, **each) for each in changes]), reference())


def at(number: int, time: int, **changes: Any) -> Event:
    """Event number `number`, so many ms after midnight."""
    moment = MIDNIGHT + time
    return event(number, **{"enterprise": "uscc:X", "occurred_at": moment, "received_at": moment, **changes})


def times(alerts: Any) -> list[int]:
    return sorted(alert.time - MIDNIGHT for alert in alerts)


def settled(changes: dict[str, Any], *some: Event) -> list[Alert]:
    """What one rule raises when all is over."""
    rules = running(changes)
    return [*(alert for each in some for alert in rules.take(each)), *rules.elapse(LATER)]


SESSION: dict[str, Any] = {"kind": "session", "size": "1h", "gap": "2m", "lateness": "1h"}


@pytest.mark.parametrize(("apart", "sessions"), [(2 * MINUTE - 1, [(2, 2)]), (2 * MINUTE, [(1, 0), (1, 2)])])
def test_a_fact_exactly_a_gap_after_another_begins_a_session_of_its_own(
    apart: int, sessions: list[tuple[int, int]]
) -> None:
    found = settled({"window": SESSION, "trigger": {"avg": {"of": "amount_fen", "at_least": 1}}, "episode": "1m"},
                    at(1, 0, amount_fen=1), at(2, apart, amount_fen=1))  # fmt: skip
    assert sorted((alert.event_count, (alert.time - MIDNIGHT + 1) // MINUTE) for alert in found) == sorted(sessions)


def test_an_alert_of_a_period_names_its_whole_window() -> None:
    """A window is what is later than its start: a fact of the first moment is in it."""
    window = {"kind": "tumbling", "size": "1h", "lateness": "1h"}
    for trigger in ({"count": {"at_least": 2}}, {"all": [{"count": {"at_least": 2}}]}):
        (alert,) = settled({"window": window, "trigger": trigger}, at(1, 0), at(2, MINUTE))
        assert (alert.window_start, alert.event_count) == (MIDNIGHT - 1, 2)


def test_what_a_slow_transport_brings_for_a_moment_that_was_decided_has_it_decided_again() -> None:
    rules = running({"window": {"size": "1h", "lateness": "10m"}, "trigger": MEAN})
    rules.take(at(1, 0, amount_fen=1))
    assert times(rules.elapse(MIDNIGHT + HOUR)) == []
    rules.take(at(2, 0, amount_fen=99))
    assert times(rules.elapse(MIDNIGHT + HOUR)) == [0]


def test_a_moment_at_which_the_trigger_no_longer_holds_cools_nothing() -> None:
    rules = running({"window": {"size": "1m", "lateness": "10m"}, "trigger": ALONE, "cooldown": "1h", "episode": "1m"})
    rules.take(at(1, 0))
    assert times(rules.elapse(MIDNIGHT + 11 * MINUTE)) == [0]
    rules.take(at(2, 0))  # by a slow transport
    rules.take(at(3, 30 * MINUTE))
    assert times(rules.elapse(LATER)) == [30 * MINUTE]


def test_a_cooldown_is_kept_though_it_is_longer_than_windows_and_the_clock_moves_on_between() -> None:
    rules = running({"window": {"size": "1h", "lateness": "10m"}, "trigger": ONE, "cooldown": "14d", "episode": "1h"})
    found: list[Alert] = []
    for number, day in enumerate((0, 5, 15, 29)):
        rules.take(at(number, day * DAY))
        found += rules.engine.elapse(MIDNIGHT + (day + 4) * DAY)
    assert times(found) == [0, 29 * DAY]


def test_the_last_fact_of_a_period_says_whether_it_is_kept_silent() -> None:
    """Not the end of the period, at which it is decided."""
    quiet = {
        "id": "quiet", "window": {"kind": "tumbling", "size": "1d", "lateness": "1h"}, "trigger": ONE,
        "inhibited_by": ["loud"], "on": ["complaint"],
    }  # fmt: skip
    loud = {"id": "loud", "on": ["violation"], "window": {"size": "2d"}, "trigger": ONE}
    for last, expected in ((5 * HOUR - 1, 1), (5 * HOUR, 0)):
        rules = running(quiet, loud)
        some = [at(1, last), at(2, 5 * HOUR, kind="violation")]
        found = [alert for each in some for alert in rules.take(each)] + list(rules.elapse(LATER))
        assert sum(alert.rule == "quiet" for alert in found) == expected


NEAR: dict[str, Any] = {"window": {"size": "1h", "within_m": 10_000}, "trigger": {"count": {"at_least": 2}}}


@pytest.mark.parametrize(("north", "east", "near"), [
    (0.0899, 0.0, True), (0.0900, 0.0, False), (0.0, 0.0899, True), (0.0, 0.0900, False),
])  # fmt: skip
def test_what_is_near_is_told_by_the_distance_in_every_direction(north: float, east: float, near: bool) -> None:
    """A degree is 111,195 metres, on the equator in both directions."""
    found = settled({**NEAR, "group_by": "region"},
                    at(1, 0, region="cn:310115", latitude=0.0, longitude=0.0),
                    at(2, 1, region="cn:310115", latitude=north, longitude=east))  # fmt: skip
    assert bool(found) is near


def test_an_alert_was_brought_by_the_fact_that_was_received_last() -> None:
    window = {"size": "1h", "lateness": "30m"}
    rules = running({"window": window, "trigger": {"max": {"of": "amount_fen", "at_least": 1}}, "group_by": "product"})
    rules.take(at(1, MINUTE, product="milk", region="cn:310115"))
    (alert,) = rules.take(at(2, 0, product="milk", region="cn:110105", amount_fen=9, received_at=MIDNIGHT + 9 * MINUTE))
    assert (alert.time, alert.received_at, alert.region) == (MIDNIGHT, MIDNIGHT + 9 * MINUTE, "cn:110105")
    (alert,) = settled(
        {"window": window, "trigger": MEAN},
        at(1, MINUTE, amount_fen=9, region="cn:310115"),
        at(2, 0, amount_fen=2, region="cn:110105", received_at=MIDNIGHT + 9 * MINUTE),
    )
    assert (alert.time, alert.received_at, alert.region) == (MIDNIGHT + MINUTE, MIDNIGHT + 9 * MINUTE, "cn:110105")


def test_the_oldest_fact_that_still_counts_is_a_size_and_the_lateness_older_than_the_newest() -> None:
    rules = running(
        {"window": {"size": "1h", "lateness": "10m"}, "trigger": {"max": {"of": "amount_fen", "at_least": 9}}}
    )
    rules.take(at(1, 2 * HOUR))
    horizon = 50 * MINUTE
    assert rules.take(at(2, horizon - 1, amount_fen=9)) == []
    assert times(rules.take(at(3, horizon, amount_fen=9))) == [horizon]


@pytest.mark.parametrize(("hits", "of", "bounds", "holds"), [
    (1, 10, {"at_least": 0.1}, True), (3, 5, {"at_most": 0.6}, True), (3, 10, {"at_least": 0.3}, True),
    (1, 11, {"at_least": 0.1}, False), (4, 6, {"at_most": 0.6}, False),
])  # fmt: skip
def test_a_share_is_compared_with_the_decimal_number_that_was_written(
    hits: int, of: int, bounds: dict[str, float], holds: bool
) -> None:
    """0.1 as a float is a little more than a tenth, and 0.6 a little less than six of ten."""
    trigger = {"ratio": {"of": "amount_fen == 1", **bounds}, "count": {"at_least": of}}
    some = [at(number, number, amount_fen=int(number < hits)) for number in range(of)]
    assert bool(settled({"window": {"size": "1h", "lateness": "1h"}, "trigger": trigger}, *some)) is holds


def test_a_negative_number_adds_nothing_to_a_sum() -> None:
    for trigger in (
        {"sum": {"of": "amount_fen", "at_least": 5}},
        {"all": [{"sum": {"of": "amount_fen", "at_least": 5}}]},
    ):
        (alert,) = settled({"trigger": trigger}, at(1, 0, amount_fen=-9), at(2, 1, amount_fen=5))
        assert list(alert.values.values()) == [5.0]


def test_what_may_not_have_been_decided_before_a_restart_is_decided_after_it() -> None:
    a_rule = loaded(**WIDE, window={"size": "1h", "lateness": "10m"}, trigger=MEAN, episode="1m")
    matcher = Matcher(RuleSet([a_rule]), reference())
    old, open_one = at(1, 0, amount_fen=9), at(2, 2 * HOUR, amount_fen=9)
    engine = Engine(RuleSet([a_rule]))
    engine.fold([fact for each in (old, open_one) for fact in matcher.facts(each)], open_since=open_one.received_at)
    assert times(engine.elapse(LATER)) == [2 * HOUR]
    engine = Engine(RuleSet([a_rule]))
    engine.fold([fact for each in (old, open_one) for fact in matcher.facts(each)], open_since=old.received_at)
    assert times(engine.elapse(LATER)) == [0, 2 * HOUR]


def test_a_look_names_the_newest_events_and_counts_them_all() -> None:
    a_rule = loaded(**WIDE, trigger={"count": {"at_least": 3}})
    engine, matcher = Engine(RuleSet([a_rule])), Matcher(RuleSet([a_rule]), reference())
    some = [at(number, number) for number in range(MAX_EVENTS + 5)]
    for each in some:
        for fact in matcher.facts(each):
            engine.add(fact, LATER)
    look = engine.look(a_rule.id, "uscc:X", MIDNIGHT + MAX_EVENTS + 4)
    assert look is not None
    assert (look.count, look.facts[0], len(look.facts)) == (MAX_EVENTS + 5, (some[5].id, MIDNIGHT + 5), MAX_EVENTS)


def test_history_is_settled_when_the_lateness_after_its_receipt_is_over_and_what_was_before_it_at_its_time() -> None:
    rules = running({"window": {"size": "1h", "lateness": "10m"}, "trigger": MEAN, "episode": "1m"})
    rules.take(at(1, 0, amount_fen=9))
    rules.take(at(2, 2 * MINUTE, amount_fen=9, historical=True, received_at=MIDNIGHT + HOUR))
    rules.take(at(3, 4 * MINUTE, amount_fen=9))
    # More of the same import may be received until then, and after that nothing is waited for.
    assert times(rules.engine.elapse(MIDNIGHT + HOUR + 10 * MINUTE)) == [0]
    assert times(rules.engine.elapse(MIDNIGHT + HOUR + 10 * MINUTE + 1)) == [2 * MINUTE, 4 * MINUTE]


def test_the_oldest_of_history_and_its_newest_receipt_say_what_waits_and_for_how_long() -> None:
    rules = running({"window": {"size": "1h", "lateness": "10m"}, "trigger": MEAN, "episode": "1m"})
    for number, (time, received) in enumerate(((4 * MINUTE, 2 * HOUR), (2 * MINUTE, HOUR), (6 * MINUTE, HOUR))):
        rules.take(at(number, time, amount_fen=9, historical=True, received_at=MIDNIGHT + received))
    assert times(rules.engine.elapse(MIDNIGHT + 2 * HOUR + 10 * MINUTE)) == []
    assert times(rules.engine.elapse(MIDNIGHT + 2 * HOUR + 10 * MINUTE + 1)) == [2 * MINUTE, 4 * MINUTE, 6 * MINUTE]


def test_a_silence_that_is_over_counts_when_history_of_its_time_comes() -> None:
    quiet = {"id": "quiet", "window": {"size": "1h", "lateness": "1h"}, "trigger": ONE, "inhibited_by": ["loud"],
             "episode": "1h"}  # fmt: skip
    loud = {"id": "loud", "on": ["violation"], "window": {"size": "1h"}, "trigger": ONE}
    rules = running({**quiet, "on": ["complaint"]}, loud)
    for each in (at(1, 0, kind="violation"), at(2, 2 * HOUR)):
        rules.take(each)
    assert times(rules.elapse(MIDNIGHT + 4 * HOUR)) == [2 * HOUR]
    rules.take(at(3, 30 * MINUTE, historical=True, received_at=MIDNIGHT + 5 * HOUR))
    assert times(rules.elapse(LATER)) == []
