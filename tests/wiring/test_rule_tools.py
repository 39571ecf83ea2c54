"""Explanations, backtests, warm windows and versions, from files of rules to a real store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.admission import Reference as Codes
from jianguan.domain.admission import without_personal
from jianguan.domain.alert import Alert
from jianguan.domain.event import Event, Personal
from jianguan.domain.hindsight import BacktestRequest
from jianguan.domain.ids import partition_of
from jianguan.domain.trace import Records
from jianguan.errors import InputError, JianguanError, UnavailableError
from jianguan.metrics import Metrics
from jianguan.wiring.restore import Restorer
from jianguan.wiring.rule_tools import StoredRuleRecord, StoredRuleTools
from jianguan.wiring.tables import Tables
from rules.engine import Engine
from rules.rule import Grid
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from streams.rulebook import RuleBook
from tests.rules.support import DAY, HOUR, NOW, event, reference, rule_file

pytestmark = pytest.mark.store
MINUTE = 60_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    made = EmbeddedStore(tmp_path_factory.mktemp("tools") / "store")
    made.start()
    yield made
    made.close()


@dataclass
class Place:
    """One installation: a folder of rules, a store, a clock."""

    folder: Path
    store: EmbeddedStore
    clock: VirtualClock

    def __post_init__(self) -> None:
        self.archive = SqlArchive(self.store, self.clock)
        self.record = StoredRuleRecord(self.store, self.archive)

    def write(self, name: str = "a-rule", **changes: Any) -> None:
        text = json.dumps(rule_file(id=name, **changes), ensure_ascii=False, indent=1)
        (self.folder / f"{name}.yaml").write_text(text, encoding="utf-8")

    def rulebook(self, people: int = 0) -> RuleBook:
        metrics = Metrics(CollectorRegistry())
        made = RuleBook([self.folder], reference(), self.clock, metrics, self.record, people)
        made.load()
        return made

    def tools(self, rulebook: RuleBook, people: int = 0) -> StoredRuleTools:
        return StoredRuleTools(self.archive, self.record, rulebook, reference(), self.clock, 90 * DAY, people)

    def restorer(self, rulebook: RuleBook, partitions: int = 1, **options: Any) -> Restorer:
        tables = Tables(reference(), Codes(reference().regions, reference().industries, b"k" * 32), ())
        return Restorer(self.archive, rulebook, tables, self.clock, partitions, **options)

    def tell(self, *events: Event, facts: bool = False, rulebook: RuleBook | None = None) -> None:
        """Store events, with the facts that live would have made of them."""
        personal = [
            Personal(each.id, each.occurred_at, None, None, None, None, each.text) for each in events if each.text
        ]
        made = [fact for each in events for fact in rulebook.matcher().facts(each)] if facts and rulebook else []
        self.store.write(
            Records(events=[without_personal(each) for each in events], personal=personal, facts=made), "t"
        )

    def later(self, **time: int) -> None:
        self.clock.advance(timedelta(**time))


@pytest.fixture
def place(tmp_path: Path, shared: EmbeddedStore) -> Place:
    for table in ("events", "personal", "facts", "trace"):
        shared.command(f"TRUNCATE TABLE {table}")
    return Place(tmp_path, shared, VirtualClock(from_millis(NOW)))


def happened(number: int, at: int, **fields: Any) -> Event:
    return event(number, occurred_at=at, received_at=at, **{"enterprise": "x:1", **fields})


# Explanations and backtests.


def test_an_event_is_explained_from_the_store(place: Place) -> None:
    place.write(condition='category == "food-safety" && contains_any(text, ["过期"])')
    tools = place.tools(place.rulebook())
    events = [happened(number, NOW - HOUR // 2 + number * MINUTE, text="过期食品") for number in range(3)]
    others = [happened(10, NOW - MINUTE, text="过期", enterprise="x:2"), happened(11, NOW - MINUTE, text="很好")]
    place.tell(*events, *others)
    found = tools.explain("a-rule", events[1].id)
    assert (found.verdict, found.window_count, found.measures[0].lacking) == ("below", 2, 1)
    assert tools.explain("a-rule", events[2].id).verdict == "fired"
    assert tools.explain("a-rule", others[1].id).verdict == "condition"
    assert "过期食品" not in repr(found)
    with pytest.raises(InputError, match="no event"):
        tools.explain("a-rule", "ev-nobody")
    with pytest.raises(InputError, match="no rule"):
        tools.explain("nobody", events[0].id)


def test_a_rule_is_tried_on_the_stored_events_beside_the_one_that_runs(place: Place) -> None:
    place.write()
    tools = place.tools(place.rulebook())
    place.tell(*[happened(number, NOW - 9 * DAY + number * MINUTE) for number in range(5_000)])
    draft = json.dumps(rule_file(version=2, trigger={"count": {"at_least": 61}}))
    seen: list[tuple[int, int]] = []
    request = BacktestRequest("", NOW - 10 * DAY, NOW, draft)
    report = tools.backtest(request, lambda done, of: seen.append((done, of)))
    assert report.alerts == 0  # an hour has sixty minutes
    assert report.against is not None
    assert report.against_alerts == report.removed_count > 80
    assert (seen[0], seen[-1]) == ((0, 5_000), (5_000, 5_000))
    assert len(seen) > 3
    alone = tools.backtest(BacktestRequest("a-rule", NOW - 10 * DAY, NOW), lambda *_: None)
    assert (alone.alerts, alone.against) == (report.against_alerts, None)


@pytest.mark.parametrize(("later", "alerts"), [(0, 0), (7, 0), (14, 1)])
def test_a_backtest_reads_on_until_its_last_period_is_over_and_not_beyond_the_present(
    place: Place, later: int, alerts: int
) -> None:
    week = {"kind": "tumbling", "size": "7d", "lateness": "1d"}
    place.write(window=week, trigger={"not": {"count": {"at_least": 15}}})
    tools = place.tools(place.rulebook())
    start = Grid.of(7 * DAY).start(NOW)
    place.tell(*[happened(number, start + number * 8 * HOUR) for number in range(24)])
    place.later(days=later)
    # Three days of a whole week; then the next week too, of which only the first day has events.
    assert tools.backtest(BacktestRequest("a-rule", start, start + 3 * DAY), lambda *_: None).alerts == 0
    report = tools.backtest(BacktestRequest("a-rule", start, start + 9 * DAY), lambda *_: None)
    assert (report.events, report.alerts) == (24, alerts)


def test_a_backtest_ends_when_it_is_told_to(place: Place) -> None:
    place.write()
    tools = place.tools(place.rulebook())
    place.tell(*[happened(number, NOW - DAY + number) for number in range(5_000)])
    request = BacktestRequest("a-rule", NOW - 10 * DAY, NOW)

    class EnoughError(Exception):
        pass

    def enough(done: int, of: int) -> None:
        if done:
            raise EnoughError

    with pytest.raises(EnoughError):
        tools.backtest(request, enough)
    tools.stop()
    with pytest.raises(UnavailableError):
        tools.backtest(request, lambda *_: None)


def test_a_draft_that_reads_what_is_personal_is_recorded(place: Place) -> None:
    place.write()
    tools = place.tools(place.rulebook())
    draft = json.dumps(rule_file(condition='text.startsWith("王")'), ensure_ascii=False)
    tools.backtest(BacktestRequest("a-rule", NOW - DAY, NOW), lambda *_: None)
    assert place.store.query("SELECT count() FROM trace WHERE what = 'tried'") == [(0,)]
    tools.backtest(BacktestRequest("", NOW - DAY, NOW, draft), lambda *_: None)
    ((subject, detail),) = place.store.query("SELECT subject, detail FROM trace WHERE what = 'tried'")
    assert subject == "rule/a-rule"
    assert json.loads(detail)["fields"] == ["text"]
    assert json.loads(detail)["text"] == draft
    assert place.record.ledger().versions("a-rule")[0].version == 1


def test_what_cannot_be_tried_says_why(place: Place) -> None:
    place.write()
    tools = place.tools(place.rulebook())
    with pytest.raises(JianguanError, match="category"):
        tools.check(BacktestRequest("", 0, 1, json.dumps(rule_file(condition="catgory == 'x'"))))
    with pytest.raises(InputError, match="ends before"):
        tools.check(BacktestRequest("a-rule", 5, 5))
    with pytest.raises(InputError, match="no version 7"):
        tools.check(BacktestRequest("a-rule", 0, 5, against=7))


# Versions.


def test_every_activation_is_recorded_and_old_versions_stay_readable(place: Place) -> None:
    place.write()
    tools = place.tools(place.rulebook())
    first = tools.history("a-rule")
    assert [(each.version, each.author) for each in first.versions] == [(1, "installation")]
    place.later(days=1)
    place.write(version=2, trigger={"count": {"at_least": 1}})
    tools = place.tools(place.rulebook())
    place.rulebook()  # a restart, or another worker, records nothing new
    found = tools.history("a-rule")
    assert [each.version for each in found.versions] == [2, 1]
    assert found.running == found.versions[0]
    assert found.versions[0].at - found.versions[1].at == DAY
    assert found.versions[0].author == (place.folder / "a-rule.yaml").owner()
    assert json.loads(found.versions[1].text)["trigger"] == {"count": {"at_least": 3}}
    only = happened(1, NOW)
    place.tell(only)
    assert tools.explain("a-rule", only.id).verdict == "fired"
    assert tools.explain("a-rule", only.id, version=1).verdict == "below"
    report = tools.backtest(BacktestRequest("a-rule", NOW - DAY, NOW + DAY, against=1), lambda *_: None)
    assert (report.alerts, report.against_alerts) == (1, 0)


def test_a_rule_that_comes_back_is_activated_again_and_one_that_goes_is_withdrawn(place: Place) -> None:
    place.write("b-rule")
    for changes in ({}, {"severity": "low"}, {}):
        place.later(hours=1)
        place.write(**changes)
        place.rulebook()
    versions = place.record.ledger().versions("a-rule")
    assert len(versions) == 3
    assert versions[0].hash == versions[2].hash != versions[1].hash
    (place.folder / "a-rule.yaml").unlink()
    place.later(hours=1)
    place.rulebook()
    place.rulebook()
    ledger = place.record.ledger()
    assert ledger.running("a-rule") is None
    assert [step.what for step in place.archive.rule_steps()].count("withdrawn") == 1
    place.later(hours=1)
    place.write()
    place.rulebook()
    assert len(place.record.ledger().versions("a-rule")) == 4


def test_a_change_waits_for_two_people_while_the_old_version_runs(place: Place) -> None:
    place.write()
    place.rulebook(people=2)  # an installation asks nobody
    place.write(version=2, severity="low")
    place.write("new-rule")
    rulebook = place.rulebook(people=2)
    tools = place.tools(rulebook, people=2)
    assert [(rule.id, rule.version, rule.severity) for rule in rulebook.ruleset] == [("a-rule", 1, "high")]
    assert [each.rule.id for each in rulebook.waiting] == ["a-rule", "new-rule"]
    place.later(hours=1)
    assert len(tools.approve("a-rule", "wang", "too many alarms").approvals) == 1
    assert len(tools.approve("a-rule", "wang", "again").approvals) == 1  # one person counts once
    assert place.rulebook(people=2).ruleset.by_id("a-rule").version == 1  # type: ignore[union-attr]
    place.later(hours=1)
    assert [each.person for each in tools.approve("a-rule", "li", "yes").approvals] == ["wang", "li"]
    after = place.rulebook(people=2)
    assert after.ruleset.by_id("a-rule").version == 2  # type: ignore[union-attr]
    found = place.tools(after).history("a-rule")
    assert found.versions[0].people == ("wang", "li")
    assert found.versions[0].author == "wang"
    assert "too many alarms" in found.versions[0].reason
    with pytest.raises(InputError, match="waits"):
        place.tools(after).approve("a-rule", "zhao", "late")


def test_an_approval_is_of_one_content_only(place: Place) -> None:
    place.write()
    place.rulebook(people=1)
    place.write(version=2)
    place.tools(place.rulebook(people=1)).approve("a-rule", "wang", "ok")
    place.write(version=2, severity="critical")
    assert place.rulebook(people=1).ruleset.by_id("a-rule").version == 1  # type: ignore[union-attr]


# Warm windows.


def alerts_of(engine: Engine, rulebook: RuleBook, *events: Event) -> list[Alert]:
    return [a for each in events for fact in rulebook.matcher().facts(each) for a in engine.add(fact, 0).alerts]


def activated(place: Place, **changes: Any) -> RuleBook:
    """A rule that is new today, where others were before."""
    place.write("older-rule", condition="false")
    place.rulebook()
    place.later(hours=1)
    place.write(**changes)
    return place.rulebook()


def test_a_new_rule_begins_with_windows_filled_from_events(place: Place) -> None:
    place.tell(*[happened(number, NOW + number * MINUTE) for number in range(2)])
    rulebook = activated(place)
    third = happened(3, NOW + 59 * MINUTE)
    warm, cold = Engine(rulebook.ruleset), Engine(rulebook.ruleset)
    assert place.restorer(rulebook).fold({0: warm}, rulebook.ruleset.running)[0].facts == 2
    assert place.restorer(rulebook, warm=False).fold({0: cold}, rulebook.ruleset.running)[0].facts == 0
    assert len(alerts_of(warm, rulebook, third)) == 1
    assert alerts_of(cold, rulebook, third) == []


def test_what_history_has_for_a_rule_is_told_and_is_what_a_new_one_begins_with(place: Place) -> None:
    times = [(number, f"x:{1 + number % 3 // 2}", NOW - number * 20 * MINUTE) for number in range(1, 9)]
    place.tell(*[happened(number, at, enterprise=who) for number, who, at in times])
    place.tell(happened(20, NOW - MINUTE, category="price"), happened(21, NOW + MINUTE))
    place.write(window={"size": "1h"})
    found = place.tools(place.rulebook()).warm("a-rule")
    assert (found.now, found.since) == (NOW, NOW - 2 * HOUR)
    # Six of them happened within the two hours that are kept, one of those exactly two hours ago.
    assert (found.events, found.facts, found.groups) == (6, 6, 2)
    assert [(each.key, each.facts, each.newest) for each in found.fullest] == [
        ("x:1", 4, NOW - 20 * MINUTE), ("x:2", 2, NOW - 40 * MINUTE),
    ]  # fmt: skip
    place.write(group_by="reporter", case=None, lead=None)
    place.tell(happened(30, NOW - MINUTE, reporter="a-secret"))
    assert "a-secret" not in repr(place.tools(place.rulebook()).warm("a-rule"))
    place.write(status="retired")
    with pytest.raises(InputError, match="retired"):
        place.tools(place.rulebook()).warm("a-rule")


def test_history_raises_nothing_and_keeps_nothing_quiet(place: Place) -> None:
    place.tell(*[happened(number, NOW + number * MINUTE) for number in range(5)])
    rulebook = activated(place)
    engine = Engine(rulebook.ruleset)
    place.restorer(rulebook).fold({0: engine}, rulebook.ruleset.running)
    assert len(alerts_of(engine, rulebook, happened(6, NOW + 30 * MINUTE))) == 1


def test_a_restart_after_a_warm_start_finds_the_same_windows(place: Place) -> None:
    place.tell(*[happened(number, NOW + (50 + number) * MINUTE) for number in range(2)])
    rulebook = activated(place)
    third = happened(3, NOW + HOUR + 10_000)
    place.later(hours=1)
    place.tell(third, facts=True, rulebook=rulebook)
    again = place.rulebook()
    engine = Engine(again.ruleset)
    place.restorer(again).fold({0: engine}, again.ruleset.running)
    assert engine.stats()["a-rule"].facts == 3
    assert alerts_of(engine, again, happened(4, NOW + HOUR + 20_000)) == []  # its episode has its alert


def test_history_is_read_once_for_all_partitions_and_each_gets_its_own_keys(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"x:{number}" for number in range(20)]
    told = [happened(number, NOW + number * 1_000, enterprise=keys[number % 20]) for number in range(60)]
    place.tell(*told)
    rulebook = activated(place)
    reads, read = [], place.archive.events_to_judge

    def counted(*asked: Any) -> Iterator[list[Event]]:
        reads.append(asked)
        return read(*asked)

    monkeypatch.setattr(place.archive, "events_to_judge", counted)
    engines = {partition: Engine(rulebook.ruleset) for partition in (0, 1, 3)}
    folded = place.restorer(rulebook, partitions=4).fold(engines, rulebook.ruleset.running)
    assert len(reads) == 1
    for key in keys:
        here = partition_of("a-rule" + key, 4)
        for partition, engine in engines.items():
            look = engine.look("a-rule", key, told[keys.index(key) + 40].occurred_at)
            assert (0 if look is None else look.count) == (3 if partition == here else 0)
    counts = Counter(partition_of("a-rule" + key, 4) for key in keys)
    assert {partition: each.facts for partition, each in folded.items()} == {at: 3 * counts[at] for at in engines}
    assert len([at for at in engines if counts[at]]) > 1  # else this shows nothing


def test_a_rule_that_has_run_for_long_does_not_read_events_again(place: Place) -> None:
    place.tell(*[happened(number, NOW + number * MINUTE) for number in range(2)])
    rulebook = activated(place)
    place.later(days=30)
    folded = place.restorer(rulebook).fold({0: Engine(rulebook.ruleset)}, rulebook.ruleset.running)
    assert folded[0].facts == 0


def settled_alerts(place: Place, rulebook: RuleBook, *events: Event) -> list[Alert]:
    """What the clock settles after a warm start and some more events."""
    engine = Engine(rulebook.ruleset)
    place.restorer(rulebook).fold({0: engine}, rulebook.ruleset.running)
    assert alerts_of(engine, rulebook, *events) == []
    return list(engine.elapse(NOW + 30 * 24 * HOUR))


AVERAGE = {"avg": {"of": "amount_fen", "at_least": 10}, "count": {"at_least": 3}}


def test_what_the_clock_had_settled_before_a_rule_stays_unsaid_and_keeps_nothing_quiet(place: Place) -> None:
    past = [happened(number, NOW - 30 * MINUTE + number, amount_fen=20) for number in range(4)]
    place.tell(*past)
    rulebook = activated(place, trigger=AVERAGE, window={"size": "2h", "lateness": "1m"}, episode="30d")
    assert rulebook.ruleset.by_id("a-rule").judging is not None  # type: ignore[union-attr]
    assert settled_alerts(place, rulebook) == []
    assert len(settled_alerts(place, rulebook, happened(9, NOW + HOUR + MINUTE, amount_fen=20))) == 1
