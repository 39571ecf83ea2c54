"""How long a fetch may wait, without a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams.transport.wait import PATIENCE_MS, QUIET_AFTER, QUIET_MS, Quiet, give_time, wait_ms


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], 10),
        ([(5, 5), (0, 0)], 10),
        ([(5, None)], 10),  # nothing is known yet
        ([(5, 5), (4, 5)], PATIENCE_MS),
        ([(0, 900)], PATIENCE_MS),
    ],
)
def test_a_fetch_has_time_only_when_there_is_something_to_read(
    places: list[tuple[int, int | None]], expected: int
) -> None:
    assert wait_ms(10, places) == expected
    assert wait_ms(10, places, quiet=True) == max(expected, QUIET_MS)
    assert wait_ms(60_000, places) == wait_ms(60_000, places, quiet=True) == 60_000


class Fetcher:
    """What of aiokafka's is looked at."""

    def __init__(self) -> None:
        self._fetch_max_wait_ms = 10
        self._records: dict[str, object] = {}

    def _get_actions_per_node(self, assignment: Any) -> int:
        return self._fetch_max_wait_ms


def state(position: int, highwater: int | None, *, valid: bool = True, paused: bool = False) -> Any:
    return SimpleNamespace(position=position, highwater=highwater, has_valid_position=valid, paused=paused)


def test_only_partitions_that_are_asked_for_give_a_fetch_time() -> None:
    fetcher = Fetcher()
    give_time(fetcher)

    def waits(**states: Any) -> int:
        return int(fetcher._get_actions_per_node(SimpleNamespace(tps=list(states), state_value=states.__getitem__)))

    assert waits(one=state(1, 1), two=state(1, 2)) == PATIENCE_MS
    assert waits(one=state(1, 1), two=state(2, 2)) == 10  # and it is short again
    assert waits(one=state(1, 2, paused=True), two=state(0, 2, valid=False)) == 10
    fetcher._records["one"] = object()  # fetched, and waiting for the stage
    assert waits(one=state(1, 2)) == 10


def test_fetches_are_fewer_once_nothing_has_come_for_a_while_and_as_before_with_the_first_record() -> None:
    now = 100.0
    fetcher = Fetcher()
    give_time(fetcher, Quiet(lambda: now))

    def waits(position: int, **more: Any) -> int:
        states = {"one": state(position, position), **more}
        return int(fetcher._get_actions_per_node(SimpleNamespace(tps=list(states), state_value=states.__getitem__)))

    assert waits(1) == 10
    now += QUIET_AFTER - 0.1
    assert waits(1) == 10
    now += 0.2
    assert waits(1) == QUIET_MS
    assert waits(2) == 10
    now += QUIET_AFTER
    assert waits(2) == QUIET_MS
    assert waits(2, two=state(0, 0)) == 10, "another partition is asked for"
    now += QUIET_AFTER
    assert waits(2, two=state(0, 7)) == PATIENCE_MS, "but there is something to read"
