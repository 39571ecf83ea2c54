"""Keys that sleep are what they were, take little room, and are dropped without being woken."""

from __future__ import annotations

import tracemalloc
from itertools import chain, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.fact import Fact
from rules.engine import Engine
from rules.key_states import MOST_ASLEEP, KeyStates, asleep, woken
from rules.keys import Attempt, Kept, KeyState, Run, carry
from rules.rule import Rule
from tests.rules.support import DAY, NOW, Running, fact
from tests.rules.test_facts import loaded

FACT, EVENT = f"ft-{0:024x}", f"ev-{0:024x}"
MOST_BYTES = 800  # of a key with three facts: a million take at most 800 MB

whole = st.integers(-(2**63) + 1, 2**63 - 1)
small = st.integers(-(2**61), 2**61)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
hexes = st.binary(min_size=12, max_size=12).map(bytes.hex)
values = st.none() | texts | whole | st.floats(allow_nan=False)
kept = st.builds(
    Kept,
    time=small,
    id=hexes.map("ft-{}".format),
    event=st.builds("{}-{}".format, st.sampled_from(["ev", "al"]), hexes),
    received_at=small,
    mask=st.integers(0, 2**40),
    values=st.lists(values, max_size=3).map(tuple),
    enterprise_name=st.none() | texts,
    region=st.none() | texts,
    industry=st.none() | texts,
    category=texts,
)
attempts = st.builds(
    Attempt,
    deadline=whole,
    facts=st.lists(kept, max_size=3),
    names=st.lists(texts, max_size=3),
    bound=st.dictionaries(texts, values, max_size=3),
    stage=st.integers(0, 5),
    taken=st.integers(0, 5),
    closed=st.booleans(),
)
runs = st.builds(Run, attempts=st.lists(attempts, max_size=2))
states = st.builds(
    KeyState,
    key=texts,
    facts=st.lists(kept, max_size=4),
    decided=whole,
    raised=st.dictionaries(texts, whole, max_size=3),
    held=st.lists(whole, max_size=3),
    runs=st.dictionaries(whole, runs, max_size=2),
    history_from=st.none() | whole,
    history_until=whole,
    silent=st.lists(st.tuples(whole, whole, texts), max_size=2),
    due=st.none() | whole,
    touched=st.booleans(),
)


@pytest.fixture(scope="module")
def settled() -> Rule:
    """A rule that the clock settles."""
    return loaded(
        condition="present(amount_fen)",
        window={"size": "7d", "lateness": "1d"},
        trigger={"avg": {"of": "amount_fen", "at_least": 1_000}},
    )


def fact_of(number: int, key: str, time: int) -> Fact:
    return fact(
        number, time, key=key, carried=carry(0, [500]), enterprise_name=f"{key}餐饮管理有限公司", region="cn:510104",
        industry="gbt4754:5611", category="food-safety",
    )  # fmt: skip


@given(state=states)
def test_a_key_wakes_as_it_fell_asleep(state: KeyState) -> None:
    sleeping = asleep(state)
    assert sleeping is not None
    assert woken(state.key, sleeping) == state


@pytest.mark.parametrize("told_first", ["history", "facts"])
def test_a_fact_that_history_tells_without_its_subject_is_folded_once(settled: Rule, told_first: str) -> None:
    whole = [fact_of(number, "key", NOW) for number in range(3)]
    bare = [each._replace(enterprise_name=None, region=None, industry=None) for each in whole]
    engine = Engine(Running((settled,)))
    for some in (bare, whole) if told_first == "history" else (whole, bare):
        engine.fold(some)
    assert engine.stats()[settled.id].facts == len(whole)


def test_a_key_of_many_facts_stays_awake(settled: Rule) -> None:
    engine = Engine(Running((settled,)), awake=1)
    many = [fact_of(number, "many", NOW + number) for number in range(MOST_ASLEEP + 1)]
    others = [fact_of(1_000 + number, f"other-{number}", NOW) for number in range(10)]
    engine.fold([*many, *others])
    assert engine.stats()[settled.id].facts == len(many) + len(others)
    assert asleep(KeyState("many", [Kept(1, FACT, EVENT, 1, 0, (), None, None, None, "")] * len(many))) is None


@pytest.mark.parametrize(("name", "value"), [(FACT, "\ud800"), ("ft-7", "any")])
def test_a_key_with_half_of_a_surrogate_pair_or_with_ids_of_another_kind_stays_awake(name: str, value: str) -> None:
    assert asleep(KeyState("key", [Kept(1, name, EVENT, 1, 0, (value,), None, None, None, "")])) is None
    assert asleep(KeyState("key", [Kept(1, FACT, EVENT, 1, 0, ("any",), None, None, None, "")])) is not None


def test_only_so_many_keys_are_awake_beside_the_large_ones() -> None:
    states = KeyStates(awake=3)
    large = {f"large-{number}" for number in range(4)}
    for key in chain(sorted(large), (f"key-{number}" for number in range(100))):
        state = states.made(key)
        state.facts += repeat(Kept(1, FACT, EVENT, 1, 0, (), None, None, None, ""), 100 if key in large else 1)
    awake = [key for key in states if isinstance(states._all[key], KeyState)]
    assert large <= set(awake)
    assert len(awake) <= 3 + 2 * len(large)


@pytest.mark.parametrize("awake", [1, 1_000])
def test_keys_are_dropped_when_they_can_matter_no_more_awake_or_asleep(settled: Rule, awake: int) -> None:
    engine = Engine(Running((settled,)), awake=awake)
    old = [fact_of(number, f"old-{number}", NOW) for number in range(20)]
    engine.fold([*old, fact_of(99, "new", NOW + 30 * DAY)])
    engine.elapse(NOW + 60 * DAY)
    for _ in range(3):
        while engine.forget():
            pass
    stats = engine.stats()[settled.id]
    assert (stats.keys, stats.facts) == (1, 1)


def test_a_key_that_is_asked_when_it_is_due_sleeps_on() -> None:
    states = KeyStates(awake=1)
    states.made("waits").due = 7
    states.made("does not")
    states.made("other")
    assert isinstance(states._all["waits"], bytes)
    assert (states.due("waits"), states.due("does not"), states.due("other"), states.due("unknown")) == (
        7, None, None, None,
    )  # fmt: skip
    assert isinstance(states._all["waits"], bytes)


@settings(max_examples=50)
@given(rows=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 20)), max_size=40), steps=st.integers(1, 5))
def test_how_many_keys_are_awake_changes_no_alert(settled: Rule, rows: list[tuple[str, int]], steps: int) -> None:
    def alerts(awake: int) -> list[list[str]]:
        engine = Engine(Running((settled,)), awake=awake)
        found = []
        for number, (key, day) in enumerate(rows):
            time = NOW + day * DAY
            engine.add(fact(number, time, key=key, received_at=time, carried=carry(0, [number * 300])), time)
            if number % steps == 0:
                found.append(sorted(alert.id for alert in engine.elapse(time + 10 * DAY)))
                engine.forget()
        return [*found, sorted(alert.id for alert in engine.elapse(NOW + 100 * DAY))]

    assert alerts(1) == alerts(1_000)


def test_a_million_keys_of_three_facts_take_at_most_800_mb(settled: Rule) -> None:
    keys = 10_000
    engine = Engine(Running((settled,)), awake=100)
    tracemalloc.start()
    try:
        engine.fold(fact_of(number, f"uscc:{number // 3:018d}", NOW + number % 3) for number in range(3 * keys))
        used = tracemalloc.get_traced_memory()[0] / keys
    finally:
        tracemalloc.stop()
    assert used < MOST_BYTES
    assert engine.stats()[settled.id].bytes / keys == pytest.approx(used, rel=0.3)
