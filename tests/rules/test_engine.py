"""What becomes of single facts: windows' ends, episodes, lateness, limits, duplicates, other versions."""

from __future__ import annotations

from typing import Any

import pytest

from jianguan.domain.alert import MAX_EVENTS, Alert
from jianguan.domain.fact import runs_of
from jianguan.domain.ids import alert_id, event_id
from jianguan.errors import InputError
from rules.engine import Engine
from rules.keys import carry
from rules.rule import Rule
from rules.windows import Sweep
from tests.rules.support import DAY, HOUR, NOW, Running, fact, ids, rule
from tests.rules.test_facts import loaded

MIDNIGHT = 1_799_942_400_000  # 2027-01-15T00:00+08:00


def engine(a_rule: Rule) -> Engine:
    return Engine(Running((a_rule,)))


def alerts(an_engine: Engine, *times: int, first: int = 0, **changes: Any) -> list[Alert]:
    found: list[Alert] = []
    for number, time in enumerate(times, first):
        found.extend(an_engine.add(fact(number, time, **changes), NOW).alerts)
    return found


def test_the_third_fact_within_an_hour_raises_one_alert() -> None:
    raised = alerts(engine(rule()), MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2)
    assert [alert.id for alert in raised] == [alert_id("a-rule", "uscc:X", MIDNIGHT)]
    alert = raised[0]
    assert alert.time == MIDNIGHT + 2
    assert alert.window_start == MIDNIGHT + 2 - HOUR
    assert (alert.episode, alert.episode_end) == (MIDNIGHT, MIDNIGHT + HOUR)
    assert alert.values == {"count": 3.0}
    assert alert.thresholds == {"count": 3.0}
    assert alert.event_count == 3
    assert alert.events == tuple(event_id("test", str(number)) for number in range(3))
    assert alert.raised_at == NOW
    assert alert.received_at == MIDNIGHT + 2 + 5
    assert alert.case_key == "market-regulation|enterprise|uscc:X"
    assert (alert.enterprise, alert.enterprise_name, alert.region) == ("uscc:X", "Name", "cn:310115")


def test_a_fact_exactly_one_window_older_is_outside() -> None:
    assert not alerts(engine(rule()), MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + HOUR)
    assert alerts(engine(rule()), MIDNIGHT + 1, MIDNIGHT + 2, MIDNIGHT + HOUR)


def test_a_tumbling_period_begins_with_its_first_moment_and_ends_before_the_next() -> None:
    tumbling = rule(window={"kind": "tumbling", "size": "1h"})
    assert alerts(engine(tumbling), MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + HOUR - 1)
    assert not alerts(engine(tumbling), MIDNIGHT + 1, MIDNIGHT + 2, MIDNIGHT + HOUR)


def test_days_begin_at_midnight_in_shanghai() -> None:
    daily = rule(window={"kind": "tumbling", "size": "1d"}, trigger={"count": {"at_least": 2}})
    assert not alerts(engine(daily), MIDNIGHT - 1, MIDNIGHT)
    raised = alerts(engine(daily), MIDNIGHT, MIDNIGHT + DAY - 1)
    assert [alert.episode for alert in raised] == [MIDNIGHT]


def test_an_episode_has_one_alert_and_the_next_episode_another() -> None:
    often = rule(trigger={"count": {"at_least": 2}})
    times = [MIDNIGHT + minute * 60_000 for minute in range(0, 120, 10)]
    assert [alert.episode for alert in alerts(engine(often), *times)] == [MIDNIGHT, MIDNIGHT + HOUR]


def test_a_fact_between_others_raises_the_alert_of_the_fact_that_it_completes() -> None:
    an_engine = engine(rule(window={"size": "1h", "lateness": "1h"}))
    assert not alerts(an_engine, MIDNIGHT, MIDNIGHT + 50 * 60_000)
    raised = an_engine.add(fact(9, MIDNIGHT + 60_000, received_at=7), NOW).alerts
    assert [alert.time for alert in raised] == [MIDNIGHT + 50 * 60_000]
    assert raised[0].received_at == 7


def test_a_fact_older_than_size_and_lateness_is_late_and_changes_nothing() -> None:
    an_engine = engine(rule(window={"size": "1h", "lateness": "10m"}))
    alerts(an_engine, MIDNIGHT + 2 * HOUR)
    horizon = MIDNIGHT + HOUR - 10 * 60_000
    late = an_engine.add(fact(7, horizon - 1), NOW)
    assert late.late
    assert not late.alerts
    assert not an_engine.add(fact(8, horizon), NOW).late
    stats = an_engine.stats()["a-rule"]
    assert (stats.facts, stats.late, stats.newest) == (2, 1, MIDNIGHT + 2 * HOUR)


def test_an_accepted_late_fact_sees_all_of_its_window() -> None:
    # Newest at 2 h: a fact at 1 h 1 min is accepted; its window reaches back to 1 min, a full size further.
    an_engine = engine(rule())
    assert not alerts(an_engine, MIDNIGHT + 2 * 60_000, MIDNIGHT + 3 * 60_000, MIDNIGHT + 2 * HOUR)
    assert an_engine.add(fact(9, MIDNIGHT + HOUR + 60_000), NOW).alerts


def test_facts_beyond_the_retention_are_dropped() -> None:
    an_engine = engine(rule(window={"size": "1h", "lateness": "10m"}))
    alerts(an_engine, *(MIDNIGHT + hour * HOUR for hour in range(50)))
    assert an_engine.stats()["a-rule"].facts == 3


def test_beyond_the_limit_the_oldest_facts_go_and_the_decision_says_so() -> None:
    small = rule(limits={"facts_per_key": 10}, trigger={"count": {"at_least": 10}})
    an_engine = engine(small)
    decisions = [an_engine.add(fact(number, MIDNIGHT + number), NOW) for number in range(12)]
    assert [decision.limited for decision in decisions] == [False] * 10 + [True] * 2
    assert an_engine.stats()["a-rule"].facts == 10
    assert an_engine.stats()["a-rule"].limited == 2
    too_old = an_engine.add(fact(99, MIDNIGHT), NOW)
    assert too_old.limited
    assert an_engine.stats()["a-rule"].facts == 10


def test_a_fact_that_takes_the_place_of_the_oldest_one_can_raise_an_alert() -> None:
    """The one that goes was outside of the window, and the one that comes is the first inside."""
    small = rule(limits={"facts_per_key": 10}, trigger={"count": {"at_least": 10}}, window={"size": "1h"})
    an_engine = engine(small)
    within = [MIDNIGHT + 30 * 60_000, *(MIDNIGHT + HOUR + number for number in range(8))]
    assert not alerts(an_engine, MIDNIGHT, *within)
    decision = an_engine.add(fact(99, within[0]), NOW)
    assert decision.limited
    assert [alert.time for alert in decision.alerts] == [within[-1]]


def test_a_duplicate_changes_nothing_and_raises_its_alert_again() -> None:
    an_engine = engine(rule())
    first = alerts(an_engine, MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2)
    before = an_engine.stats()["a-rule"].facts
    again = an_engine.add(fact(2, MIDNIGHT + 2), NOW + 5)
    assert again.duplicate
    assert ids(again.alerts) == ids(first)
    assert an_engine.stats()["a-rule"].facts == before
    assert not an_engine.add(fact(5, MIDNIGHT + 3), NOW).alerts, "the episode has its alert"


def test_a_duplicate_of_an_early_fact_raises_what_it_helped_to_raise() -> None:
    an_engine = engine(rule())
    first = alerts(an_engine, MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2)
    assert ids(an_engine.add(fact(0, MIDNIGHT), NOW).alerts) == ids(first)


def test_a_fold_marks_episodes_and_emits_nothing() -> None:
    an_engine = engine(rule())
    an_engine.fold([fact(number, MIDNIGHT + number) for number in (2, 0, 1)])
    assert not an_engine.add(fact(3, MIDNIGHT + 3), NOW).alerts
    assert an_engine.add(fact(1, MIDNIGHT + 1), NOW).alerts, "but a replayed fact raises it again"


def test_a_fact_of_another_version_or_rule_is_unknown() -> None:
    an_engine = engine(rule(version=2))
    assert an_engine.add(fact(1, MIDNIGHT), NOW).unknown
    assert an_engine.add(fact(1, MIDNIGHT, of="another", version=2), NOW).unknown
    assert an_engine.add(fact(1, MIDNIGHT, version=2), NOW).unknown is False


def test_an_id_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(InputError, match="is not an id"):
        engine(rule()).add(fact(1, MIDNIGHT, event="e-1"), NOW)


def test_facts_at_the_same_moment_stand_in_order_of_their_events() -> None:
    an_engine = engine(rule(trigger={"count": {"at_least": 5}}))
    some = [fact(number, MIDNIGHT) for number in range(5)]
    raised = [alert for each in some for alert in an_engine.add(each, NOW).alerts]
    expected = tuple(each.event for each in sorted(some, key=lambda each: each.event))
    assert [alert.events for alert in raised] == [expected]


def test_missing_values_are_not_told_apart_and_add_nothing() -> None:
    several = rule(trigger={"distinct": {"of": "reporter", "at_least": 2}, "sum": {"of": "amount_fen", "at_least": 5}})
    an_engine = engine(several)
    for number, (member, amount) in enumerate([(None, 9.0), (None, None), ("a", -100.0), ("a", float("nan"))]):
        assert not an_engine.add(fact(number, MIDNIGHT + number, member=member, amount=amount), NOW).alerts
    raised = an_engine.add(fact(9, MIDNIGHT + 9, member="b"), NOW).alerts
    assert raised[0].values == {"distinct": 2.0, "sum": 9.0}


def test_an_alert_names_the_newest_events_and_counts_them_all() -> None:
    many = rule(trigger={"count": {"at_least": MAX_EVENTS + 20}})
    raised = alerts(engine(many), *range(MIDNIGHT, MIDNIGHT + MAX_EVENTS + 20))
    assert raised[0].event_count == MAX_EVENTS + 20
    assert len(raised[0].events) == MAX_EVENTS
    assert raised[0].events[-1] == event_id("test", str(MAX_EVENTS + 19))


def test_a_shadow_rule_raises_alerts_that_open_no_case_and_tell_nobody() -> None:
    raised = alerts(engine(rule(status="shadow")), MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2)
    assert [(alert.case_key, alert.notify) for alert in raised] == [(None, False)]


def test_a_cluster_by_region_names_no_enterprise() -> None:
    clustered = rule(group_by="region.county", case={"key": "region.county"})
    raised = alerts(engine(clustered), MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2, key="cn:310101")
    assert (raised[0].enterprise, raised[0].enterprise_name) == (None, None)
    assert raised[0].region == "cn:310101"
    assert raised[0].case_key == "market-regulation|region.county|cn:310101"


def test_departments_by_table_depend_on_the_group() -> None:
    by_category = rule(
        group_by=["region.county", "category"],
        case={"key": "group"},
        lead={"by": "category", "table": {"wages": "human-resources"}, "default": "market-regulation"},
        joint={"by": "category", "table": {"wages": ["human-resources", "public-security"]}},
    )
    wages = alerts(engine(by_category), MIDNIGHT, MIDNIGHT, MIDNIGHT, key="cn:310101\x1fwages")[0]
    assert (wages.lead, wages.joint) == ("human-resources", ("public-security",))
    assert wages.case_key == "human-resources|region.county+category|cn:310101\x1fwages"
    assert wages.category == "wages"
    other = alerts(engine(by_category), MIDNIGHT, MIDNIGHT, MIDNIGHT, key="cn:310101\x1fprice")[0]
    assert (other.lead, other.joint) == ("market-regulation", ())


def test_a_swap_keeps_the_windows_of_unchanged_rules_and_names_the_others() -> None:
    one, two = rule(), rule(id="two")
    an_engine = Engine(Running((one, two)))
    alerts(an_engine, MIDNIGHT, MIDNIGHT + 1)
    alerts(an_engine, MIDNIGHT, MIDNIGHT + 1, of="two")
    changed = rule(id="two", version=2)
    assert an_engine.swap(Running((rule(), changed))) == (changed,)
    assert an_engine.add(fact(5, MIDNIGHT + 2), NOW).alerts
    assert an_engine.add(fact(5, MIDNIGHT + 2, of="two"), NOW).unknown
    assert not an_engine.add(fact(5, MIDNIGHT + 2, of="two", version=2), NOW).alerts


def test_a_swap_empties_a_rule_whose_content_changed_without_a_new_version() -> None:
    an_engine = engine(rule())
    alerts(an_engine, MIDNIGHT, MIDNIGHT + 1)
    fresh = an_engine.swap(Running((rule(severity="low"),)))
    assert [each.severity for each in fresh] == ["low"]
    assert an_engine.stats()["a-rule"].facts == 0


def test_idle_keys_are_forgotten_and_busy_ones_stay() -> None:
    an_engine = engine(rule())
    alerts(an_engine, MIDNIGHT, key="uscc:idle")
    alerts(an_engine, MIDNIGHT + 10 * HOUR, first=1, key="uscc:busy")
    dropped = [an_engine.forget() for _ in range(6)]
    assert sum(dropped) == 1
    assert an_engine.stats()["a-rule"].keys == 1
    assert an_engine.stats()["a-rule"].facts == 1


@pytest.mark.parametrize("judged", [False, True], ids=["counting", "at once"])
def test_a_key_is_not_forgotten_while_the_episode_of_its_alert_goes_on(judged: bool) -> None:
    trigger = {"all": [{"count": {"at_least": 3}}]} if judged else {"count": {"at_least": 3}}
    an_engine = engine(loaded(condition="true", trigger=trigger, episode="30d"))
    start = an_engine.running[0].episodes.start(MIDNIGHT)
    carried = carry(0, []) if judged else None

    def raised(first: int, at: int, key: str = "uscc:quiet") -> int:
        facts = [fact(first + number, start + at + number, key=key, carried=carried) for number in range(3)]
        return sum(len(an_engine.add(each, NOW).alerts) for each in facts)

    assert raised(0, HOUR) == 1
    for day in range(1, 29):
        raised(10 * day, day * 24 * HOUR, key="uscc:busy")
        an_engine.forget()
    assert raised(1_000, 29 * 24 * HOUR) == 0
    raised(2_000, 62 * 24 * HOUR, key="uscc:busy")
    assert sum(an_engine.forget() for _ in range(6)) == 1


def test_a_key_is_not_forgotten_while_any_of_its_facts_is_kept_or_the_last_of_its_episodes_goes_on() -> None:
    some = rule(window={"size": "1h", "lateness": "10h"}, trigger={"count": {"at_least": 2}}, episode="1h")
    an_engine = engine(some)
    # Of one key the last episode is over, and its last fact as old as facts are kept; of another its first fact alone.
    alerts(an_engine, MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 5 * HOUR, MIDNIGHT + 5 * HOUR + 1, key="uscc:two")
    alerts(an_engine, MIDNIGHT, MIDNIGHT + 5 * HOUR, first=10, key="uscc:long")
    alerts(an_engine, MIDNIGHT + 5 * HOUR + some.retention, first=20, key="uscc:new")
    assert sum(an_engine.forget() for _ in range(6)) == 0
    alerts(an_engine, MIDNIGHT + 5 * HOUR + some.retention + 2, first=30, key="uscc:new")
    assert sum(an_engine.forget() for _ in range(6)) == 2


def test_a_key_is_not_forgotten_while_the_newest_of_its_episodes_goes_on() -> None:
    long = rule(window={"size": "1h"}, trigger={"count": {"at_least": 2}}, episode="30d")
    an_engine = engine(long)
    start = long.episodes.start(MIDNIGHT) + 30 * DAY
    before = [start - 2, start - 1]
    assert len(alerts(an_engine, *before, start + 1, start + 2, key="uscc:quiet")) == 2
    alerts(an_engine, start + 29 * DAY, first=10, key="uscc:busy")
    assert sum(an_engine.forget() for _ in range(6)) == 0
    assert not alerts(an_engine, start + 29 * DAY, start + 29 * DAY + 1, first=20, key="uscc:quiet")


def test_taking_keys_over_counts_their_facts_once() -> None:
    counting, other = engine(rule()), engine(rule())
    alerts(counting, MIDNIGHT, MIDNIGHT + 1)
    alerts(counting, MIDNIGHT, first=5, key="uscc:Y")
    alerts(other, MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2)
    counting.take_keys(other)
    stats = counting.stats()["a-rule"]
    assert (stats.keys, stats.facts, stats.newest) == (2, 4, MIDNIGHT + 2)


def test_the_facts_of_a_run_are_all_counted_as_taken() -> None:
    an_engine = Engine(Running((rule(),)), timer=lambda: 0.0)
    (run,) = runs_of([fact(number, MIDNIGHT + number) for number in range(7)])
    an_engine.add_run(run, NOW)
    an_engine.add_run(run, NOW)
    assert [cost.facts for cost in an_engine.costs()] == [14]


def test_one_more_fact_costs_as_little_in_a_window_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0

    def enter(self: Sweep, low: int, high: int) -> None:
        nonlocal counted
        counted += high - low
        entered(self, low, high)

    entered = Sweep._enter
    monkeypatch.setattr(Sweep, "_enter", enter)
    an_engine = engine(rule(trigger={"distinct": {"of": "reporter", "at_least": 9}}))
    for number in range(1_000):
        an_engine.add(fact(number, MIDNIGHT + number, member="m"), NOW)
    assert counted < 5_000


def test_a_key_that_was_just_used_is_not_forgotten_however_old_its_facts() -> None:
    an_engine = engine(rule())
    alerts(an_engine, MIDNIGHT + 1000 * HOUR, key="uscc:new")
    for number in range(4):
        an_engine.add(fact(number, MIDNIGHT + number, key="uscc:history"), NOW)
        an_engine.forget(1)
    assert an_engine.stats()["a-rule"].keys == 2


def test_a_key_with_three_facts_takes_less_than_800_bytes() -> None:
    from bench.engine import bytes_a_key

    assert bytes_a_key(rule(), keys=500) < 800


@pytest.mark.parametrize(
    "changes", [{}, {"escalate": [{"trigger": {"count": {"at_least": 99}}, "severity": "critical"}]}]
)
def test_alerts_that_are_forgotten_are_raised_again_by_the_next_fact_and_those_of_other_rules_are_not(
    changes: dict[str, Any],
) -> None:
    one, other = rule(**changes), rule(**changes, id="b-rule")
    engine = Engine(Running((one, other)))
    for each in (one, other):
        for number in range(3):
            engine.add(fact(number, NOW + number, of=each.id, carried=carry(0, [])), 0)
    engine.forget_alerts([one.id])
    again = [engine.add(fact(3, NOW + 3, of=each.id, carried=carry(0, [])), 0).alerts for each in (one, other)]
    assert [len(alerts) for alerts in again] == [1, 0]
