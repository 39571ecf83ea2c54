"""A sender that may send the same upload twice names it, and its records keep their receipts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from dashboards import LiveFeed, create_app
from jianguan.clock import VirtualClock
from tests.dashboards.fakes import World
from tests.dashboards.sample import dependencies, event

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
NDJSON = "application/x-ndjson"


@pytest.fixture
def world() -> World:
    return World(VirtualClock(datetime(2026, 11, 20, 4, tzinfo=UTC)))


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(dependencies(world, LiveFeed(world.clock)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        yield http


def rows(*numbers: int) -> bytes:
    return b"\n".join(json.dumps(event(number)).encode() for number in numbers) + b"\nnot json"


async def send(client: httpx.AsyncClient, world: World, body: bytes, **headers: str) -> list[str]:
    before = len(world.submitted)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.post("/v1/events", content=body, headers={"content-type": NDJSON, **names})
    assert response.status_code == 202, response.text
    return [raw.receipt for raw in world.submitted[before:]]


async def test_a_retry_with_the_same_key_has_the_same_receipts(client: httpx.AsyncClient, world: World) -> None:
    first = await send(client, world, rows(1, 2), idempotency_key=KEY)
    again = await send(client, world, rows(1, 2), idempotency_key=KEY)
    assert first == again
    assert len(set(first)) == 3
    assert all(len(receipt) == 26 and receipt.startswith("r-") for receipt in first)


async def test_the_same_row_twice_in_one_upload_is_two_records(client: httpx.AsyncClient, world: World) -> None:
    receipts = await send(client, world, rows(1, 1), idempotency_key=KEY)
    assert len(set(receipts)) == 3


async def test_receipts_differ_by_key_submission_and_content(client: httpx.AsyncClient, world: World) -> None:
    sent = [
        *await send(client, world, rows(1), idempotency_key=KEY),
        *await send(client, world, rows(1), idempotency_key=KEY.upper()),
        *await send(client, world, rows(1), idempotency_key=KEY, jianguan_submission="other"),
        *await send(client, world, rows(2), idempotency_key=KEY),
    ]
    # The last of them has one row in common with the first: "not json" at the same place.
    assert len(set(sent)) == 7


async def test_without_a_key_the_gateway_makes_the_receipts(client: httpx.AsyncClient, world: World) -> None:
    assert await send(client, world, rows(1)) == ["", ""]


@pytest.mark.parametrize("key", ["", "short", "x" * 65, "with a blank", "schlüssel-lang"])
async def test_a_malformed_key_is_refused_and_nothing_is_taken(
    client: httpx.AsyncClient, world: World, key: str
) -> None:
    headers = [(b"content-type", NDJSON.encode()), (b"idempotency-key", key.encode())]
    response = await client.post("/v1/events", content=rows(1), headers=headers)
    assert response.status_code == 400
    assert response.json()["code"] == "bad-idempotency-key"
    assert world.submitted == []
