"""Sending: nothing is lost and nothing is counted wrong, whatever the server answers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.cli.server import ServerAddress
from jianguan.cli.upload import GIVE_UP, Decision, Tally, Uploader, back_off, batches, decide
from jianguan.clock import VirtualClock
from jianguan.errors import ConfigurationError, InputError, JianguanError, UnavailableError

ADDRESS = ServerAddress("http://127.0.0.1:8600", "--server")


@given(st.lists(st.binary(max_size=9)), st.integers(1, 5), st.integers(1, 30))
def test_batches_keep_every_line_in_order_and_their_limits(lines: list[bytes], rows: int, size: int) -> None:
    made = list(batches(lines, rows, size))
    assert [line for batch in made for line in batch] == lines
    assert all(1 <= len(batch) <= rows for batch in made)
    assert all(len(batch) == 1 or sum(len(line) + 1 for line in batch) <= size + 1 for batch in made)


@pytest.mark.parametrize(
    ("status", "after", "decision"),
    [
        (202, "", Decision("done")),
        (422, "", Decision("done")),
        (429, "7", Decision("wait", 7.0)),
        (503, "", Decision("wait", 0.5)),
        (None, "", Decision("wait", 0.5)),
        (429, "999999", Decision("wait", 60.0)),
        (429, "Wed, 21 Oct", Decision("wait", 0.5)),
        (413, "", Decision("split")),
        (401, "", Decision("fail")),
        (400, "", Decision("fail")),
    ],
)
def test_an_answer_decides_what_is_done(status: int | None, after: str, decision: Decision) -> None:
    assert decide(status, after, 0) == decision


def test_waiting_doubles_up_to_a_limit() -> None:
    assert [back_off(attempt) for attempt in (0, 1, 2, 100)] == [0.5, 1.0, 2.0, 30.0]


@given(st.integers(0, 100), st.integers(0, 130))
def test_rows_are_complete_when_each_is_recorded_once(sent: int, recorded: int) -> None:
    tally = Tally(sent=sent, before={"accepted": 5})
    tally.update({"accepted": 5 + recorded})
    assert tally.complete == (recorded == sent)


class Server:
    """Takes lines like the real one: a line is accepted once, again it is a duplicate; `bad` is quarantined; a request
    that comes again under its key is answered but counted no second time."""

    def __init__(self, *faults: Callable[[], httpx.Response], loses_answers: int = 0) -> None:
        self.faults = list(faults)
        self.loses_answers = loses_answers
        self.seen: set[bytes] = set()
        self.keys: list[str] = []  # of every request, in order
        self.taken: set[str] = set()  # keys of those that were counted
        self.counts = {"accepted": 0, "duplicate": 0, "late": 0, "quarantined": 0}
        self.delay = 2  # answers to polls that do not yet show the last batch
        self.largest = 10_000
        self.received: list[list[bytes]] = []
        self.refuses: Callable[[bytes], bool] = b"bad".__eq__

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.delay -= 1
            if not any(self.counts.values()) or self.delay > 0:
                return httpx.Response(404, json={"code": "unknown-submission"})
            return httpx.Response(200, json={"submission": "s", "outcomes": self.counts})
        assert request.headers["jianguan-submission"] == "s"
        key = request.headers["idempotency-key"]
        self.keys.append(key)
        if self.faults:
            return self.faults.pop(0)()
        lines = gzip.decompress(request.content).split(b"\n")
        if len(lines) > self.largest:
            return httpx.Response(413, json={"code": "too-many-rows"})
        self.received.append(lines)
        bad = sum(map(self.refuses, lines))
        for line in lines if key not in self.taken else []:
            name = "quarantined" if self.refuses(line) else "duplicate" if line in self.seen else "accepted"
            self.counts[name] += 1
            self.seen.add(line)
        self.taken.add(key)
        if self.loses_answers:
            self.loses_answers -= 1
            raise httpx.ReadError("gone")
        status = 202 if bad < len(lines) else 422
        return httpx.Response(status, json={"accepted": len(lines) - bad, "quarantined": bad, "rows": len(lines)})


def answer(status: int, **headers: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, headers=headers, json={"code": "c", "detail": "d"})


def refused() -> httpx.Response:
    raise httpx.ConnectError("refused")


async def upload(server: Server, lines: list[bytes], rows: int = 2, **options: Any) -> tuple[Tally, list[float]]:
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(timedelta(seconds=seconds))

    async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url=ADDRESS.url) as http:
        uploader = Uploader(http, ADDRESS, "s", clock, Random(7), sleep)
        await uploader.begin()
        await uploader.send_all(batches(lines, rows), **options)
        await uploader.account(patience=5.0)
        return uploader.tally, waits


LINES = [f"line {number}".encode() for number in range(7)]


async def test_every_row_is_sent_and_accounted_for() -> None:
    tally, _ = await upload(Server(), [*LINES, b"bad", LINES[0]])
    assert tally.sent == 9
    assert tally.outcomes == {"accepted": 7, "duplicate": 1, "late": 0, "quarantined": 1}
    assert tally.complete


async def test_one_batch_at_a_time_keeps_the_order_of_the_file() -> None:
    server = Server()
    await upload(server, LINES, in_flight=1)
    assert [line for batch in server.received for line in batch] == LINES


async def test_a_batch_of_only_invalid_rows_is_no_failure() -> None:
    tally, _ = await upload(Server(), [b"bad", b"bad"])
    assert tally.complete
    assert tally.outcomes["quarantined"] == 2


async def test_a_busy_server_is_given_the_time_that_it_asks_for() -> None:
    tally, waits = await upload(Server(answer(429, **{"Retry-After": "9"})), LINES)
    assert tally.complete
    assert 9.0 in waits


async def test_a_server_that_comes_back_gets_every_row() -> None:
    tally, _ = await upload(Server(refused, answer(503), refused, answer(502)), LINES)
    assert tally.complete
    assert tally.outcomes["accepted"] == 7


async def test_a_batch_whose_answer_was_lost_is_counted_once() -> None:
    tally, _ = await upload(Server(loses_answers=1), LINES)
    assert tally.outcomes == {"accepted": 7, "duplicate": 0, "late": 0, "quarantined": 0}
    assert tally.complete


async def test_each_batch_has_its_own_key_and_keeps_it_over_its_tries() -> None:
    server = Server(answer(503), refused, answer(429))
    await upload(server, LINES, in_flight=1)
    first, *others = server.keys
    assert others[:3] == [first] * 3
    assert len({first, *others}) == 4
    assert all(len(key) == 32 for key in server.keys)


async def test_the_halves_of_a_batch_that_was_too_large_have_new_keys() -> None:
    server = Server()
    server.largest = 1
    await upload(server, LINES[:2])
    assert len(set(server.keys)) == 3


async def test_a_batch_that_is_too_large_is_halved() -> None:
    server = Server()
    server.largest = 2
    tally, _ = await upload(server, LINES, rows=7)
    assert tally.complete
    assert max(len(batch) for batch in server.received) <= 2


async def test_a_row_that_is_too_large_alone_stops_with_its_reason() -> None:
    server = Server()
    server.largest = 0
    with pytest.raises(InputError):
        await upload(server, LINES)


async def test_a_second_run_of_the_same_submission_counts_only_its_own_rows() -> None:
    server = Server()
    server.counts.update(accepted=7, quarantined=3)
    server.seen.update(LINES)
    server.delay = 0
    tally, _ = await upload(server, LINES)
    assert tally.outcomes == {"accepted": 0, "duplicate": 7, "late": 0, "quarantined": 0}
    assert tally.complete


async def test_rows_that_never_show_up_are_missing_after_some_patience() -> None:
    server = Server()
    server.delay = 10**9
    tally, waits = await upload(server, LINES)
    assert not tally.complete
    assert tally.missing == 7
    assert 4.0 < sum(waits) < 10.0


async def test_a_server_that_takes_nothing_for_long_is_given_up() -> None:
    with pytest.raises(UnavailableError, match="harmless"):
        await upload(Server(*[answer(503)] * 1000), LINES, in_flight=1)
    assert GIVE_UP > 30


class Slow(Server):
    """Takes each batch at the second try, and lets the sender wait as long as it may for that."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.headers["idempotency-key"] not in self.keys:
            self.keys.append(request.headers["idempotency-key"])
            return answer(503, **{"Retry-After": "60"})()
        return super().__call__(request)


async def test_a_server_that_is_slow_but_takes_every_batch_is_not_given_up() -> None:
    tally, waits = await upload(Slow(), LINES, in_flight=1)
    assert sum(waits) > GIVE_UP
    assert (tally.sent, tally.complete) == (7, True)


async def test_what_is_under_way_is_left_when_one_batch_fails() -> None:
    server = Server(answer(503), answer(401))

    async def sleep(_: float) -> None:
        await asyncio.Event().wait()  # the other batch would try again, and again

    async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url=ADDRESS.url) as http:
        uploader = Uploader(http, ADDRESS, "s", VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), Random(7), sleep)
        async with asyncio.timeout(20):
            with pytest.raises(ConfigurationError):
                await uploader.send_all(batches(LINES, 2))


async def test_a_wrong_token_stops_at_once() -> None:
    with pytest.raises(JianguanError, match="JIANGUAN_API_TOKEN"):
        await upload(Server(answer(401)), LINES)


async def test_a_server_that_counts_wrong_is_not_believed() -> None:
    def wrong() -> httpx.Response:
        return httpx.Response(202, json={"accepted": 1, "quarantined": 0})

    with pytest.raises(JianguanError, match="counted 1 rows in a batch of 2"):
        await upload(Server(wrong), LINES)
