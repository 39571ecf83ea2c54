"""When the figures of the first page are counted, and when they are told again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.errors import UnavailableError
from sinks.archive_overview import Figures
from tests.contract.samples import NOW


class CountedStore:
    """Answers every question for a number with how many events it has. A question takes `takes` seconds."""

    def __init__(self, clock: VirtualClock, takes: float) -> None:
        self.events = 1
        self.away = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._clock = clock
        self._takes = takes
        self._one = threading.Lock()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        assert self.goes_on.wait(10)
        if self.away:
            raise UnavailableError("away")
        with self._one:
            self._clock.advance(timedelta(seconds=self._takes))
        return [] if "GROUP BY" in sql else [(self.events, self.events)]

    def blocks(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[tuple[Any, ...]]]:
        raise NotImplementedError

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[Sequence[Any]]]:
        raise NotImplementedError

    def write(self, records: object, token: str) -> None: ...
    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None: ...
    def maintain(self) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(from_millis(NOW))


@pytest.fixture
def slow(clock: VirtualClock) -> CountedStore:
    return CountedStore(clock, 0.1)


@pytest.fixture
def figures(clock: VirtualClock, slow: CountedStore) -> Figures:
    return Figures(slow, clock, lambda most: [])


def counted_again() -> None:
    """Until what counts beside the questions has ended."""
    for thread in threading.enumerate():
        if thread.name == "overview":
            thread.join(10)


def rest_over(clock: VirtualClock) -> None:
    clock.advance(timedelta(seconds=23))  # eleven questions, twenty times


def test_a_small_store_is_counted_each_time(clock: VirtualClock) -> None:
    store = CountedStore(clock, 0.001)
    figures = Figures(store, clock, lambda most: [])
    assert figures.overview(NOW).events_total == 1
    store.events = 2
    assert figures.overview(NOW).events_total == 2


def test_what_took_long_to_count_is_told_again_for_a_while(figures: Figures, slow: CountedStore) -> None:
    assert figures.overview(NOW).events_total == 1
    slow.events = 2
    assert figures.overview(NOW).events_total == 1


def test_nobody_waits_while_the_next_figures_are_counted(
    figures: Figures, slow: CountedStore, clock: VirtualClock
) -> None:
    figures.overview(NOW)
    rest_over(clock)
    slow.events = 2
    slow.goes_on.clear()
    assert [figures.overview(NOW).events_total for _ in range(3)] == [1, 1, 1]
    slow.goes_on.set()
    counted_again()
    assert figures.overview(NOW).events_total == 2


def test_an_old_answer_is_not_told(figures: Figures, slow: CountedStore, clock: VirtualClock) -> None:
    figures.overview(NOW)
    clock.advance(timedelta(hours=1))
    slow.events = 2
    assert figures.overview(NOW).events_total == 2


def test_a_store_that_is_away_is_noticed_once_the_answer_is_old(
    figures: Figures, slow: CountedStore, clock: VirtualClock
) -> None:
    figures.overview(NOW)
    rest_over(clock)
    slow.away = True
    assert figures.overview(NOW).events_total == 1
    counted_again()
    clock.advance(timedelta(hours=1))
    with pytest.raises(UnavailableError):
        figures.overview(NOW)
    slow.away = False
    assert figures.overview(NOW).open_cases == 1
