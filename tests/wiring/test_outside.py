"""What the pages of a cluster lean on is asked whether it is there, and told apart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jianguan.errors import UnavailableError
from jianguan.settings import load_settings
from jianguan.wiring import outside as module
from jianguan.wiring.outside import Outside
from tests.cluster.kafka import free_ports
from tests.streams.fakes import until


@pytest.fixture
async def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Outside]:
    """Of a cluster that nobody has started; not asked yet."""
    monkeypatch.setattr(module, "ASK_EVERY", 0.001)
    broker, store = free_ports(2)
    settings = load_settings(
        data=tmp_path, broker=f"127.0.0.1:{broker}", store=f"clickhouse://127.0.0.1:{store}/jianguan"
    )
    made = Outside(settings, f"127.0.0.1:{broker}", 2)
    yield made
    await made.close()


@pytest.mark.network
async def test_a_broker_and_a_store_that_are_away_are_told_with_their_reasons(outside: Outside) -> None:
    asking = asyncio.create_task(outside.run())
    await until(lambda: all(outside.failures.values()))
    assert "Connection refused" in outside.failures["store"]
    assert "the brokers do not tell" in outside.failures["broker"]
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_store_that_comes_back_is_well_again_and_an_outage_is_one_line_in_the_log(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([UnavailableError("away")] * 5)

    async def ask() -> None:
        for each in answers:
            raise each

    async def well() -> None: ...

    monkeypatch.setattr(outside, "_ask_store", ask)
    monkeypatch.setattr(outside, "_ask_broker", well)
    caplog.set_level(logging.INFO, "jianguan.wiring.outside")
    asking = asyncio.create_task(outside.run())
    await until(lambda: len(caplog.messages) == 2)
    assert caplog.messages == ["the store does not answer: away", "the store answers again"]
    assert outside.failures == {"broker": "", "store": ""}
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
