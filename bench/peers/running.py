"""Runs one peer over the events of a topic and reads what it put out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.events import SEED, events
from bench.peers.job import FOREVER, HOUR, due
from jianguan.clock import SystemClock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from streams.frames import ALERTS
from streams.topics import TopicName, TopicSpec, ensure_topics
from streams.transport.ends import end_offsets

ROOT: Final = Path(__file__).parents[2]
PARTITIONS: Final = 4
PER_HOUR: Final = 12_000  # events
COMPLAINTS_ONLY: Final = (1, 0, 0)
MOST_LATE: Final = 400  # places: two minutes
LATE_SHARE: Final = 0.1
WAKES_WITHIN: Final = 90.0  # s: a group takes over after its session of 6 s, some engines start slowly
QUIET: Final = 5.0  # s without a word: time to look whether all alerts are there
PATIENCE: Final = 40.0  # s without progress: a restarted peer does no more
SUPERVISED: Final = 4  # times that one is started again which ends by itself with an error
LONGEST: Final = 600.0  # s
# quixstreams asks the topic for it when it makes a changelog, and some brokers tell only what was set.
RETENTION: Final = {"retention.ms": "604800000"}
Alert = tuple[str, int]


class PeerFailedError(Exception):
    """A peer did not do what it was started for; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is run. `share` of the events: its rate does not depend on their number."""

    name: str
    module: str
    environment: str | None  # None: this one
    recoverable: bool
    share: float = 1.0
    arguments: tuple[str, ...] = ()
    decode: Callable[[bytes], list[Alert]] = field(default=lambda value: _plain(value))


def _plain(value: bytes) -> list[Alert]:
    alert = json.loads(value)
    return [(alert["enterprise"], alert["hour"])]


def frame(value: bytes) -> list[Alert]:
    """Alerts as this system sends them. Their episode is the hour of the clock."""
    return [(alert.key.removeprefix("uscc:"), alert.episode // HOUR) for alert in ALERTS.decode(value)]


@dataclass(frozen=True, slots=True)
class Feed:
    """The events on one topic and the alerts that they call for."""

    topic: str
    count: int
    due: frozenset[Alert]
    mean_bytes: float


def make_events(count: int, seed: int = SEED) -> list[tuple[bytes, bytes]]:
    """(key, value) of complaints in the order of their arrival: one in ten comes up to two minutes late."""
    now = SystemClock().now()
    made = list(events(count, seed, now, timedelta(hours=count / PER_HOUR), COMPLAINTS_ONLY))
    source = Random(seed)
    places = [i + (source.randrange(MOST_LATE) if source.random() < LATE_SHARE else 0) for i in range(count)]
    arrival = sorted(range(count), key=places.__getitem__)
    return [
        ((json.loads(made[i].value).get("enterprise") or {"id": ""})["id"].encode(), made[i].value) for i in arrival
    ]


@asynccontextmanager
async def broker(address: str | None) -> AsyncIterator[str]:
    """The address of the broker: the one given, or an embedded one on the last core. This process and what it starts
    go to the first."""
    cores = sorted(os.sched_getaffinity(0))
    if address:
        os.sched_setaffinity(0, {cores[0]})
        yield address
        return
    with tempfile.TemporaryDirectory(prefix="jianguan-peers-") as folder:
        os.sched_setaffinity(0, {cores[-1]})  # before it starts: what it starts in turn inherits it
        child = EmbeddedBroker(BrokerOptions(Path(folder)), SystemClock())
        started = await child.start()
        os.sched_setaffinity(0, {cores[0]})
        try:
            yield started
        finally:
            await child.stop()


async def fill(address: str, made: Sequence[tuple[bytes, bytes]], name: str) -> Feed:
    """Put events on a topic of their own."""
    topic = f"{name}.{TopicName.COMPLAINTS}"
    await ensure_topics(address, [TopicSpec(topic, PARTITIONS, config=RETENTION)])
    producer = AIOKafkaProducer(bootstrap_servers=address, linger_ms=10, max_batch_size=262_144)
    await producer.start()
    try:
        for start in range(0, len(made), 5_000):
            part = made[start : start + 5_000]
            await asyncio.gather(*[await producer.send(topic, value, key or None) for key, value in part])
    finally:
        await producer.stop()
    sizes = sum(len(value) for _, value in made)
    return Feed(topic, len(made), frozenset(due(value for _, value in made)), sizes / len(made))


async def measure(peer: Peer, python: Path, address: str, feed: Feed) -> dict[str, Any]:
    """One run to the end of the feed, with its figures and its alerts compared."""
    with tempfile.TemporaryDirectory(prefix="jianguan-peer-") as folder:
        group, alerts = await _output(peer, address)
        arguments = (address, feed.topic, alerts, group, str(Path(folder) / "state"), str(feed.count), "0")
        process = await _start(peer, python, arguments)
        try:
            output, errors = await asyncio.wait_for(process.communicate(), LONGEST)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise PeerFailedError(f"{peer.name} did not end within {LONGEST:g} s") from None
        if process.returncode or not output.strip():
            raise PeerFailedError(
                f"{peer.name} ended with {process.returncode}:\n{errors.decode(errors='replace')[-3_000:]}"
            )
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
        return {**result, **await _compare(peer, address, alerts, feed)}


async def restart(peer: Peer, python: Path, address: str, feed: Feed) -> dict[str, Any]:
    """kill -9 in the middle of the feed, a second process on the same state, and the alerts of both compared."""
    with tempfile.TemporaryDirectory(prefix="jianguan-peer-") as folder:
        group, alerts = await _output(peer, address)
        common = (address, feed.topic, alerts, group, str(Path(folder) / "state"), str(FOREVER))
        first = await _start(peer, python, (*common, str(feed.count // 2)))
        try:
            _, errors = await asyncio.wait_for(first.communicate(), LONGEST)
        finally:
            with suppress(ProcessLookupError):
                first.kill()
        if first.returncode != -9:
            said = errors.decode(errors="replace")[-3_000:]
            raise PeerFailedError(f"{peer.name} was to be killed, and ended with {first.returncode}:\n{said}")
        before = sum((await _read(peer, address, alerts)).values())
        again, failures = 0, 0

        async def complete() -> bool:
            return feed.due <= (await _read(peer, address, alerts)).keys()

        while True:
            second = await _start(peer, python, (*common, "0"))
            try:
                again = await _until_quiet(peer, second, complete)
                break
            except PeerFailedError as error:  # as a supervisor would: start it again
                failures += 1
                sys.stderr.write(f"{error}\n")
                if failures > SUPERVISED:
                    raise
            finally:
                with suppress(ProcessLookupError):
                    second.kill()
                await second.communicate()
        compared = await _compare(peer, address, alerts, feed)
        return {**compared, "alerts_before_kill": before, "seen_after": again, "failed_starts": failures}


async def _until_quiet(peer: Peer, process: asyncio.subprocess.Process, complete: Callable[[], Awaitable[bool]]) -> int:
    """Wait until the process makes no progress any more; how many events it has reported.

    That is: none for `QUIET` when the output is `complete`, else for `PATIENCE`, because an engine on a busy machine
    may pause. One that reads to the end of its topic may end by itself. PeerFailedError, with its last words, when it
    fails.
    """
    assert process.stderr is not None
    said: deque[bytes] = deque(maxlen=30)
    seen, give_up = 0, time.monotonic() + WAKES_WITHIN
    while True:
        try:
            line = await asyncio.wait_for(process.stderr.readline(), QUIET)
        except TimeoutError:
            if time.monotonic() >= give_up or (seen and await complete()):
                return seen
            continue
        if not line:
            if await process.wait() or not seen:
                words = b"".join(said).decode(errors="replace")
                raise PeerFailedError(f"{peer.name} ended with {process.returncode} after its restart:\n{words}")
            return seen
        if line.strip().isdigit():
            seen, give_up = int(line), time.monotonic() + PATIENCE
            continue
        said.append(line)  # an engine may have more to say, without end
        if time.monotonic() >= give_up:
            return seen


_runs = 0


async def _output(peer: Peer, address: str) -> tuple[str, str]:
    """A group of its own and its output topic."""
    global _runs
    _runs += 1
    group = f"{peer.name}-{os.getpid()}-{_runs}"
    alerts = f"{group}.{TopicName.ALERTS}"
    await ensure_topics(address, [TopicSpec(alerts, PARTITIONS)])
    return group, alerts


async def _start(peer: Peer, python: Path, arguments: Sequence[str]) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return await asyncio.create_subprocess_exec(
        str(python), "-m", f"bench.peers.{peer.module}", *peer.arguments, *arguments,
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _compare(peer: Peer, address: str, alerts: str, feed: Feed) -> dict[str, Any]:
    found = await _read(peer, address, alerts)
    return {
        "alerts_due": len(feed.due),
        "alerts": len(found),
        "missing": len(feed.due - found.keys()),
        "wrong": len(found.keys() - feed.due),
        "repeated": sum(found.values()) - len(found),
        "equal": found.keys() == feed.due,
    }


async def _read(peer: Peer, address: str, topic: str) -> Counter[Alert]:
    """How often each alert is on the output topic."""
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    ends = await end_offsets(places, bootstrap_servers=address)
    found: Counter[Alert] = Counter()
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        deadline = time.monotonic() + LONGEST
        while any([await consumer.position(place) < ends[place] for place in places]):
            if time.monotonic() > deadline:
                raise PeerFailedError(f"the alerts on {topic} cannot be read to their end")
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    found.update(peer.decode(record.value))
    finally:
        await consumer.stop()
    return found


def here() -> Path:
    """The Python of this environment."""
    return Path(sys.executable)
