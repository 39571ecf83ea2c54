"""A backtest raises the alerts that live would have raised, compares them, and counts the work they make."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.event import Event
from jianguan.errors import InputError
from rules import backtest as backtesting
from rules.backtest import Backtest
from rules.engine import Engine
from rules.facts import Matcher
from rules.reference import deadlines
from rules.rule import Grid, Rule
from rules.ruleset import RuleSet
from rules.running import Running
from tests.rules.support import DAY, HOUR, NOW, event, reference
from tests.rules.test_explain import RULES, SETTLED, checked_rule, of_kind


def made(rows: list[tuple[int, str, str]], received: int = 0) -> list[Event]:
    """Events (ms after NOW, enterprise, reporter), received in this order."""
    return [
        event(number, occurred_at=NOW + at, received_at=max(NOW + at, received), enterprise=enterprise,
              reporter=reporter, region="cn:310115")
        for number, (at, enterprise, reporter) in enumerate(rows)
    ]  # fmt: skip


def tried(rule: Rule, events: list[Event], against: Rule | None = None, days: int = 7) -> Any:
    trial = Backtest(rule, against, reference(), NOW, NOW + days * DAY)
    trial.add(events)
    return trial.report()


def test_alerts_are_those_of_the_time_asked_for_with_the_windows_before_it() -> None:
    trial = Backtest(checked_rule(), None, reference(), NOW, NOW + DAY)
    before = [
        event(90, occurred_at=NOW - 2, received_at=NOW - 2, enterprise="x:1"),
        event(91, occurred_at=NOW - 1, received_at=NOW - 1, enterprise="x:1"),
    ]
    assert trial.from_ <= NOW - HOUR
    trial.add([*before, *made([(0, "x:1", "p"), (2 * DAY, "x:1", "p")])])
    report = trial.report()
    assert (report.alerts, report.facts, report.events) == (1, 1, 3)
    assert [each.time for each in report.added] == [NOW]


def test_the_time_asked_for_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    rule = checked_rule(trigger={"count": {"at_least": 1}}, episode="1h")
    report = tried(rule, made([(-1, "x:1", "p"), (0, "x:2", "p"), (DAY - 1, "x:3", "p"), (DAY, "x:4", "p")]), days=1)
    assert [each.key for each in report.added] == ["x:2", "x:3"]
    assert (report.alerts, report.facts) == (2, 2)


def test_the_difference_to_another_version_is_told() -> None:
    rows = [(hour * DAY + minute, "x:1", "p") for hour in range(3) for minute in range(3 + hour)]
    narrow = checked_rule(version=2, trigger={"count": {"at_least": 4}})
    report = tried(narrow, made(rows), checked_rule())
    assert (report.alerts, report.against_alerts, report.common) == (2, 3, 2)
    assert (report.added_count, report.removed_count) == (0, 1)
    assert [each.time for each in report.removed] == [NOW + 2]
    assert report.candidate.version == 2
    assert report.against is not None
    assert sum(bucket.alerts for bucket in report.buckets) == 2
    assert sum(bucket.against for bucket in report.buckets) == 3


def test_the_work_of_each_department_is_counted_in_tasks_a_week() -> None:
    rule = checked_rule(joint=["commerce"])
    rows = [(day * DAY + minute, f"x:{shop}", "p") for day in (0, 1, 40) for shop in (1, 2) for minute in range(3)]
    report = tried(rule, made(rows), days=56)
    assert report.alerts == 6
    # The second day's alerts join the cases of the first; after thirty days there are new cases.
    assert {load.department: (load.tasks, load.per_week) for load in report.loads} == {
        "market-regulation": (4, 0.5),
        "commerce": (4, 0.5),
    }


@pytest.mark.parametrize(("clock", "lasts"), [("complaint-acceptance", None), (None, 30 * DAY)])
def test_a_case_is_taken_to_be_closed_at_its_deadline_or_after_thirty_days(
    clock: str | None, lasts: int | None
) -> None:
    """An alert at that very instant opens the next one."""
    first = 1_772_668_800_000 - NOW  # 2026-03-05T00:00Z
    due = deadlines(reference())(clock, NOW + first)[0] if clock else NOW + first + (lasts or 0)
    assert due is not None
    assert clock is None or 7 * DAY < due - NOW - first < 30 * DAY
    rule = checked_rule(trigger={"count": {"at_least": 1}}, window={"size": "1m"}, clock=clock)
    for after, tasks in ((-1, 1), (0, 2)):
        trial = Backtest(rule, None, reference(), NOW + first, NOW + first + 60 * DAY)
        trial.add(made([(first, "x:1", "p"), (due - NOW + after, "x:1", "p")]))
        (load,) = trial.report().loads
        assert load.tasks == tasks


def test_a_rule_in_the_shadow_is_tried_as_if_it_were_active() -> None:
    report = tried(checked_rule(status="shadow"), made([(minute, "x:1", "p") for minute in range(3)]))
    assert report.loads[0].tasks == 1


def test_an_event_that_the_store_tells_twice_counts_once() -> None:
    events = made([(0, "x:1", "p"), (1, "x:1", "p")])
    report = tried(checked_rule(), [*events, *events])
    assert (report.facts, report.alerts) == (2, 0)


def test_who_reports_is_not_told() -> None:
    rule = checked_rule(group_by="reporter", case=None, lead=None)
    report = tried(rule, made([(minute, "x:1", "a-secret-hash") for minute in range(3)]))
    assert report.alerts == 1
    assert "a-secret-hash" not in repr(report)


def test_a_rule_that_always_fires_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtesting, "MOST_ALERTS", 5)
    rule = checked_rule(trigger={"count": {"at_least": 1}})
    report = tried(rule, made([(hour * HOUR, "x:1", "p") for hour in range(9)]))
    assert (report.alerts, report.complete) == (5, False)


@pytest.mark.parametrize("days", [1, 7, 30, 365, 3650])
def test_a_chart_has_few_buckets_that_cover_the_time(days: int) -> None:
    report = tried(checked_rule(), [], days=days)
    assert 1 <= len(report.buckets) <= 62
    assert report.buckets[0].start <= NOW
    assert report.buckets[-1].start + report.bucket_ms >= NOW + days * DAY


@pytest.mark.parametrize(
    ("length", "size"),
    [
        (60 * HOUR, HOUR),
        (60 * HOUR + 1, 6 * HOUR),
        (60 * DAY, DAY),
        (60 * DAY + 1, 7 * DAY),
        (60 * 365 * DAY, 365 * DAY),
        (60 * 365 * DAY + 1, 365 * DAY),
    ],
)
def test_a_chart_has_the_shortest_buckets_of_which_sixty_are_enough(length: int, size: int) -> None:
    start = Grid.of(size).start(NOW)
    report = Backtest(checked_rule(), None, reference(), start, start + length).report()
    assert report.bucket_ms == size
    assert [each.start for each in report.buckets] == list(range(start, start + length, size))


ONE = {"trigger": {"count": {"at_least": 1}}}


def test_the_work_of_two_versions_is_compared_the_heaviest_department_first() -> None:
    ours = checked_rule(**ONE, joint=["commerce", "education"])
    theirs = checked_rule(
        **ONE, lead="public-security", joint=["health-commission", "commerce"], on=["complaint", "violation"]
    )
    rows = made([(0, "x:1", "p"), (1, "x:2", "p")])
    found = tried(ours, [rows[0], rows[1]._replace(kind="violation")], theirs, days=14)
    assert [
        (each.department, each.tasks, each.against, each.per_week, each.against_per_week) for each in found.loads
    ] == [
        ("commerce", 1, 2, 0.5, 1),
        ("education", 1, 0, 0.5, 0),
        ("market-regulation", 1, 0, 0.5, 0),
        ("health-commission", 0, 2, 0, 1),
        ("public-security", 0, 2, 0, 1),
    ]


def test_the_first_alerts_are_listed_in_order_of_time_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtesting, "MOST_LISTED", 3)
    events = made([(5, "x:9", "p"), (7, "x:1", "p"), (5, "x:3", "p"), (6, "x:2", "p")])
    found = tried(checked_rule(**ONE), events)
    assert [(each.time - NOW, each.key) for each in found.added] == [(5, "x:3"), (5, "x:9"), (6, "x:2")]
    assert (found.alerts, found.groups) == (4, 4)


def test_of_a_listed_alert_the_newest_events_are_named_and_all_are_counted() -> None:
    events = made([(number, "x:1", "p") for number in range(120)])
    (listed,) = tried(checked_rule(trigger={"count": {"at_least": 120}}), events).added
    assert listed.events == tuple(each.id for each in events[-5:])
    assert listed.event_count == 120


def test_one_of_two_versions_that_always_fires_is_enough_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtesting, "MOST_ALERTS", 2)
    often, seldom = checked_rule(**ONE), checked_rule(version=2)
    rows = made([(hour * HOUR, "x:1", "p") for hour in range(3)])
    assert not tried(often, rows, seldom).complete
    assert not tried(seldom, rows, often).complete


def test_groups_are_those_of_the_rule_though_their_alerts_share_a_case() -> None:
    rule = checked_rule(**ONE, group_by=["enterprise", "reporter"])
    assert tried(rule, made([(0, "x:1", "p"), (1, "x:1", "q")])).groups == 2


def test_what_is_late_or_too_much_counts_within_the_time_asked_for() -> None:
    rule = checked_rule(limits={"facts_per_key": 10})
    rows = [(-5 * DAY, "x:1", "p"), *[(5 * DAY + number, "x:1", "p") for number in range(12)], (DAY, "x:1", "p")]
    rows = [(-4 * DAY, "x:1", "p"), *rows]  # the second of these is late before the time asked for
    found = tried(rule, made(rows, received=NOW + 6 * DAY))
    assert (found.late, found.limited) == (1, 2)
    before = tried(rule, made([(-DAY + number, "x:1", "p") for number in range(12)]))
    assert before.limited == 0


def test_the_longer_windows_of_the_other_version_are_filled_and_what_its_clock_settles_is_counted() -> None:
    settled = of_kind({**SETTLED, "version": 2, "window": {"size": "9d", "lateness": "1m"}, "episode": "1d"})
    trial = Backtest(checked_rule(), settled, reference(), NOW, NOW + DAY)
    assert trial.from_ == NOW - settled.retention - settled.episodes.size
    trial.add([each._replace(amount_fen=20) for each in made([(-8 * DAY, "x:1", "p"), (0, "x:1", "p")])])
    assert trial.report().against_alerts == 1


def test_what_was_asked_for_is_asked_for_though_it_lies_ahead() -> None:
    assert Backtest(checked_rule(), None, reference(), NOW, NOW + DAY, now=NOW + HOUR).to == NOW + DAY


@pytest.mark.parametrize(("most", "late"), [(2, 1), (1, 0)])
def test_with_many_keys_those_that_are_long_past_are_forgotten_and_know_no_longer_what_is_late(
    most: int, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtesting, "_MANY_KEYS", most)
    trial = Backtest(checked_rule(episode="1h"), None, reference(), NOW, NOW + 60 * DAY)
    first, other, *more = made(
        [(5 * HOUR, "x:1", "p"), (40 * DAY, "x:2", "p"), (40 * DAY, "x:2", "p"), (40 * DAY, "x:2", "p"),
         (0, "x:1", "p")],
        received=NOW + 40 * DAY,
    )  # fmt: skip
    for each in (first, other, *more):
        trial.add([each])
    assert trial.report().late == late


def test_a_rule_that_decides_at_once_asks_for_no_event_after_the_time_asked_for() -> None:
    rule = checked_rule(trigger={"all": [{"count": {"at_least": 3}}]}, window={"kind": "tumbling", "size": "7d"})
    assert rule.judging is not None
    assert not rule.judging.settled
    start = Grid.of(7 * DAY).start(NOW)
    assert Backtest(rule, None, reference(), start, start + DAY).to == start + DAY


@pytest.mark.parametrize(("every", "ends"), [(True, 2 * DAY + 3 * DAY), (False, 7 * DAY)])
def test_the_episode_of_every_match_lasts_as_long_as_the_match_may_and_others_as_the_rule_says(
    every: bool, ends: int
) -> None:
    steps = [{"name": "a", "where": "true"}, {"name": "b", "where": "true"}]
    pattern = {"steps": steps, "within": "3d", "lateness": "1d", "every": every}
    heard = checked_rule(id="heard", window=None, trigger=None, case=None, lead=None, pattern=pattern,
                         **({} if every else {"episode": "7d"}))  # fmt: skip
    rule = checked_rule(id="top", on=["alert"], rules={"heard": 1}, condition="true", window={"size": "2d"}, **ONE)
    start = Grid.of(7 * DAY).start(NOW)
    assert Backtest(rule, None, reference(), start, start + 2 * DAY, [heard]).to == start + ends


_rows = st.lists(
    st.tuples(
        st.integers(0, 20).map(lambda each: each * HOUR // 2), st.sampled_from(["x:1", "x:2"]), st.sampled_from("pq")
    ),
    max_size=20,
)


@given(st.sampled_from(RULES), _rows, st.integers(1, 5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_alerts_are_those_of_the_live_engine(
    changes: dict[str, Any], rows: list[tuple[int, str, str]], run: int, late: bool
) -> None:
    rule = checked_rule(**changes)
    events = made(rows, received=NOW + 11 * HOUR if late else 0)
    if not late:
        events.sort(key=lambda each: each.received_at)
    trial = Backtest(rule, None, reference(), NOW, NOW + DAY)
    for start in range(0, len(events), run):
        trial.add(events[start : start + run])
    matcher, engine = Matcher(RuleSet([rule]), reference()), Engine(RuleSet([rule]))
    facts = [fact for each in events for fact in matcher.facts(each)]
    raised = [alert for fact in facts for alert in engine.add(fact, 0).alerts]
    report = trial.report()
    assert report.alerts == len({alert.id for alert in raised})
    assert sorted((each.key, each.time) for each in report.added) == sorted((each.key, each.time) for each in raised)
    assert report.late == engine.stats()[rule.id].late


def test_what_the_clock_settles_is_raised_in_hindsight_between_events_and_after_the_last() -> None:
    rule = of_kind({**SETTLED, "episode": "1d"})
    rows = [(day * DAY + number, "x:1", "p") for day in (0, 3) for number in range(2)]
    events = [each._replace(amount_fen=20) for each in made(rows)]
    report = tried(rule, events)
    assert (report.alerts, report.groups) == (2, 1)
    running = Running(RuleSet([rule]), reference())
    live = [alert for each in events for alert in (*running.elapse(each.received_at), *running.take(each))]
    live += running.elapse(NOW + 30 * DAY)
    assert sorted(each.time for each in report.added) == sorted(alert.time for alert in live)


def test_an_episode_that_escalates_counts_each_of_its_alerts() -> None:
    rule = of_kind({"escalate": [{"trigger": {"count": {"at_least": 4}}, "severity": "critical"}]})
    assert tried(rule, made([(number, "x:1", "p") for number in range(4)])).alerts == 2


def listening(rule: Rule, *others: Rule) -> Any:
    """A backtest of a rule beside others that it listens to, over five days of events every eight hours."""
    trial = Backtest(rule, None, reference(), NOW, NOW + 7 * DAY, others)
    rows = [(turn * 8 * HOUR, "x:1" if turn % 3 else "x:2", "p") for turn in range(15)]
    for each in made(rows):
        trial.add([each])
    live = Running(RuleSet([rule, *others]), reference())
    raised = [alert for each in made(rows) for alert in (*live.elapse(each.received_at), *live.take(each))]
    raised += live.elapse(NOW + 90 * DAY)
    report = trial.report()
    mine = [alert for alert in raised if alert.rule == rule.id]
    assert sorted((each.key, each.time) for each in report.added) == sorted((each.key, each.time) for each in mine)
    return report


FREQUENT = {"window": {"size": "1d"}, "trigger": {"count": {"at_least": 2}}, "case": None, "lead": None}


def test_a_rule_on_alerts_is_tried_with_the_rules_that_it_looks_at() -> None:
    loud = checked_rule(id="loud", **FREQUENT)
    middle = checked_rule(
        id="middle", on=["alert"], rules={"loud": 5}, condition="true",
        window={"size": "2d"}, trigger={"score": {"at_least": 10}},
    )  # fmt: skip
    report = listening(middle, loud)
    assert report.alerts > 0
    assert report.facts > report.alerts
    top = checked_rule(
        id="top", on=["alert"], rules={"middle": 1}, condition="true",
        window={"size": "7d"}, trigger={"count": {"at_least": 1}},
    )  # fmt: skip
    assert listening(top, middle, loud).alerts > 0
    with pytest.raises(InputError, match="listens to loud, and there is no such rule"):
        listening(top, middle)
    circular = checked_rule(id="loud", on=["alert"], rules={"top": 1}, condition="true", window={"size": "1d"})
    with pytest.raises(InputError, match="top listens to itself"):
        listening(top, middle, circular)


def test_a_rule_is_kept_silent_in_hindsight_by_those_that_inhibit_it() -> None:
    loud = checked_rule(id="loud", **{**FREQUENT, "window": {"size": "2d"}, "trigger": {"count": {"at_least": 4}}})
    changes = {"window": {"size": "1d", "lateness": "1d"}, "trigger": {"count": {"at_least": 2}}, "episode": "12h"}
    alone = listening(checked_rule(id="quiet", **changes))
    silenced = listening(checked_rule(id="quiet", inhibited_by=["loud"], **changes), loud)
    assert 0 < silenced.alerts < alone.alerts
    assert silenced.facts == alone.facts == 15


def test_a_backtest_reaches_as_far_back_as_all_rules_behind_it_need() -> None:
    loud = checked_rule(id="loud", **{**FREQUENT, "window": {"size": "9d"}})
    rule = checked_rule(
        id="middle", on=["alert"], rules={"loud": 5}, condition="true",
        window={"size": "30d"}, trigger={"count": {"at_least": 1}},
    )  # fmt: skip
    trial = Backtest(rule, None, reference(), NOW, NOW + DAY, [loud])
    assert trial.from_ == NOW - (rule.retention + rule.episodes.size) - (loud.retention + loud.episodes.size)
    assert trial.own_fields == frozenset()
    assert "enterprise" in trial.fields


@pytest.mark.parametrize("sizes", [(9, 2), (2, 9)])
def test_of_several_rules_behind_it_the_one_that_reaches_furthest_counts(sizes: tuple[int, int]) -> None:
    heard = [
        checked_rule(id=f"loud-{days}", **{**FREQUENT, "window": {"size": f"{days}d"}, "episode": f"{days}d"})
        for days in sizes
    ]
    rule = checked_rule(
        id="top", on=["alert"], rules={each.id: 5 for each in heard}, condition="true",
        window={"size": "30d"}, trigger={"count": {"at_least": 1}},
    )  # fmt: skip
    far = next(each for each in heard if each.id == "loud-9")
    start = Grid.of(18 * DAY).start(NOW)
    trial = Backtest(rule, None, reference(), start, start + DAY, heard)
    assert trial.from_ == start - (rule.retention + rule.episodes.size) - (far.retention + far.episodes.size)
    assert trial.to == start + 9 * DAY


def test_the_clock_goes_on_between_events_so_that_a_silence_that_comes_too_late_takes_nothing_back() -> None:
    loud = checked_rule(id="loud", **{**FREQUENT, "window": {"size": "1d", "lateness": "60d"}})
    quiet = checked_rule(
        id="quiet", inhibited_by=["loud"], window={"size": "1d", "lateness": "1h"}, trigger={"count": {"at_least": 1}},
    )  # fmt: skip
    first, second = made([(0, "x:1", "p"), (-HOUR, "x:1", "p")])
    for received, alerts in ((NOW, 0), (NOW + 5 * DAY, 1)):
        trial = Backtest(quiet, None, reference(), NOW, NOW + 7 * DAY, [loud])
        trial.add([first, second._replace(received_at=received)])
        assert trial.report().alerts == alerts


def test_a_rule_without_a_case_makes_no_tasks() -> None:
    rule = checked_rule(case=None, lead="market-regulation")
    report = tried(rule, made([(minute, "x:1", "p") for minute in range(3)]))
    assert (report.alerts, report.loads) == (1, ())


FEW = {
    "tumbling": {"window": {"kind": "tumbling", "size": "7d", "lateness": "1d"}},
    "session": {"window": {"kind": "session", "size": "7d", "gap": "1d", "lateness": "1d"}},
}
LITTLE = {"not": {"count": {"at_least": 15}}}
LESS = {"rate": {"periods": 3, "sample": 10, "at_most": 0.7}}


def weeks(rule: Rule) -> tuple[int, list[Event]]:
    """The start of a period of a rule's, and six weeks of events from there: three a day, none on each seventh day,
    and few in the fourth week."""
    start = Grid.of(7 * DAY).start(NOW + 7 * DAY)
    turns = [turn for turn in range(6 * 21) if turn // 3 % 7 < 6 and not 25 <= turn // 3 < 28]
    return start, made([(start - NOW + turn * 8 * HOUR, "x:1", "p") for turn in turns])


def live_alerts(events: list[Event], *rules: Rule) -> list[Any]:
    running = Running(RuleSet([*rules]), reference())
    raised = [alert for each in events for alert in (*running.elapse(each.received_at), *running.take(each))]
    return raised + list(running.elapse(NOW + 365 * DAY))


def asked(trial: Backtest, events: list[Event]) -> Any:
    """The report of a backtest that is given what it asks for."""
    trial.add([each for each in events if trial.from_ <= each.occurred_at < trial.to])
    return trial.report()


@pytest.mark.parametrize("days", [28, 30, 34, 35, 37, 41])
@pytest.mark.parametrize(("kind", "trigger"), [("tumbling", LITTLE), ("tumbling", LESS), ("session", LITTLE)])
def test_a_period_in_which_the_time_asked_for_ends_is_judged_as_a_whole(
    kind: str, trigger: dict[str, Any], days: int
) -> None:
    rule = checked_rule(**FEW[kind], trigger=trigger)
    start, events = weeks(rule)
    since, until = start + 20 * DAY, start + days * DAY
    trial = Backtest(rule, None, reference(), since, until)
    assert until <= trial.to <= until + 7 * DAY
    report = asked(trial, events)
    live = [alert.time for alert in live_alerts(events, rule) if since <= alert.time < until]
    assert [each.time for each in report.added] == live
    assert len(live) == 1
    assert report.events == sum(trial.from_ <= each.occurred_at < until for each in events)
    assert report.facts == sum(since <= each.occurred_at < until for each in events)


@pytest.mark.parametrize("kind", FEW)
def test_a_version_whose_period_goes_on_is_compared_by_whole_periods(kind: str) -> None:
    rule = checked_rule(**FEW[kind], trigger=LITTLE)
    start, events = weeks(rule)
    report = asked(Backtest(checked_rule(version=2), rule, reference(), start, start + 37 * DAY), events)
    assert report.against_alerts == 1


def test_a_rule_that_a_tried_one_listens_to_is_judged_by_whole_periods_too() -> None:
    few = checked_rule(id="few", **FEW["tumbling"], trigger=LITTLE, case=None, lead=None)
    rule = checked_rule(
        id="top", on=["alert"], rules={"few": 1}, condition="true",
        window={"size": "2d"}, trigger={"count": {"at_least": 1}},
    )  # fmt: skip
    start, events = weeks(few)
    until = start + 37 * DAY
    trial = Backtest(rule, None, reference(), start, until, [few])
    assert trial.to == start + 42 * DAY
    assert [each.time for each in asked(trial, events).added] == [
        alert.time for alert in live_alerts(events, rule, few) if alert.rule == "top" and alert.time < until
    ]


def test_an_alert_that_counts_from_an_episode_of_the_time_asked_for_counts_though_it_comes_after_that_time() -> None:
    """An alert counts from the start of its episode on, which goes on when the time asked for ends."""
    lasting = checked_rule(id="lasting", **{**FREQUENT, "episode": "7d"})
    pairs = [{"name": "a", "where": "true"}, {"name": "b", "where": "true"}]
    pattern = {"steps": pairs, "within": "3d", "lateness": "1d", "every": True}
    matched = checked_rule(id="matched", window=None, trigger=None, case=None, lead=None, pattern=pattern)
    start = Grid.of(7 * DAY).start(NOW + 7 * DAY)
    until = start + 2 * DAY
    for heard, rows in (
        (lasting, [(6 * DAY, "x:1", "p"), (6 * DAY + HOUR, "x:1", "p")]),
        (matched, [(2 * DAY - 1, "x:1", "p"), (4 * DAY, "x:1", "p")]),
    ):
        rule = checked_rule(
            id="top", on=["alert"], rules={heard.id: 1}, condition="true",
            window={"size": "2d"}, trigger={"count": {"at_least": 1}},
        )  # fmt: skip
        events = made([(start - NOW + at, who, reporter) for at, who, reporter in rows])
        live = [alert.time for alert in live_alerts(events, rule, heard) if alert.rule == "top"]
        assert [start <= time < until for time in live] == [True]
        assert [
            each.time for each in asked(Backtest(rule, None, reference(), start, until, [heard]), events).added
        ] == live
        # What has not happened yet is not asked for.
        assert Backtest(rule, None, reference(), start, until, [heard], now=until + HOUR).to == until + HOUR


@pytest.mark.parametrize("kind", FEW)
def test_what_is_not_over_now_is_not_decided(kind: str) -> None:
    rule = checked_rule(**FEW[kind], trigger=LITTLE)
    start, events = weeks(rule)
    events = [each for each in events if each.occurred_at < start + 3 * DAY]
    end = start + (7 * DAY if kind == "tumbling" else 2 * DAY + 16 * HOUR + DAY)
    for now, alerts in ((end - 1, 0), (end, 1)):
        trial = Backtest(rule, None, reference(), start - DAY, start + 3 * DAY, now=now)
        assert trial.to == min(now, end if kind == "tumbling" else start + 4 * DAY - 1)
        assert asked(trial, events).alerts == alerts


def test_nothing_is_taken_to_be_missing_before_its_time_to_come_is_over() -> None:
    steps = [{"name": "a", "where": "amount_fen == 1"}, {"name": "b", "where": "amount_fen == 2", "absent": True}]
    rule = checked_rule(window=None, trigger=None, pattern={"steps": steps, "within": "2d", "lateness": "1d"})
    events = [each._replace(amount_fen=1) for each in made([(0, "x:1", "p")])]
    for now, alerts in ((NOW + 2 * DAY - 1, 0), (NOW + 2 * DAY, 1)):
        assert asked(Backtest(rule, None, reference(), NOW, NOW + 7 * DAY, now=now), events).alerts == alerts
