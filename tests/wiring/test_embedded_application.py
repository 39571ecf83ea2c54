"""What joins the parts of the system on one machine: how far its clock may go, and the order in which it stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jianguan.clock import SystemClock
from jianguan.domain.trace import Records
from jianguan.settings import Settings
from jianguan.wiring import embedded as module
from jianguan.wiring.embedded import EmbeddedApplication
from tests.sinks.webhooks.test_desk import World, notice, receiver


async def test_what_was_handed_to_the_recorder_is_written_before_it_ends_and_the_time_for_it_is_bounded(
    tmp_path: Path,
) -> None:
    done: list[str] = []
    limits: list[float] = []

    def notes(what: str) -> Any:
        async def note() -> None:
            done.append(what)

        return note

    async def drain(limit: float) -> None:
        limits.append(limit)
        done.append("rows")

    application = EmbeddedApplication(Settings(data=tmp_path), SystemClock(), demo=False)
    application._system = cast(Any, SimpleNamespace(stop=notes("stages")))
    application._parts = cast(
        Any,
        SimpleNamespace(
            pipeline=SimpleNamespace(drain=drain, stop=notes("recorder")),
            sender=SimpleNamespace(close=notes("webhooks")),
        ),
    )
    await application.stop()
    assert done == ["stages", "rows", "recorder", "webhooks"]
    assert 0 < limits[0] <= module.WRITE_UNTIL


@pytest.mark.parametrize(
    ("waiting", "replayed", "expected"), [(None, None, None), (5, None, 5), (None, 7, 7), (5, 7, 5), (9, 7, 7)]
)
async def test_the_clock_goes_ahead_neither_of_what_is_read_again_nor_of_what_waits_to_be_let_in(
    waiting: int | None, replayed: int | None, expected: int | None, tmp_path: Path
) -> None:
    application = EmbeddedApplication(Settings(data=tmp_path), SystemClock(), demo=False)
    application._gateway = cast(Any, SimpleNamespace(oldest_waiting=lambda: waiting))
    application._journal = cast(Any, SimpleNamespace(oldest=lambda: replayed))
    application._replayed = None if replayed is None else (replayed, replayed)
    assert await application._oldest_on_its_way() == expected


async def test_what_became_of_deliveries_is_told_again_when_a_broker_has_gone_with_it(tmp_path: Path) -> None:
    """Nobody tells it from the journal: the event that led to them may have been stored long ago."""
    world = World(receiver("a"))
    world.accept(notice())
    async with world.running():
        await world.until(lambda: world.states() == ["delivered"])
    world.told = Records()  # the store took none of it, and the broker that had it is gone
    nothing: Any = SimpleNamespace(hand_over=lambda _: asyncio.sleep(0), follow=lambda _: ())
    parts: Any = SimpleNamespace(
        desk=world.desk, outbox=SimpleNamespace(emit=world.emit), pipeline=nothing, rulebook=nothing
    )
    await EmbeddedApplication(Settings(data=tmp_path), SystemClock(), demo=False)._resume(parts)
    assert world.states() == ["delivered"]
    assert [step.what for step in world.told.trace] == ["delivered"]
