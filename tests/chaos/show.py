"""One run: starts everything, sends the stream while the schedule is played, waits until all is quiet, and compares."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from jianguan.clock import SystemClock, to_millis
from rules.reference import Reference
from tests.chaos import look
from tests.chaos.account import Difference, Sets, Wanted, differences
from tests.chaos.feed import Feed
from tests.chaos.oracle import wanted
from tests.chaos.rulebook import DECISION_WITHIN, LATENESS
from tests.chaos.scene import RECEIVERS, Scene
from tests.chaos.schedule import LASTS, Action, moments, plan
from tests.chaos.stream import closing, stream
from tests.end_to_end.support import eventually

QUIET_WITHIN: Final = 240.0  # seconds that recovery from everything may take
# Over all topics, for each record a second: what is under way, or not yet committed, when nothing is wrong.
FLOW: Final = 10
SETTLE: Final = 10  # seconds that the clock of the rules is behind, and what a mark takes through the stages


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is made of."""

    seed: int
    seconds: float
    workers: int = 3
    brokers: int = 1
    rate: float = 50.0  # records a second
    kinds: tuple[str, ...] = tuple(LASTS)


@dataclass(slots=True)
class Result:
    """What came of it. No `differences`: it passed."""

    seed: int
    seconds: float
    workers: int
    brokers: int
    schedule: list[dict[str, Any]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    recovery: dict[str, dict[str, float]] = field(default_factory=dict)
    largest_lag: int = 0
    quiet_after: float = 0.0  # seconds from the end of the last fault until everything had gone through
    ended: list[str] = field(default_factory=list)
    attempts_failed: int = 0  # of the feed; each was repeated
    redelivered: int = 0
    repeated_webhooks: int = 0
    disk: str = ""
    exit_codes: dict[str, int] = field(default_factory=dict)
    took: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.differences

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps({"passed": self.passed, **asdict(self)}, ensure_ascii=False)


def say(text: str) -> None:
    """For whoever watches."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def run(options: Options, folder: Path) -> Result:
    """One run in `folder`, which must be empty. AssertionError when it does not come to rest at all."""
    began = time.monotonic()
    megabytes = min(2_048, 256 + int(options.seconds))
    result = Result(options.seed, options.seconds, options.workers, options.brokers)
    scene = Scene.make(folder, workers=options.workers, brokers=options.brokers, megabytes=megabytes)
    passed = False
    try:
        result.disk = scene.disk
        kinds = [kind for kind in options.kinds if kind != "fill-disk" or not scene.disk]
        actions = plan(options.seed, options.seconds, options.workers, kinds)
        result.schedule = [action._asdict() for action in actions]
        scene.begin()
        say("everything runs")
        _play(scene, actions, options, result)
        passed = result.passed
    finally:
        scene.close(keep_store=not passed)
    result.took = round(time.monotonic() - began, 1)
    return result


def _play(scene: Scene, actions: tuple[Action, ...], options: Options, result: Result) -> None:
    cluster = scene.cluster
    watch = look.LagWatch(cluster)
    records = stream(options.seed, options.seconds, options.rate, SystemClock().now())
    feed = Feed(records, cluster.dashboards.url, cluster.bootstrap, cluster.prefix, f"chaos-{options.seed}")
    watch.start()
    feed.start()
    try:
        ends = _act(scene, actions)
        eventually(partial(_tended, scene, feed.done), QUIET_WITHIN, "all records acknowledged")
        say(f"{len(feed.receipts)} records are acknowledged")
        scene.wait_until_up(QUIET_WITHIN)
        cluster.quiet(QUIET_WITHIN)
        result.quiet_after = round(time.monotonic() - max(ends.values(), default=time.monotonic()), 1)
        say("quiet")
        last = _close_rules(scene, feed, options)
        watch.stop()
        _compare(scene, [feed, *last], watch, ends, options, result)
    finally:
        feed.stop()
        watch.stop()


def _tended(scene: Scene, done: Any) -> bool:
    scene.tend()
    return bool(done())


def _act(scene: Scene, actions: tuple[Action, ...]) -> dict[Action, float]:
    """Play the schedule; when each action was over."""
    start, ends = time.monotonic(), {}
    for at, begins, action in moments(actions):
        while (wait := start + at - time.monotonic()) > 0:
            scene.tend()
            time.sleep(min(wait, 0.1))
        what = scene.act(action, begins=begins)
        if what:
            say(f"{at:7.2f} {action.kind}{'' if begins else ' is over'}: {what}")
        if not begins or not action.lasts:
            ends[action] = time.monotonic()
        scene.tend()
    return ends


def _close_rules(scene: Scene, feed: Feed, options: Options) -> list[Feed]:
    """Records for the rules that were added: by now every worker must run them."""
    if not scene.rules_added:
        return []
    eventually(scene.all_rules(), 60, "the added rules in every worker")
    cluster = scene.cluster
    records = closing(scene.rules_added, SystemClock().now())
    last = Feed(records, cluster.dashboards.url, cluster.bootstrap, cluster.prefix, f"closing-{options.seed}")
    last.start()
    eventually(partial(_tended, scene, last.done), 60, "the closing records acknowledged")
    cluster.quiet(QUIET_WITHIN)
    return [last]


def _compare(
    scene: Scene,
    feeds: list[Feed],
    watch: look.LagWatch,
    ends: Mapping[Action, float],
    options: Options,
    result: Result,
) -> None:
    cluster = scene.cluster
    log = asyncio.run(look.kept(cluster.bootstrap, cluster.prefix, cluster.partitions))
    should = wanted(log, cluster.rules, Reference.packaged(), cluster.data, RECEIVERS)
    sent = {f"{receipt} {each.outcome}" for feed in feeds for receipt, each in feed.receipts.items()}
    should = Wanted({**should.must, "acknowledged": frozenset(sent)}, should.may)
    _settle(scene, should, result)
    _deliver(scene, result)
    cluster.quiet(QUIET_WITHIN)
    got = scene.receiver.got()
    there: Sets = {**look.stored(cluster.store), **look.received(got)}
    there = {
        **there,
        "acknowledged": there["outcomes"],
        "not-delivered": frozenset(map(str, look.pending(cluster.store))),
    }
    result.differences = differences(should, there)
    result.sent = dict(Counter(f"{each.door} {each.outcome}" for feed in feeds for each in feed.receipts.values()))
    result.counts = {name: len(some) for name, some in there.items()}
    result.attempts_failed = sum(feed.attempts_failed for feed in feeds)
    result.repeated_webhooks = len(got) - len({each.id for each in got})
    result.largest_lag = watch.largest()
    result.recovery = _recovery(watch, ends, int(options.rate * FLOW))
    result.ended = scene.ended
    result.exit_codes = scene.stop()


def _settle(scene: Scene, should: Wanted, result: Result) -> None:
    """Wait until the clock of the rules has settled everything, as long as it may take, or all that must is there."""
    deadline = time.monotonic() + DECISION_WITHIN + LATENESS + SETTLE + 60
    store, must = scene.cluster.store, should.must["alerts"]
    while time.monotonic() < deadline:
        scene.tend()
        if must <= {str(row[0]) for row in store.query("SELECT DISTINCT id FROM alerts")}:
            break
        time.sleep(0.5)
    scene.cluster.quiet(QUIET_WITHIN)
    say("settled")


def _deliver(scene: Scene, result: Result) -> None:
    """Wait until nothing is to be delivered; what is due only later is sent at once, as an operator may ask for."""
    deadline = time.monotonic() + 60
    asked: set[str] = set()
    while (left := look.pending(scene.cluster.store)) and time.monotonic() < deadline:
        scene.tend()
        soon = to_millis(SystemClock().now()) + 5_000
        for identifier, due in left:
            if due > soon and identifier not in asked:
                asked.add(identifier)
                answer = httpx.post(f"{scene.cluster.dashboards.url}/v1/deliveries/{identifier}/redeliver", timeout=30)
                answer.raise_for_status()
        time.sleep(0.5)
    result.redelivered = len(asked)
    say(f"delivered, {len(asked)} of them asked for")


def _recovery(watch: look.LagWatch, ends: Mapping[Action, float], most: int) -> dict[str, dict[str, float]]:
    """By kind: how often, and after how many seconds at most `most` records waited again, median and longest."""
    times: dict[str, list[float]] = {}
    for action, end in ends.items():
        passed = watch.recovered(end, most)
        times.setdefault(action.kind, []).append(float("inf") if passed is None else round(passed, 1))
    return {
        kind: {"times": len(some), "median": sorted(some)[len(some) // 2], "longest": max(some)}
        for kind, some in sorted(times.items())
    }
