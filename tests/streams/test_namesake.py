"""When a worker may say that another process has its name."""

from __future__ import annotations

from streams.namesake import OFTEN, WITHIN, Namesake

SESSION = 30.0


def lost(namesake: Namesake, at: float) -> None:
    """It was in the group, and is not any more."""
    namesake.answered(at - 3)
    namesake.unknown(at)


def test_a_place_that_is_lost_again_and_again_was_taken_by_another_of_that_name() -> None:
    namesake = Namesake("worker-1", SESSION)
    for turn in range(OFTEN):
        assert not namesake.found
        lost(namesake, 100.0 + 10 * turn)
    assert namesake.found


def test_one_that_was_silent_for_a_session_was_given_up_and_has_no_namesake() -> None:
    namesake = Namesake("worker-1", SESSION)
    for turn in range(OFTEN):
        namesake.answered(1_000.0 * turn)
        namesake.unknown(1_000.0 * turn + SESSION)
    assert not namesake.found


def test_losing_the_place_now_and_then_says_nothing() -> None:
    namesake = Namesake("worker-1", SESSION)
    for turn in range(2 * OFTEN):
        lost(namesake, 100.0 + WITHIN * SESSION * turn)
    assert not namesake.found


def test_a_group_that_never_answered_has_taken_nothing() -> None:
    namesake = Namesake("worker-1", SESSION)
    for turn in range(OFTEN):
        namesake.unknown(100.0 + turn)
    assert not namesake.found


def test_a_worker_without_a_name_has_no_namesake() -> None:
    namesake = Namesake("", SESSION)
    for turn in range(OFTEN):
        lost(namesake, 100.0 + turn)
    assert not namesake.found
