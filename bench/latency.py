"""How long it takes from an event that was accepted to the webhook that it caused, under a steady load.

    python -m bench.latency [--rate 200] [--seconds 30] [--beside 30]

Starts `jianguan up --no-demo` as a process of its own, posts single events to its HTTP intake at an even rate over a
few kept-alive connections, and takes the webhooks in a receiver of its own. Most events are those of bench.events; one
in twenty is the second complaint about expired food in one enterprise, for which a shipped rule raises an alert.
With `--beside` another receiver of the same department answers so many seconds late: it must make no difference.
Prints one JSON object, milliseconds: from the HTTP answer to the webhook's arrival, and from the sending of the event.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop
from aiohttp import web

from bench.events import events
from jianguan.clock import SystemClock
from jianguan.domain.identifiers import make_uscc, organisation_check_character
from sinks.webhooks.signing import generate_secret

ALERT_EVERY: Final = 20
WARM_UP: Final = 3.0  # seconds whose alerts are not counted
PATIENCE: Final = 15.0  # seconds for the last webhooks
START: Final = 60.0


class Receiver:
    """Takes webhooks and notes when the one about each enterprise came."""

    def __init__(self, late: float) -> None:
        self.arrived: dict[str, float] = {}
        self.requests = 0
        self.late_requests = 0  # to the other address, which answers `late` seconds after
        self._late = late
        self._missing: set[str] = set()
        self._complete = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen; the address."""
        app = web.Application()
        app.router.add_post("/hook", self._take)
        app.router.add_post("/late", self._take_late)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def wait_for(self, subjects: Collection[str], seconds: float) -> None:
        """Until a webhook about each of `subjects` has come, or the time is over."""
        self._missing = set(subjects) - self.arrived.keys()
        self._complete = asyncio.Event()
        if self._missing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), seconds)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests += 1
        if body.get("type") == "alert.raised" and body["data"]["rule"] == "expired-food":
            subject = body["data"]["enterprise"].removeprefix("uscc:")
            self.arrived.setdefault(subject, time.perf_counter())
            self._missing.discard(subject)
            if not self._missing:
                self._complete.set()
        return web.Response(status=204)

    async def _take_late(self, request: web.Request) -> web.Response:
        self.late_requests += 1
        await asyncio.sleep(self._late)
        return web.Response(status=204)


class Sender:
    """Posts events and notes when each that raises an alert was sent and accepted."""

    def __init__(self, address: str, client: aiohttp.ClientSession, rate: float, seconds: float) -> None:
        self._address = address
        self._client = client
        self._rate = rate
        self._count = int(rate * seconds)
        self.sent: dict[str, float] = {}
        self.accepted: dict[str, float] = {}
        self.answers: list[float] = []
        self.refused = 0

    async def run(self) -> None:
        """Send everything, at an even rate."""
        plain = [event.value for event in events(self._count)]
        start = time.perf_counter()
        under_way: set[asyncio.Task[None]] = set()
        for number in range(self._count):
            await asyncio.sleep(max(0.0, start + number / self._rate - time.perf_counter()))
            turn, place = divmod(number, ALERT_EVERY)
            if place in (0, ALERT_EVERY // 2):
                body, subject = _expired(number, turn), _enterprise(turn) if place else ""
            else:
                body, subject = plain[number], ""
            task = asyncio.create_task(self._post(body, subject, number / self._rate >= WARM_UP))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _post(self, body: bytes, subject: str, counted: bool) -> None:
        started = time.perf_counter()
        headers = {"content-type": "application/json"}
        async with self._client.post(self._address + "/v1/events", data=body, headers=headers) as response:
            await response.read()
            if response.status not in (200, 202):
                self.refused += 1
                return
        done = time.perf_counter()
        if counted:
            self.answers.append(done - started)
            if subject:
                self.sent[subject], self.accepted[subject] = started, done


def _enterprise(turn: int) -> str:
    first8 = f"{90_000_000 + turn:08d}"
    return make_uscc("9", "1", "310115", first8 + organisation_check_character(first8))


def _expired(number: int, turn: int) -> bytes:
    event = {
        "id": f"L{number:08d}",
        "source": "12345",
        "kind": "complaint",
        "occurred_at": SystemClock().now().astimezone(UTC).isoformat(timespec="milliseconds"),
        "category": "food-safety",
        "enterprise": {"id": _enterprise(turn), "name": "测试超市有限公司"},
        "region": "310115",
        "text": "在该超市购买的袋装牛奶已经过期三天，商家拒绝退款。",
    }
    return json.dumps(event, ensure_ascii=False).encode()


async def measure(rate: float, seconds: float, late: float) -> dict[str, Any]:
    """Start everything, send, wait for the webhooks, stop everything."""
    receiver = Receiver(late)
    hooks = await receiver.start()
    names = ("hook", "late") if late else ("hook",)
    try:
        with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
            result = await _measure(Path(folder), receiver, [f"{hooks}/{name}" for name in names], rate, seconds)
            return {**result, "requests_to_the_late_receiver": receiver.late_requests} if late else result
    finally:
        await receiver.stop()


async def _measure(
    folder: Path, receiver: Receiver, hooks: Sequence[str], rate: float, seconds: float
) -> dict[str, Any]:
    listed = folder / "receivers.yaml"
    secret = generate_secret(random.Random(1).randbytes).reveal()
    lines = "".join(
        f"  - id: bench-{number}\n    department: market-regulation\n    url: {hook}\n"
        f"    secret: {secret}\n    allow_private: true\n    allow_http: true\n"
        for number, hook in enumerate(hooks)
    )
    listed.write_text(f"receivers:\n{lines}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JIANGUAN_")}
    program = str(Path(sys.executable).with_name("jianguan"))
    command = [program, "up", "--no-demo", "--data", str(folder / "data"), "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**kept, "JIANGUAN_RECEIVERS": str(listed)},
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as client:
            address = await _address(folder / "data" / "server.json", process, client)
            sender = Sender(address, client, rate, seconds)
            before = cpu_seconds(process.pid)
            await sender.run()
            await receiver.wait_for(sender.accepted.keys(), PATIENCE)
            used = cpu_seconds(process.pid) - before
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)
    arrived = receiver.arrived
    known = sorted(sender.accepted.keys() & arrived.keys())
    if not known:
        raise SystemExit(f"no webhook came; {sender.refused} events were refused, {receiver.requests} requests came")
    return {
        "variant": "latency",
        "rate": rate,
        "seconds": seconds,
        "alerts": len(known),
        "missing": len(sender.accepted) - len(known),
        "refused": sender.refused,
        "accepted_to_webhook_ms": _quantiles([max(0.0, arrived[each] - sender.accepted[each]) for each in known]),
        "sent_to_webhook_ms": _quantiles([arrived[each] - sender.sent[each] for each in known]),
        "server_cpu_ms_per_event": round(used / (rate * seconds) * 1000, 2),
        "http_answer_ms": _quantiles(sender.answers),
    }


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time of one process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def url_in(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["url"])
    except (FileNotFoundError, ValueError):
        return None


async def _address(file: Path, process: asyncio.subprocess.Process, client: aiohttp.ClientSession) -> str:
    deadline = time.perf_counter() + START
    while time.perf_counter() < deadline:
        if process.returncode is not None:
            raise SystemExit(f"jianguan up ended with {process.returncode}")
        await asyncio.sleep(0.2)
        address = await asyncio.to_thread(url_in, file)
        if address is None:
            continue
        async with client.get(address + "/readyz") as response:
            if response.status == 200:
                return address
    raise SystemExit("jianguan up was not ready in time")


def _quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered) * 1000, 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 1),
        "max": round(ordered[-1] * 1000, 1),
    }


def main() -> None:
    """Parse arguments, measure once, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--beside", type=float, default=0.0, help="seconds that another receiver takes to answer")
    arguments = parser.parse_args()
    result = uvloop.run(measure(arguments.rate, arguments.seconds, arguments.beside))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
