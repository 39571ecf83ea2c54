"""Server-sent events: what they say, resuming, heartbeats, limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dashboards import Limits
from dashboards.overview import OverviewSource, whole_hour
from dashboards.reads import Reads
from dashboards.stream import Stream
from tests.dashboards.conftest import Build, Site
from tests.dashboards.sample import event, shop


def stream(site: Site) -> Stream:
    return Stream(site.deps, OverviewSource(site.deps, Reads(site.deps.limits)))


async def until(text: AsyncIterator[str], kind: str) -> tuple[str, Any]:
    """The id and data of the next event of a kind."""
    async with asyncio.timeout(10):
        async for block in text:
            fields = dict(line.split(": ", 1) for line in block.strip().splitlines() if not line.startswith(":"))
            if fields.get("event") == kind:
                return fields.get("id", ""), json.loads(fields["data"])
    raise AssertionError(f"the stream ended before {kind}")


async def raise_alert(site: Site, first: int = 0) -> None:
    rows = [event(first + number, **shop(0)) for number in range(3)]
    await site.send("\n".join(map(json.dumps, rows)), "application/x-ndjson")


async def test_an_alert_a_case_and_tasks_are_told_as_they_are_stored(site: Site) -> None:
    text = stream(site).open("")
    await raise_alert(site)
    _, alert = await until(text, "alert")
    assert alert["title_zh"] == "疑似食源性疾病聚集"
    assert alert["region_name"]["zh"] == "上海市徐汇区"
    _, case = await until(text, "case")
    _, task = await until(text, "task")
    assert task["case"] == case["id"]


async def test_an_alert_about_a_product_tells_which(site: Site) -> None:
    text = stream(site).open("")
    await site.send(json.dumps(event(1, category="recall", product="儿童座椅", **shop(0))))
    _, alert = await until(text, "alert")
    assert alert["group_name"] == {"zh": "儿童座椅", "en": "儿童座椅"}


async def test_a_reader_that_comes_back_gets_what_it_missed(site: Site) -> None:
    live = stream(site)
    first = live.open("")
    await raise_alert(site)
    position, _ = await until(first, "alert")
    await first.aclose()
    second = live.open(position)
    _, case = await until(second, "case")
    assert case["id"] in site.world.cases_


@pytest.mark.parametrize("position", ["1-1", "nonsense", "-", "9" * 40, "{started}-999", "{started}-x"])
async def test_a_reader_whose_place_is_unknown_is_told_to_read_again(site: Site, position: str) -> None:
    text = stream(site).open(position.format(started=site.feed.started_at))
    await until(text, "refresh")


async def test_a_reader_that_was_away_too_long_is_told_to_read_again(site: Site) -> None:
    live = stream(site)
    for number in range(0, 12, 3):
        await raise_alert(site, number)
    await until(live.open(f"{site.feed.started_at}-1"), "refresh")


async def test_the_overview_is_told_when_it_changes(site: Site) -> None:
    text = stream(site).open("")
    _, before = await until(text, "overview")
    assert (before["events_total"], before["stale"]) == (0, False)
    await raise_alert(site)
    _, after = await until(text, "overview")
    assert after["events_total"] == 3
    assert after["alerts_by_severity"] == {"high": 1}


async def test_the_overview_counts_changes_of_notices_and_quarantined_records(site: Site) -> None:
    text = stream(site).open("")
    _, before = await until(text, "overview")
    assert before["changes"] == {"delivery": 0, "quarantine": 0}
    await raise_alert(site)
    await site.send('{"id": 1')
    _, after = await until(text, "overview")
    assert after["changes"] == {"delivery": len(site.world.deliveries_), "quarantine": 1}
    assert after["changes"]["delivery"] > 0


async def test_the_overview_says_when_the_store_is_down(build: Build) -> None:
    site = build(limits=Limits(overview_seconds=0))
    text = stream(site).open("")
    await until(text, "overview")
    site.world.down = True
    _, figures = await until(text, "overview")
    assert figures["stale"] is True
    assert figures["events_total"] == 0


async def test_silence_is_broken_by_a_heartbeat(build: Build) -> None:
    site = build(limits=Limits(heartbeat_seconds=1.0))
    text = stream(site).open("")
    await until(text, "overview")
    async with asyncio.timeout(10):
        assert ": still here\n\n" in [await anext(text), await anext(text)]


async def test_too_many_readers_are_told_to_come_back(site: Site) -> None:
    subscriptions = [site.feed.subscribe() for _ in range(3)]
    answer = await site.client.get("/v1/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "too-many-readers")
    assert answer.headers["retry-after"] == "10"
    assert len(subscriptions) == site.feed.clients


async def test_the_watch_over_the_overview_ends_with_its_last_reader(site: Site) -> None:
    live = stream(site)
    text = live.open("")
    await until(text, "overview")
    await text.aclose()
    assert site.feed.clients == 0
    assert live._ticker is not None
    async with asyncio.timeout(5):
        await live._ticker


async def test_a_closing_server_ends_its_streams(site: Site) -> None:
    text = stream(site).open("")
    await until(text, "overview")
    site.feed.close()
    async with asyncio.timeout(5):
        async for _ in text:
            pass


async def test_readers_share_one_reading_of_the_store(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    original = site.world.overview

    def counted(now_ms: int, newest: int = 20) -> Any:
        nonlocal asked
        asked += 1
        return original(now_ms, newest)

    monkeypatch.setattr(site.world, "overview", counted)
    source = OverviewSource(site.deps, Reads(site.deps.limits))
    await asyncio.gather(*(source.current() for _ in range(10)))
    assert asked == 1
    await raise_alert(site)
    figures = (await source.current()).figures
    assert (asked, figures.events_total, figures.alerts_total) == (1, 3, 1)


def test_the_last_hour_has_a_place_for_minutes_without_events() -> None:
    minute = 60_000
    hour = whole_hour([(0, 9), (70 * minute, 4)], 71 * minute + 5)
    assert len(hour) == 60
    assert hour[-2:] == [(70 * minute, 4), (71 * minute, 0)]
    assert sum(count for _, count in hour) == 4


async def test_a_reader_that_takes_nothing_loses_its_place(build: Build) -> None:
    site = build(limits=Limits(unread_seconds=0.05))
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "path": "/v1/stream", "raw_path": b"/v1/stream", "root_path": "", "scheme": "http", "query_string": b"",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    held: list[int] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            held.append(site.feed.clients)
            await asyncio.Event().wait()  # what was sent before is not read

    async with asyncio.timeout(5):
        await site.app(scope, receive, send)
    assert (held, site.feed.clients) == ([1], 0)
