"""Sends records to the server in batches and accounts for every one. The core of `ingest`, without its files.

Batches are lists of lines (bytes, each one record). Waiting and time are passed in. It must not know CSV, mappings
or terminals.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal

import httpx

from jianguan.cli.server import ServerAddress, error_of, not_running
from jianguan.clock import Clock
from jianguan.domain.event import OUTCOMES
from jianguan.errors import JianguanError, UnavailableError

BATCH_BYTES: Final = 4_000_000  # before gzip; the server takes more
RECORD_BYTES: Final = 1_000_000  # of one record; the server takes a little more
IN_FLIGHT: Final = 3
LONGEST_WAIT: Final = 30.0  # seconds between two tries
GIVE_UP: Final = 120.0  # seconds in which no batch was taken
_FIRST_WAIT: Final = 0.5
_POLL: Final = (0.1, 0.2, 0.3, 0.5, 1.0)

Batch = list[bytes]
Sleep = Callable[[float], Awaitable[None]]


def batches(lines: Iterable[bytes], rows: int, size: int = BATCH_BYTES) -> Iterator[Batch]:
    """Lines in their order, at most `rows` and, unless one line alone is larger, `size` bytes in a batch."""
    batch: Batch = []
    held = 0
    for line in lines:
        if batch and (len(batch) >= rows or held + len(line) > size):
            yield batch
            batch, held = [], 0
        batch.append(line)
        held += len(line) + 1
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do after a try: it is `done`, `wait` and try again, `split` the batch, or `fail`."""

    what: Literal["done", "wait", "split", "fail"]
    seconds: float = 0.0


def back_off(attempt: int) -> float:
    """Seconds to wait after the try number `attempt`, from 0: half a second, doubled, at most LONGEST_WAIT."""
    return float(min(LONGEST_WAIT, _FIRST_WAIT * 2 ** min(attempt, 10)))


def decide(status: int | None, retry_after: str, attempt: int) -> Decision:
    """What an answer means; `status` is None when there was none."""
    if status in (202, 200, 422):  # 422: every row is invalid, and every row is kept in quarantine
        return Decision("done")
    if status == 413:
        return Decision("split")
    if status is None or status in (408, 429, 500, 502, 503, 504):
        asked = float(retry_after) if retry_after.isdigit() else 0.0
        return Decision("wait", min(max(asked, back_off(attempt)), LONGEST_WAIT * 2))
    return Decision("fail")


@dataclass(slots=True)
class Tally:
    """What was sent and what became of it."""

    sent: int = 0
    refused: int = 0  # that the server said are invalid; they are in quarantine
    before: dict[str, int] = field(default_factory=dict)  # of the same submission, before this run
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    def update(self, counts: dict[str, int]) -> None:
        """Takes the server's counts of the submission, without those from before this run."""
        self.outcomes = {name: counts.get(name, 0) - self.before.get(name, 0) for name in OUTCOMES}

    @property
    def recorded(self) -> int:
        return sum(self.outcomes.values())

    @property
    def missing(self) -> int:
        return max(0, self.sent - self.recorded)

    @property
    def complete(self) -> bool:
        """Whether every row is accounted for, and none twice."""
        return self.recorded == self.sent


def counts_of(body: Any) -> dict[str, int]:
    """Records by outcome, from the answer of GET /v1/submissions/{id}."""
    outcomes = body.get("outcomes", body) if isinstance(body, dict) else {}
    return {name: int(outcomes.get(name, 0)) for name in OUTCOMES}


def _raise_first(done: Iterable[asyncio.Task[None]]) -> None:
    """Looks at every task, so that none fails unseen, and raises the first error."""
    errors = [error for error in [task.exception() for task in done] if error is not None]
    if errors:
        raise errors[0]


class Uploader:
    """One run of one submission against one server."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: ServerAddress,
        submission: str,
        clock: Clock,
        chance: Random,
        sleep: Sleep = asyncio.sleep,
        progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self._http = http
        self._address = address
        self._submission = submission
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._progress = progress
        self._last_taken = clock.monotonic()
        self.tally = Tally()

    async def begin(self) -> None:
        """Asks what is already recorded of this submission. UnavailableError when no server is there."""
        try:
            self.tally.before = await self._settled()
        except httpx.ConnectError:
            raise not_running(self._address) from None
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self._address.url} does not answer: {type(error).__name__}") from None
        self._last_taken = self._clock.monotonic()

    async def _settled(self) -> dict[str, int]:
        """What an earlier run left may still be on its way: two equal answers a second apart."""
        counts = await self.counts()
        while any(counts.values()):
            await self._sleep(1.0)
            again = await self.counts()
            if again == counts:
                break
            counts = again
        return counts

    async def counts(self) -> dict[str, int]:
        """What the server has recorded of this submission: nothing yet is zeros. JianguanError."""
        response = await self._http.get(f"/v1/submissions/{self._submission}")
        if response.status_code == 404:
            return dict.fromkeys(OUTCOMES, 0)
        if not response.is_success:
            raise error_of(response)
        try:
            return counts_of(response.json())
        except (ValueError, TypeError):
            raise UnavailableError(f"{self._address.url} is not a jianguan server") from None

    async def send_all(self, source: Iterator[Batch], in_flight: int = IN_FLIGHT) -> None:
        """Sends every batch, at most `in_flight` at once, started in order. What fails stops the rest."""
        running: set[asyncio.Task[None]] = set()
        try:
            while (batch := await asyncio.to_thread(next, source, None)) is not None:
                running.add(asyncio.create_task(self._send(batch)))
                if len(running) >= in_flight:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    _raise_first(done)
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                _raise_first(done)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _send(self, batch: Batch) -> None:
        # One key over all tries: a batch whose answer was lost is neither taken nor counted a second time.
        key = f"{self._chance.getrandbits(128):032x}"
        body = await asyncio.to_thread(gzip.compress, b"\n".join(batch), 1)
        attempt = 0
        while True:
            response = await self._post(body, key)
            status = response.status_code if response is not None else None
            after = response.headers.get("Retry-After", "") if response is not None else ""
            decision = decide(status, after, attempt)
            if decision.what == "done":
                assert response is not None
                self._taken(batch, response)
                return
            if decision.what == "split" and len(batch) > 1:
                half = len(batch) // 2
                await self._send(batch[:half])
                await self._send(batch[half:])
                return
            if decision.what != "wait":
                assert response is not None
                raise error_of(response)
            await self._before_next_try(decision, response)
            attempt += 1

    async def _before_next_try(self, decision: Decision, response: httpx.Response | None) -> None:
        if self._clock.monotonic() - self._last_taken > GIVE_UP:
            raise UnavailableError(
                f"the server has taken nothing for {GIVE_UP:g} seconds"
                f" ({error_of(response) if response is not None else 'no answer'});"
                f" {self.tally.sent} rows were sent. Running the same command again is harmless"
            )
        await self._sleep(decision.seconds)

    async def _post(self, body: bytes, key: str) -> httpx.Response | None:
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Idempotency-Key": key,
            "Jianguan-Submission": self._submission,
        }
        try:
            return await self._http.post("/v1/events", content=body, headers=headers)
        except httpx.TransportError:
            return None

    def _taken(self, batch: Batch, response: httpx.Response) -> None:
        try:
            reply = response.json()
            accepted, refused = int(reply["accepted"]), int(reply["quarantined"])
        except (ValueError, KeyError, TypeError):
            raise JianguanError(f"{self._address.url} is not a jianguan server: it did not count the rows") from None
        if accepted + refused != len(batch):
            raise JianguanError(f"the server counted {accepted + refused} rows in a batch of {len(batch)}")
        self.tally.sent += len(batch)
        self.tally.refused += refused
        self._last_taken = self._clock.monotonic()
        self._progress(self.tally)

    async def account(self, patience: float) -> bool:
        """Waits until every row sent is accounted for, or for `patience` seconds without any progress."""
        last_change = self._clock.monotonic()
        polls = 0
        while not self.tally.complete:
            try:
                counts = await self.counts()
            except (UnavailableError, httpx.TransportError):
                counts = {}
            known = self.tally.recorded
            if counts:
                self.tally.update(counts)
            if self.tally.recorded != known:
                last_change, polls = self._clock.monotonic(), 0
                self._progress(self.tally)
            if self.tally.complete or self.tally.recorded > self.tally.sent:
                break
            if self._clock.monotonic() - last_change > patience:
                break
            await self._sleep(_POLL[min(polls, len(_POLL) - 1)])
            polls += 1
        return self.tally.complete
