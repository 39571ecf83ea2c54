"""What a restart restores is what there was: the same alerts follow as if it had not been, and none twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jianguan.clock import SystemClock, VirtualClock, from_millis
from jianguan.domain.alert import Alert
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact, runs_of
from jianguan.domain.trace import Records
from jianguan.errors import UnavailableError
from jianguan.settings import Settings
from jianguan.wiring.embedded import EmbeddedApplication
from jianguan.wiring.restore import Restorer
from rules.alert_facts import AlertMatcher
from rules.engine import Engine
from rules.facts import Matcher
from rules.rule import Rule
from rules.ruleset import RuleSet
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from streams.correlate import Early
from tests.rules.support import DAY, HOUR, event, reference
from tests.rules.test_facts import loaded
from tests.wiring.test_early import Book

pytestmark = pytest.mark.store

MINUTE = 60_000
START = 1_788_537_600_000  # a day into an episode of 180 days
ENTERPRISE = "uscc:X"


class Live:
    """The stages over some rules, as they are while nothing is restarted."""

    def __init__(self, *rules: Rule, engine: Engine | None = None) -> None:
        self.rules = RuleSet(rules)
        self.engine = engine or Engine(self.rules)
        self.facts: list[Fact] = []
        self.alerts: list[Alert] = []
        self._matcher = Matcher(self.rules, reference())
        self._heard = AlertMatcher(self.rules, reference())

    def take(self, *events: Event) -> None:
        """Let events come, each at its receipt."""
        for each in events:
            self.until(each.received_at)
            for fact in self._matcher.facts(each):
                self.facts.append(fact)
                self.follow(self.engine.add(fact, each.received_at).alerts)

    def until(self, now: int) -> None:
        """Let the clock decide up to `now`, ms."""
        while (due := self.engine.due()) is not None and due <= now:
            self.follow(self.engine.elapse(due))

    def follow(self, alerts: Iterable[Alert]) -> None:
        """Let alerts be raised, and be facts of the rules that look at them."""
        waiting = deque(alerts)
        while waiting:
            alert = waiting.popleft()
            self.alerts.append(alert)
            for fact in self._heard.facts(alert):
                self.facts.append(fact)
                waiting.extend(self.engine.add(fact, alert.raised_at).alerts)

    def times(self) -> list[float]:
        """When what was found happened, in days from START."""
        return [round((alert.time - START) / DAY, 3) for alert in self.alerts]


class Shop:
    """A store, and whoever restores from it."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store

    async def restarted(self, live: Live, now: int, *rules: Rule, activated: dict[str, int] | None = None) -> Live:
        """What goes on at `now` (ms), with other rules if they are given, after all that `live` did was stored."""
        restorer = self.over(live, now, rules, activated)
        (engine,) = (await restorer.whole([0], None, lambda: True)).values()
        after = Live(*(rules or live.rules.rules), engine=engine)
        after.follow(await restorer.owed(0, engine, restorer.settled_until()))
        return after

    async def of_keys(self, live: Live, now: int, *keys: str) -> Live:
        """The same with the windows of some keys alone, those that come early. What the clock owes stays unsaid."""
        restorer = self.over(live, now)
        engine = restorer.empty()
        wanted = {(rule.id, rule.version): set(keys) for rule in live.rules.rules}
        (await restorer.of_keys(engine.running, wanted, None)).fold(engine)
        restorer.pass_over(engine, restorer.settled_until())
        return Live(*live.rules.rules, engine=engine)

    def over(
        self, live: Live, now: int, rules: Sequence[Rule] = (), activated: dict[str, int] | None = None
    ) -> Restorer:
        """What restores at `now` (ms), after all that `live` did was stored."""
        for table in ("events", "facts", "alerts"):
            self._store.command(f"TRUNCATE TABLE {table}")
        self._store.write(Records(facts=live.facts, alerts=live.alerts), f"{now}-{len(live.facts)}")
        book, clock = Book(rules or live.rules.rules), VirtualClock(from_millis(now))
        book.activated = activated or {}
        tables = SimpleNamespace(rules=reference())
        return Restorer(cast(Any, SqlArchive(self._store, clock)), cast(Any, book), cast(Any, tables), clock, 1)

    @contextmanager
    def away(self) -> Iterator[None]:
        """The store answers nothing meanwhile."""
        self._store.close()
        yield
        self._store.start()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    store = EmbeddedStore(tmp_path_factory.mktemp("restored") / "store")
    store.start()
    yield Shop(store)
    store.close()


def complaint(number: int, at: int, *, received: int | None = None, **changes: Any) -> Event:
    """Number `number`, `at` ms after START."""
    there = START + at
    changes = {"enterprise": ENTERPRISE, **changes}
    return event(number, occurred_at=there, received_at=there if received is None else START + received, **changes)


LOUD = loaded(
    id="loud", condition='category == "food-safety"', window={"size": "1d"}, trigger={"count": {"at_least": 1}},
    episode="180d",
)  # fmt: skip


def quiet(version: int = 1) -> Rule:
    """Three complaints about prices in a week, unless LOUD has raised an alert."""
    return loaded(
        id="quiet", version=version, condition='category == "price"', window={"size": "7d", "lateness": "6h"},
        trigger={"count": {"at_least": 3}}, cooldown="14d", inhibited_by=["loud"],
    )  # fmt: skip


def prices(first: int, at: int) -> list[Event]:
    return [complaint(first + number, at + number * HOUR, category="price") for number in range(3)]


async def test_a_rule_that_another_keeps_silent_stays_silent_after_a_restart(shop: Shop) -> None:
    silence = LOUD.episodes.start(START) + LOUD.episodes.size - START
    assert silence > 81 * DAY > 60 * DAY > quiet().retention
    live = Live(LOUD, quiet())
    live.take(complaint(1, 0, category="food-safety"), *prices(10, 60 * DAY))
    live.until(START + 61 * DAY)
    for after in (
        await shop.restarted(live, START + 61 * DAY),
        await shop.of_keys(live, START + 61 * DAY, ENTERPRISE),
    ):
        after.take(*prices(20, 80 * DAY))
        after.until(START + 100 * DAY)
        assert after.alerts == []


async def test_a_new_version_of_a_rule_is_kept_silent_by_an_alert_from_before_it(shop: Shop) -> None:
    live = Live(LOUD, quiet())
    live.take(complaint(1, 0, category="food-safety"))
    activated = {"loud": START - 400 * DAY, "quiet": START + HOUR}
    after = await shop.restarted(live, START + HOUR, LOUD, quiet(2), activated=activated)
    after.take(*prices(10, DAY))
    after.until(START + 10 * DAY)
    assert after.alerts == []


async def test_history_that_no_clock_had_settled_before_a_restart_raises_its_alerts_after_it(shop: Shop) -> None:
    rule = loaded(
        condition="true", window={"size": "7d", "lateness": "1d"},
        trigger={"count": {"at_least": 3}, "not": {"count": {"at_least": 10}}},
    )  # fmt: skip
    now = 400 * DAY
    months = [day for day in range(0, 365, 30) for _ in range(3)]
    imported = [
        complaint(number, day * DAY + number % 3 * HOUR, received=now, historical=True)
        for number, day in enumerate(months)
    ]
    live, cut = Live(rule), Live(rule)
    live.take(*imported)
    cut.take(*imported)
    after = await shop.restarted(cut, START + now + HOUR)
    for each in (live, after):
        each.until(START + now + 3 * DAY)
    assert len(live.alerts) == 13
    assert sorted(after.times()) == sorted(live.times())


async def test_a_window_of_which_a_restart_restores_only_a_part_decides_nothing(shop: Shop) -> None:
    rule = loaded(
        condition="true", window={"size": "10m", "lateness": "1m"}, episode="1m",
        trigger={"not": {"count": {"at_least": 3}}, "count": {"at_least": 2}},
    )  # fmt: skip
    live = Live(rule)
    live.take(*[complaint(minute, minute * MINUTE) for minute in range(600)])
    live.until(START + 602 * MINUTE)
    assert len(live.alerts) == 1, "at the second fact, and then there were always three"
    after = await shop.restarted(live, START + 602 * MINUTE)
    assert after.alerts == []


@pytest.mark.parametrize(("gap", "before"), [("30m", (135, 115, 95, 80)), ("90m", (150, 140, 115, 100))])
async def test_a_session_of_which_a_restart_restores_only_a_part_decides_nothing(
    shop: Shop, gap: str, before: tuple[int, ...]
) -> None:
    """Its gap comes after its last fact: it is over later than a sliding window, and reaches as far back from there."""
    rule = loaded(
        condition="true", window={"kind": "session", "size": "1h", "gap": gap, "lateness": "1m"},
        trigger={"not": {"count": {"at_least": 4}}, "count": {"at_least": 2}},
    )  # fmt: skip
    live = Live(rule)
    live.take(*[complaint(ago, (300 - ago) * MINUTE) for ago in (*before, 0)])
    after = await shop.restarted(live, START + 301 * MINUTE)
    assert (live.alerts, after.alerts) == ([], [])


async def test_a_session_that_waits_for_its_gap_is_decided_after_a_restart_though_a_newer_fact_is_there(
    shop: Shop,
) -> None:
    rule = loaded(
        condition="true", window={"kind": "session", "size": "1h", "gap": "10h", "lateness": "1m"}, episode="1m",
        trigger={"not": {"count": {"at_least": 3}}, "count": {"at_least": 2}},
    )  # fmt: skip
    live = Live(rule)
    live.take(complaint(1, 0), complaint(2, 30 * MINUTE), complaint(3, 10 * HOUR + 30 * MINUTE))
    assert live.alerts == [], "the lateness is not over"
    after = await shop.restarted(live, START + 10 * HOUR + 30 * MINUTE)
    after.until(START + DAY)
    assert after.times() == [round(0.5 / 24, 3)]


async def test_imported_history_decides_nothing_over_a_part_of_it_either(shop: Shop) -> None:
    rule = loaded(
        condition="true", on=["consumer-rights"], window={"size": "30d", "lateness": "7d"},
        trigger={"ratio": {"of": 'outcome == "refused"', "at_least": 0.5}, "count": {"at_least": 2}},
    )  # fmt: skip
    imported = [
        complaint(
            day, day * DAY, received=400 * DAY, historical=True, kind="consumer-rights",
            outcome="refused" if day % 6 == 0 else "mediated",
        )
        for day in range(0, 360, 2)
    ]  # fmt: skip
    live = Live(rule)
    live.take(*imported)
    live.until(START + 408 * DAY)
    assert live.times() == [2.0]
    after = await shop.restarted(live, START + 408 * DAY)
    assert after.alerts == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="that counts"),
        pytest.param({"trigger": {"all": [{"count": {"at_least": 3}}]}}, id="at once"),
        pytest.param({"cooldown": "1h"}, id="settled"),
    ],
)
async def test_an_episode_that_outlasts_the_facts_of_its_alert_is_told_once(
    shop: Shop, changes: dict[str, Any]
) -> None:
    rule = loaded(
        condition="true", episode="90d", window={"size": "1d", "lateness": "1d"},
        **{"trigger": {"count": {"at_least": 3}}, **changes},
    )  # fmt: skip
    first = rule.episodes.start(START) + rule.episodes.size - START
    burst = [complaint(number, first + number * HOUR) for number in range(3)]
    live = Live(rule)
    live.take(*burst, complaint(5, first + 10 * DAY))
    live.until(START + first + 12 * DAY)
    assert len(live.alerts) == 1
    for after in (
        await shop.restarted(live, START + first + 12 * DAY),
        await shop.of_keys(live, START + first + 12 * DAY, ENTERPRISE),
    ):
        after.take(*[complaint(20 + number, first + 20 * DAY + number * HOUR) for number in range(3)])
        after.until(START + first + 30 * DAY)
        assert after.alerts == []
        after.take(*[complaint(40 + number, first + 95 * DAY + number * HOUR) for number in range(3)])
        after.until(START + first + 99 * DAY)
        assert len(after.alerts) == 1, "in the next episode"


UNANSWERED = loaded(
    id="unanswered", condition="true", window=None, trigger=None,
    pattern={
        "within": "15m", "lateness": "1m", "every": True, "after_match": "skip-to-next",
        "steps": [
            {"name": "filed", "where": 'category == "price"'},
            {"name": "answered", "where": 'category != "price"', "absent": True},
        ],
    },
)  # fmt: skip


async def test_what_the_clock_settled_while_nobody_was_there_is_raised_though_the_store_was_away_when_it_was_asked(
    shop: Shop,
) -> None:
    live = Live(UNANSWERED)
    live.take(complaint(1, 0, category="price"), complaint(2, MINUTE, category="price"))
    now = START + HOUR
    restorer = shop.over(live, now)
    (engine,) = (await restorer.whole([0], None, lambda: True)).values()
    state = restorer.over(engine, cast(Early, None))
    await restorer.settle(0, state, now)
    with shop.away(), pytest.raises(UnavailableError):
        await restorer.owe(state)
    await restorer.settle(0, state, now)  # as one does who has the partition anew
    assert (state.settling, len(state.doubtful)) == (False, 2)
    await restorer.owe(state)
    assert (state.settling, state.doubtful) == (True, ())
    raised = state.elapse(now).records.alerts
    assert [alert.events for alert in raised] == [(live.facts[0].event,), (live.facts[1].event,)]
    assert state.elapse(now).records.alerts == []


async def test_what_the_clock_had_settled_and_told_before_a_takeover_is_not_told_again(shop: Shop) -> None:
    live = Live(UNANSWERED)
    live.take(complaint(1, 0, category="price"), complaint(2, MINUTE, category="price"))
    live.until(START + HOUR)
    restorer = shop.over(live, START + HOUR)
    (engine,) = (await restorer.whole([0], None, lambda: True)).values()
    state = restorer.over(engine, cast(Early, None))
    await restorer.settle(0, state, START + HOUR)
    await restorer.owe(state)
    assert (len(live.alerts), state.elapse(START + HOUR).records.alerts) == (2, [])


async def test_what_the_clock_had_settled_is_not_raised_again_when_a_later_broker_dies_and_nothing_is_read_again(
    shop: Shop, tmp_path: Path
) -> None:
    """Cases that were closed long ago would be opened once more."""
    live = Live(UNANSWERED)
    live.take(complaint(1, 0, category="price"), complaint(2, MINUTE, category="price"))
    live.until(START + HOUR)
    now = START + 2 * DAY
    restorer = shop.over(live, now)
    application = EmbeddedApplication(Settings(data=tmp_path), SystemClock(), demo=False)
    application._restoring = asyncio.create_task(asyncio.sleep(0))
    for oldest in (START + 1, None):  # at the start the journal has a record
        application._journal = cast(Any, SimpleNamespace(oldest=lambda oldest=oldest: oldest))
        await application._find_cut_off(cast(Any, SimpleNamespace(restorer=restorer)))
    (engine,) = (await restorer.whole([0], None, lambda: True)).values()
    assert await restorer.owed(0, engine, restorer.settled_until()) == []
    assert (len(live.alerts), engine.elapse(now)) == (2, ())


COUNTS = loaded(
    condition="true", window={"size": "2h", "lateness": "1h"}, episode="2h", trigger={"count": {"at_least": 3}}
)
COUNTS_AT_ONCE = loaded(
    condition="true", window={"size": "2h", "lateness": "1h"}, episode="2h",
    trigger={"all": [{"count": {"at_least": 3}}]},
)  # fmt: skip
NOON = START + 12 * HOUR
counts = pytest.mark.parametrize("rule", [COUNTS, COUNTS_AT_ONCE], ids=["counts", "at once"])


def minutes(number: int, ago: int, received: int) -> Event:
    """Complaint number `number`, so many minutes before noon and received so many after it."""
    return complaint(number, NOON - START - ago * MINUTE, received=NOON - START + received * MINUTE)


def with_a_late_one(rule: Rule, *ago: int) -> Live:
    """The newest at noon, then one that is late for it, then others, so many minutes before noon."""
    live = Live(rule)
    live.take(
        minutes(1, 0, 0), minutes(2, 181, 1), *[minutes(3 + place, each, 2 + place) for place, each in enumerate(ago)]
    )
    assert live.alerts == []
    return live


async def everywhere(shop: Shop, live: Live, now: int) -> tuple[Live, Live]:
    """What goes on after a restart with all windows, and with those of the one key alone."""
    return await shop.restarted(live, now), await shop.of_keys(live, now, ENTERPRISE)


@counts
async def test_a_fact_that_was_late_counts_as_little_after_a_restart_as_before(shop: Shop, rule: Rule) -> None:
    live = with_a_late_one(rule, 150)
    for after in await everywhere(shop, live, NOON + HOUR):
        after.take(minutes(9, 140, 90))
        assert after.alerts == [], "the late one would be the third"
        after.take(minutes(10, 130, 91))
        assert len(after.alerts) == 1


@counts
async def test_an_alert_that_is_due_after_a_restart_is_raised_though_a_late_fact_lies_in_its_window(
    shop: Shop, rule: Rule
) -> None:
    live = with_a_late_one(rule, 150, 145)
    for after in await everywhere(shop, live, NOON + HOUR):
        after.take(minutes(9, 140, 90))
        (alert,) = after.alerts
        assert alert.event_count == 3


@counts
async def test_what_a_crash_may_have_kept_from_being_raised_is_not_found_by_means_of_late_facts(
    shop: Shop, rule: Rule
) -> None:
    live = with_a_late_one(rule, 150, 145)
    assert shop.over(live, NOON + HOUR).recover(NOON).missing == []
    live.take(minutes(9, 140, 90))
    (raised,), live.alerts = live.alerts, []
    (found,) = shop.over(live, NOON + 2 * HOUR).recover(NOON).missing
    assert (found.id, found.event_count) == (raised.id, 3)


@counts
async def test_what_was_late_is_late_again_when_it_is_read_again_after_a_crash(shop: Shop, rule: Rule) -> None:
    live = with_a_late_one(rule, 150)
    restorer = shop.over(live, NOON + HOUR)
    restorer.recover(NOON)
    (engine,) = (await restorer.whole([0], None, lambda: True)).values()
    state = restorer.over(engine, cast(Early, None))
    worked = state.work(runs_of(live.facts))
    assert worked.records.alerts == []
    assert [(step.what, step.links) for step in worked.records.trace] == [("late-for-rule", (live.facts[1].id,))]


@counts
async def test_an_alert_that_was_raised_is_not_raised_again_when_a_restart_leaves_a_late_fact_out(
    shop: Shop, rule: Rule
) -> None:
    live = with_a_late_one(rule, 150, 145)
    live.take(minutes(9, 140, 90))
    assert len(live.alerts) == 1
    for after in await everywhere(shop, live, NOON + 2 * HOUR):
        after.take(minutes(10, 139, 130))
        assert after.alerts == []


async def test_an_alert_that_others_overtook_counts_after_a_restart_for_a_rule_on_alerts(shop: Shop) -> None:
    """Its fact came first, though it was received last: what the clock settles is raised long after its receipt."""
    soon = loaded(
        id="soon", condition='category == "price"', window={"size": "1h", "lateness": "10d"}, episode="1h",
        trigger={"count": {"at_least": 1}},
    )  # fmt: skip
    settled = loaded(
        id="settled", condition='category == "food-safety"', window={"size": "1h", "lateness": "5d"}, episode="1h",
        trigger={"count": {"at_least": 1}}, cooldown="1h",
    )  # fmt: skip
    score = loaded(
        id="score", on=["alert"], condition="true", rules={"soon": 30, "settled": 30}, episode="30d",
        window={"size": "2d", "lateness": "0s"}, trigger={"score": {"at_least": 60}},
    )  # fmt: skip
    live = Live(soon, settled, score)
    live.take(
        complaint(1, 5 * DAY, category="food-safety"),
        complaint(2, 60 * HOUR, received=6 * DAY, category="price"),
    )
    live.until(START + 11 * DAY)
    assert [alert.rule for alert in live.alerts] == ["soon", "settled"]
    for after in await everywhere(shop, live, START + 11 * DAY):
        # Not in one window with the settled one.
        after.take(complaint(3, 3 * DAY, received=12 * DAY, category="price"))
        assert [alert.rule for alert in after.alerts] == ["soon", "score"]


RULES = (
    loaded(id="counts", condition="true", window={"size": "2h", "lateness": "1h"}, trigger={"count": {"at_least": 3}}),
    loaded(
        id="long", condition="true", window={"size": "1h", "lateness": "1h"}, episode="1d",
        trigger={"count": {"at_least": 2}},
    ),
    loaded(
        id="few", condition="true", episode="30m", window={"size": "3h", "lateness": "30m"},
        trigger={"count": {"at_least": 2}, "not": {"count": {"at_least": 4}}},
    ),
    loaded(
        id="period", condition="true", window={"size": "2h", "lateness": "1h", "kind": "tumbling"},
        trigger={"not": {"count": {"at_least": 3}}},
    ),
    loaded(
        id="session", condition="true", window={"size": "1h", "lateness": "30m", "kind": "session", "gap": "3h"},
        trigger={"not": {"count": {"at_least": 3}}, "count": {"at_least": 2}}, episode="30m",
    ),
    loaded(
        id="cooling", condition="true", window={"size": "1h", "lateness": "1h"}, cooldown="5h",
        trigger={"count": {"at_least": 2}},
    ),
    loaded(
        id="silent", condition="true", window={"size": "1h", "lateness": "1h"}, inhibited_by=["long"],
        trigger={"count": {"at_least": 2}}, episode="1h",
    ),
    loaded(
        id="sequence", condition="true", window=None, trigger=None,
        pattern={
            "within": "2h", "lateness": "30m",
            "steps": [{"name": "a", "where": 'category == "price"'}, {"name": "b", "where": 'category != "price"'}],
        },
    ),
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Event], int]:
    """Events in the order of their receipt, and how many come before the restart. Some are late. No two are received
    at once but those of history, which comes first, and the oldest first: else it might be late for windows that count,
    of which one receipt does not tell, or need facts that are not kept any more, and a restart brings those back."""
    behind = st.integers(0, 5 * 24 * 60)
    history = sorted(draw(st.lists(behind, max_size=20)), reverse=True)
    moments = sorted(draw(st.lists(st.integers(1, draw(st.sampled_from([6, 40])) * 60), max_size=40, unique=True)))
    ages = st.integers(0, draw(st.sampled_from([80, 8 * 60])))
    plan = [(0, minutes, True) for minutes in history]
    plan += [(moment, draw(ages), False) for moment in moments]
    events = [
        complaint(
            number, 5 * DAY + (received - ago) * MINUTE, received=5 * DAY + received * MINUTE, historical=historical,
            enterprise=draw(st.sampled_from(["uscc:A", "uscc:B"])),
            category=draw(st.sampled_from(["price", "food-safety"])),
        )
        for number, (received, ago, historical) in enumerate(plan)
    ]  # fmt: skip
    return events, draw(st.integers(0, len(events)))


@settings(
    deadline=None,
    max_examples=100,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(streams(), st.integers(10, 600))
async def test_the_same_alerts_follow_as_without_a_restart_and_none_twice(
    shop: Shop, stream: tuple[list[Event], int], away: int
) -> None:
    events, cut = stream
    before = events[:cut]
    stopped = max((each.received_at for each in before), default=START) + 10_000
    started = stopped + away * 1_000
    rest = [each._replace(received_at=max(each.received_at, started)) for each in events[cut:]]
    end = START + 30 * DAY

    whole, first = Live(*RULES), Live(*RULES)
    whole.take(*before, *rest)
    whole.until(end)
    first.take(*before)
    first.until(stopped)
    after = await shop.restarted(first, started)
    after.take(*rest)
    after.until(end)

    told = [alert.id for alert in (*first.alerts, *after.alerts)]
    assert sorted(told) == sorted({alert.id for alert in whole.alerts})
