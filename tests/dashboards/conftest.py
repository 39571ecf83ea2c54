"""An app over the world in memory, and a client that speaks to it without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from dashboards import Dependencies, LiveFeed, create_app
from jianguan.clock import VirtualClock
from tests.dashboards.fakes import World
from tests.dashboards.sample import dependencies, fill


@dataclass
class Site:
    """One app and everything behind it."""

    app: FastAPI
    client: httpx.AsyncClient
    world: World
    feed: LiveFeed
    clock: VirtualClock
    deps: Dependencies

    async def page(self, path: str, language: str = "zh") -> httpx.Response:
        """A page as a browser asks for it."""
        return await self.client.get(path, headers={"Accept": "text/html", "Accept-Language": language})

    async def send(
        self, content: str | bytes, content_type: str = "application/json", **headers: str
    ) -> httpx.Response:
        """An upload."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/v1/events", content=content, headers={"Content-Type": content_type, **named})


Build = Callable[..., Site]


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """Builds sites; `filled` puts the sample data in, other names change the dependencies."""
    clients: list[httpx.AsyncClient] = []

    def make(filled: bool = False, **changes: Any) -> Site:
        clock = VirtualClock(datetime(2026, 11, 23, 6, 0, tzinfo=UTC))
        world = World(clock)
        if filled:
            fill(world, clock)
        feed = LiveFeed(clock, max_clients=3, queue=16, ring=8)
        deps = dependencies(world, feed, **changes)
        app = create_app(deps)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        clients.append(client)
        return Site(app, client, world, feed, clock, deps)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def site(build: Build) -> Site:
    """An empty one."""
    return build()


@pytest.fixture
def filled(build: Build) -> Site:
    """One with the sample data."""
    return build(filled=True)
