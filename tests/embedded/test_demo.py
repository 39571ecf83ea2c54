"""The simulated feed: valid, the same again, going on after a restart, and with something to see at once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jianguan.domain.contract import TOPIC_OF_KIND, WIRE
from jianguan.domain.identifiers import is_valid_uscc
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from jianguan.embedded.demo import ENTERPRISES, DemoFeed, burst_at
from jianguan.errors import InputError

START = datetime(2026, 5, 1, 8, tzinfo=UTC)


def events(count: int, position: int = 0) -> list[tuple[int, float, dict[str, Any]]]:
    feed = DemoFeed(7, START, position)
    return [(position + index, due, event) for index, (due, event) in enumerate(islice(feed, count))]


def test_every_event_is_valid_but_the_few_that_are_meant_to_be_bad() -> None:
    feed = DemoFeed(7, START)
    regions, industries = Regions.load(), Industries.load()

    def usable(event: dict[str, Any]) -> bool:
        try:
            model = WIRE.validate_json(json.dumps(event))
            regions.normalise(model.region)
            if model.industry is not None:
                industries.normalise(model.industry)
        except (ValidationError, InputError):
            return False
        return model.enterprise is None or is_valid_uscc(model.enterprise.id)

    wrong = 0
    for _, _, event in events(4_000):
        number = int(event["id"].split("-")[2])
        assert usable(event) == (feed.flavour(number) != "bad"), event
        wrong += not usable(event)
    assert 20 <= wrong <= 80


def test_every_enterprise_has_a_valid_code_and_a_name_of_its_place_and_trade() -> None:
    feed = DemoFeed(7, START)
    made = [feed.enterprise(index) for index in range(ENTERPRISES)]
    assert all(is_valid_uscc(each.uscc) for each in made)
    assert len({each.uscc for each in made}) == ENTERPRISES
    assert all(each.name.endswith("有限公司") and each.region[3:] == each.uscc[2:8] for each in made)
    assert len({each.region for each in made}) > 100


def test_the_same_seed_gives_the_same_feed_and_another_gives_another() -> None:
    assert events(300) == events(300)
    other = [event for _, event in islice(DemoFeed(8, START), 300)]
    assert not {event["id"] for event in other} & {event["id"] for _, _, event in events(300)}


@given(st.integers(0, 10**12))
def test_any_position_can_be_reached_at_once(position: int) -> None:
    feed = DemoFeed(7, START).at(position)
    due, event = next(feed)
    assert due == 0.0
    assert feed.position == position + 1
    assert event["id"] == f"demo-7-{position}"


def test_a_restart_goes_on_with_new_ids() -> None:
    later = START + timedelta(days=1)
    before = {event["id"] for _, _, event in events(500)}
    after = list(islice(DemoFeed(7, START).at(500, later), 500))
    assert not before & {event["id"] for _, event in after}
    plain = [event for _, event in after if "2026-05-02T08:" in event.get("occurred_at", "")]
    assert len(plain) > 480


def test_events_come_in_order_at_a_rate_that_sways_around_its_mean() -> None:
    due = [when for _, when, _ in events(7_200)]
    assert all(first < second for first, second in pairwise(due))
    assert due[-1] == pytest.approx(600, rel=0.02)
    per_second = Counter(int(when) for when in due)
    assert min(per_second[second] for second in range(590)) >= 5
    assert max(per_second.values()) <= 21


def test_an_event_occurs_when_it_is_due() -> None:
    feed = DemoFeed(7, START)
    for number, due, event in events(200):
        if feed.flavour(number) in ("plain", "burst"):
            difference = datetime.fromisoformat(event["occurred_at"]) - START - timedelta(seconds=due)
            assert abs(difference) < timedelta(seconds=0.002)


def test_a_food_poisoning_shows_within_two_seconds() -> None:
    sick: dict[str, set[str]] = defaultdict(set)
    for _, due, event in events(60):
        text = event.get("text", "") if event.get("category") == "food-safety" and due < 2 else ""
        if any(word in text for word in ("食物中毒", "腹泻", "呕吐")):
            sick[event["enterprise"]["id"]].add(event["reporter"]["phone"])
    assert max(len(reporters) for reporters in sick.values()) >= 6


def test_the_first_minute_has_every_kind_of_burst_about_one_subject_each() -> None:
    subjects: dict[str, Counter[str]] = defaultdict(Counter)
    for number, due, event in events(600):
        burst = burst_at(number)
        if burst is not None:
            assert due < 60
            subjects[burst[0]][event.get("enterprise", {}).get("id") or event["address"]] += 1
    assert set(subjects) == {"food-poisoning", "gym-run-off", "refund-refused", "elevator", "odour"}
    assert all(list(counts.values()) == [8] for counts in subjects.values())


def test_later_bursts_meet_other_enterprises() -> None:
    feed = DemoFeed(7, START)
    victims = set()
    for cycle in range(0, 60, 15):
        victims.add(feed.event(cycle * 600 + 2)["enterprise"]["id"])
    assert len(victims) == 4


def test_a_duplicate_is_the_same_event_again_and_some_offenders_come_back() -> None:
    feed = DemoFeed(7, START)
    seen: dict[str, dict[str, Any]] = {}
    repeated = 0
    offenders: Counter[str] = Counter()
    for _, _, event in events(6_000):
        if event["id"] in seen:
            repeated += 1
            assert seen[event["id"]] == event
        seen[event["id"]] = event
        offenders[event.get("enterprise", {}).get("id", "")] += 1
    assert 100 < repeated < 300
    del offenders[""]
    assert offenders.most_common(1)[0][1] > 30
    assert feed.position == 0


def test_kinds_are_mixed_and_a_few_events_are_late() -> None:
    kinds = Counter(event["kind"] for _, _, event in events(5_000))
    assert set(kinds) == set(TOPIC_OF_KIND)
    assert min(kinds.values()) > 300
    late = [event for _, _, event in events(5_000) if event.get("occurred_at", "").startswith("2026-01")]
    assert 3 < len(late) < 60


def test_a_start_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        DemoFeed(7, datetime(2026, 1, 1))  # noqa: DTZ001
