"""Which stored facts were late when they came is told from their receipts as the engine told it then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.fact import Fact, FactRun, runs_of
from rules.engine import Engine
from rules.keys import carry
from rules.lateness import in_time, late_after
from rules.rule import Rule
from tests.rules.support import HOUR, NOW, Running, fact, rule

MINUTE = 60_000


def counting(lateness: str = "1h", **changes: Any) -> Rule:
    """Three in an hour."""
    return rule(window={"size": "1h", "lateness": lateness}, **changes)


def at_once() -> Rule:
    """The same, judged over whole facts."""
    return counting(trigger={"all": [{"count": {"at_least": 3}}]})


def stored(facts: Sequence[Fact], cuts: Sequence[int] = ()) -> list[FactRun]:
    """Facts as the store tells them, in runs that begin at `cuts` too."""
    ordered = sorted(facts, key=lambda each: (each.key, each.time, each.event))
    bounds = [0, *sorted(cuts), len(ordered)]
    return [run for first, end in pairwise(bounds) for run in runs_of(ordered[first:end])]


def kept(runs: Sequence[FactRun], after: int | None = 2 * HOUR, **changes: int) -> list[Fact]:
    return [each for run in in_time(runs, after, **changes) for each in run.rows()]


def came(number: int, time: int, received: int, key: str = "uscc:X") -> Fact:
    """Fact number `number`, its times in minutes from NOW."""
    return fact(number, NOW + time * MINUTE, received_at=NOW + received * MINUTE, key=key, carried=carry(0, []))


@st.composite
def arriving(draw: st.DrawFn) -> list[Fact]:
    """Facts of a few keys in the order of their receipts, none of two of which are the same."""
    plan = draw(
        st.lists(
            st.tuples(st.integers(1, 90), st.integers(0, 400), st.sampled_from(["uscc:A", "uscc:B", "uscc:C"])),
            max_size=40,
        )
    )
    found, now = [], 0
    for number, (pause, age, key) in enumerate(plan):
        now += pause
        found.append(came(number, now - age, now, key))
    return found


def not_late(a_rule: Rule, facts: Sequence[Fact]) -> list[Fact]:
    """Those that an engine added, as they came."""
    engine = Engine(Running((a_rule,)))
    return [each for each in facts if not engine.add(each, each.received_at).late]


@pytest.mark.parametrize("a_rule", [counting(), counting("0s"), at_once()], ids=["counts", "no lateness", "at once"])
@given(facts=arriving(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_kept_is_what_the_engine_did_not_call_late_however_runs_are_cut(
    a_rule: Rule, facts: list[Fact], data: st.DataObject
) -> None:
    runs = stored(facts, data.draw(st.lists(st.integers(0, len(facts)), max_size=8)))
    timely = not_late(a_rule, facts)
    found = kept(runs, late_after(a_rule))
    assert found == [each for run in stored(timely) for each in run.rows()]
    in_parts = kept(runs, late_after(a_rule), most=data.draw(st.integers(0, 10)))
    assert set(found) <= set(in_parts) <= set(facts)


def test_the_oldest_that_is_not_late_is_as_old_as_window_and_lateness_together() -> None:
    newest, oldest, late = came(1, 0, 0), came(2, -120, 1), came(3, -120, 2)
    late = late._replace(time=late.time - 1)
    assert kept(stored([newest, oldest, late])) == [oldest, newest]


def test_of_two_that_were_received_in_one_millisecond_none_makes_the_other_late() -> None:
    assert len(kept(stored([came(1, 0, 0), came(2, -300, 0)]))) == 2
    assert len(kept(stored([came(1, 0, 0), came(2, -300, 0), came(3, -299, 1)]))) == 2, "the third is late"


def test_what_came_later_makes_nothing_late() -> None:
    facts = [came(1, -300, 0), came(2, 0, 1), came(3, 300, 300)]
    assert kept(stored(facts)) == facts


def test_another_key_makes_nothing_late() -> None:
    assert len(kept(stored([came(1, 0, 0, "uscc:A"), came(2, -300, 1, "uscc:B")]))) == 2


@pytest.mark.parametrize("cuts", [range(1, 8), (1, 1, 4), (3,), (7,)], ids=str)
def test_a_key_that_goes_on_over_several_runs_is_judged_as_a_whole(cuts: Sequence[int]) -> None:
    late = [came(1, -300, 10), came(2, -290, 11)]
    timely = [came(3 + number, -100 + 20 * number, number) for number in range(6)]
    others = [came(20, -300, 300, "uscc:A"), came(21, -300, 300, "uscc:Y")]
    found = kept(stored([*late, *timely, *others], cuts))
    assert found == [others[0], *timely, others[1]]


def test_of_a_key_with_very_many_facts_so_many_are_held_and_none_is_lost_that_was_in_time() -> None:
    late = [came(number, -300 + number, 10) for number in range(6)]
    timely = [came(10 + number, -100 + number, 9) for number in range(6)]
    asked: list[int] = []

    def runs() -> Iterator[FactRun]:
        for run in stored([*late, *timely], range(1, 12)):
            asked.append(len(asked))
            yield run

    assert [each for run in in_time(runs(), 2 * HOUR) for each in run.rows()] == timely
    asked.clear()
    first = next(iter(in_time(runs(), 2 * HOUR, most=3)))
    assert (len(asked), first.rows()) == (4, [late[0]])
    assert set(timely) <= set(kept(stored([*late, *timely], range(1, 12)), most=3))


def test_a_run_of_which_nothing_was_received_late_is_handed_on_as_it_is() -> None:
    (run,) = stored([came(1, 0, 5), came(2, 300, 305)])
    (found,) = in_time([run], 2 * HOUR)
    assert found is run


@pytest.mark.parametrize("a_rule", [counting(), at_once()], ids=["counts", "at once"])
def test_rules_that_decide_at_once_have_facts_that_were_late(a_rule: Rule) -> None:
    assert late_after(a_rule) == 2 * HOUR


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"trigger": {"avg": {"of": "amount_fen", "at_least": 9}}}, id="a mean"),
        pytest.param({"cooldown": "1h"}, id="cools down"),
        pytest.param({"inhibited_by": ["other-rule"]}, id="is kept silent"),
        pytest.param({"on": ["alert"], "rules": {"other-rule": 1}, "condition": "true"}, id="looks at alerts"),
    ],
)
def test_receipts_do_not_tell_what_was_late_of_other_rules(changes: dict[str, Any]) -> None:
    facts = [came(1, -300, 1), came(2, 0, 0)]
    after = late_after(counting(**changes))
    assert after is None
    assert kept(stored(facts), after) == facts
