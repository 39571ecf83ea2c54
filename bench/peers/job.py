"""The job that every peer does, and the answer to it. Standard library only: each peer has its own environment.

Events are complaints as the contract has them, about 400 bytes of JSON, keyed by enterprise, some out of order by up to
two minutes. For each: decode; ask ten predicates (`concerns`); if they hold, count it for its enterprise in event time.
At most one alert for an enterprise and an hour of the clock, and it is due if at some matching event in that hour the
enterprise has at least five matching events in the sixty minutes up to it (half-open: an event exactly sixty minutes
older does not count). An alert goes to the output topic as {"enterprise": …, "hour": …}, hour in hours since 1970.

`due` is the oracle: it looks at every event anew, knows nothing of arrival, and shares no code with `Recent`, which is
the window of the peers that have none of their own that could answer this. State is plain lists, so that every engine
can keep it as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

HOUR: Final = 3_600_000  # ms
AT_LEAST: Final = 5
FOREVER: Final = 1 << 60  # as the number of events: the process is ended from outside
KEPT: Final = 2 * HOUR  # an event that comes two minutes late has a window that reaches an hour further back

CATEGORIES: Final = frozenset(
    (
        "food-safety", "price", "advertising", "online-trade", "prepaid-card", "product-quality", "fraud", "service",
        "privacy", "wages", "intellectual-property", "recall",
    )
)  # fmt: skip
TRIALS: Final = ("测试", "演练")
REFUSALS: Final = ("推脱", "拒绝", "拉黑", "失联")


def concerns(event: Mapping[str, Any]) -> bool:
    """Whether the ten predicates hold, as one writes them for a decoded dictionary: those of crossing-five.yaml."""
    text = event["text"]
    return (
        event["source"] == "12315"
        and event["category"] in CATEGORIES
        and event["channel"] != "letter"
        and "enterprise" in event
        and not any(word in text for word in TRIALS)
        and (
            any(word in text for word in REFUSALS)
            or event.get("amount_fen", 0) >= 100_000
            or "platform" in event
            or "demand" in event
            or len(text) > 60
        )
    )


def moment(text: str) -> int:
    """Milliseconds since 1970 of a time on the wire."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


class Recent:
    """The recent matching events of one enterprise and the hours alerted, over two lists that an engine keeps."""

    __slots__ = ("hours", "times")

    def __init__(self, times: list[int], hours: list[int]) -> None:
        self.times = times
        self.hours = hours

    def add(self, at: int) -> list[int]:
        """Take an event in; the hours whose alert is due now and was not before."""
        times = self.times
        if not times or at >= times[-1]:
            times.append(at)
        else:
            insort(times, at)
        if times[0] <= times[-1] - KEPT:
            del times[: bisect_right(times, times[-1] - KEPT)]
        found: list[int] = []
        # Only windows that end at this event or up to an hour after it can have changed.
        for index in range(len(times) - 1, AT_LEAST - 2, -1):
            end = times[index]
            if end < at:
                break
            if end < at + HOUR and times[index - AT_LEAST + 1] > end - HOUR and end // HOUR not in self.hours:
                self.hours.append(end // HOUR)
                found.append(end // HOUR)
        del self.hours[:-4]
        return found


def due(values: Iterable[bytes]) -> set[tuple[str, int]]:
    """The oracle: the (enterprise, hour) of every alert that these events call for."""
    by_enterprise: defaultdict[str, list[int]] = defaultdict(list)
    for value in values:
        event = json.loads(value)
        if concerns(event):
            by_enterprise[event["enterprise"]["id"]].append(moment(event["occurred_at"]))
    alerts: set[tuple[str, int]] = set()
    for enterprise, times in by_enterprise.items():
        for end in times:
            if sum(1 for time in times if end - HOUR < time <= end) >= AT_LEAST:
                alerts.add((enterprise, end // HOUR))
    return alerts


def peak_mb() -> float:
    """The most memory that this process has had. Not getrusage: a child's begins with that of its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Task:
    """What the benchmark asks of a peer's process, from its command line."""

    def __init__(self, arguments: list[str]) -> None:
        """`broker topic alerts group state events die_after`: host:port, three names, a folder, two numbers."""
        self.broker, self.topic, self.alerts, self.group, state, events, die_after = arguments
        self.state = Path(state)
        self.events = int(events)
        self.die_after = int(die_after)  # kill -9 of itself after so many events; 0: never


class Meter:
    """Takes time and processor time from the first event until the output of the last one is out.

    After a restart the number of events to come is not known: then the benchmark ends the process when its output and
    the beats on its standard error stand still.
    """

    def __init__(self, task: Task) -> None:
        self.seen = 0
        self._task = task
        self._first = 0
        self._wall = self._cpu = 0.0
        self._beat = 0
        self._started = False

    def start(self) -> None:
        """Start the clock before the first event, for an engine that cannot tell when that comes."""
        self._started = True
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def count(self, number: int = 1) -> bool:
        """`number` more events were taken in. Whether that was the last."""
        if not self._started:  # what came first came before the clock started
            self._first = number
            self.start()
        self.seen += number
        if self._task.die_after and self.seen >= self._task.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seen - self._beat >= 1_000:
            self._beat = self.seen
            os.write(2, b"%d\n" % self.seen)
        return self.seen >= self._task.events

    def finish(self) -> None:
        """The output of the last event is out: print the result, a line of JSON."""
        measured = max(self.seen - self._first, 1)
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        result = {
            "events_per_second": measured / wall,
            "cpu_seconds_per_100k": cpu / measured * 100_000,
            "peak_mb": peak_mb(),
            "seen": self.seen,
        }
        out = sys.__stdout__  # an engine may have put something else in its place, or begun a line
        assert out is not None
        out.write("\n" + json.dumps(result) + "\n")
        out.flush()
