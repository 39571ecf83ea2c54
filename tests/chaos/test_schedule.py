"""The schedule is a function of its seed, and leaves something to disturb."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import GAP, LASTS, MOST_RULES, SPARE, moments, plan

seeds = st.integers(0, 2**32)
lengths = st.floats(0, 900)
crews = st.integers(1, 5)


@given(seeds, lengths, crews)
def test_a_seed_gives_the_same_schedule_every_time(seed: int, seconds: float, workers: int) -> None:
    assert plan(seed, seconds, workers) == plan(seed, seconds, workers)


@given(seeds, st.floats(60, 900), crews)
def test_a_longer_run_of_a_seed_begins_like_a_shorter_one(seed: int, seconds: float, workers: int) -> None:
    short, long = plan(seed, seconds / 2, workers), plan(seed, seconds, workers)
    assert long[: len(short)] == short


def test_different_seeds_give_different_schedules() -> None:
    assert len({plan(seed, 120, 3) for seed in range(50)}) == 50


@given(seeds, lengths, crews)
def test_everything_begins_in_time_and_in_order_and_lasts_as_long_as_its_kind_may(
    seed: int, seconds: float, workers: int
) -> None:
    actions = plan(seed, seconds, workers)
    assert [action.at for action in actions] == sorted(action.at for action in actions)
    assert all(0 < action.at <= seconds + 0.01 for action in actions)
    for action in actions:
        least, most = LASTS[action.kind]
        assert least - 0.01 <= action.lasts <= most + 0.01


@given(seeds, lengths, crews)
def test_there_is_always_a_worker_and_never_a_crowd(seed: int, seconds: float, workers: int) -> None:
    there = workers
    for action in plan(seed, seconds, workers):
        there += {"add-worker": 1, "remove-worker": -1}.get(action.kind, 0)
        assert 1 <= there <= workers + SPARE


@given(seeds, crews)
def test_a_run_that_is_long_enough_has_every_kind_of_fault(seed: int, workers: int) -> None:
    # One deck, and another one because a card may have been turned into its opposite.
    seconds = (2 * len(LASTS) + 1) * GAP[1]
    found = {action.kind for action in plan(seed, seconds, workers)}
    assert found >= set(LASTS) - {"add-worker", "remove-worker"}
    assert found & {"add-worker", "remove-worker"}


@given(seeds)
def test_not_too_many_rules_are_added(seed: int) -> None:
    kinds = [action.kind for action in plan(seed, 600, 2, ["add-rule", "kill-worker"])]
    assert 0 < kinds.count("add-rule") <= MOST_RULES


@given(seeds)
def test_only_the_kinds_that_are_asked_for_happen(seed: int) -> None:
    assert {action.kind for action in plan(seed, 300, 2, ["kill-store", "fill-disk"])} <= {"kill-store", "fill-disk"}


@given(seeds, lengths)
def test_what_lasts_is_undone_once_after_it_has_begun(seed: int, seconds: float) -> None:
    actions = plan(seed, seconds, 3)
    found = moments(actions)
    assert [at for at, _, _ in found] == sorted(at for at, _, _ in found)
    for action in actions:
        mine = [(at, begins) for at, begins, each in found if each == action]
        assert mine == ([(action.at, True), (action.at + action.lasts, False)] if action.lasts else [(action.at, True)])
