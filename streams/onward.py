"""What leaves a stage, and how a worker that is alone works it to its end without the way over the topics.

Over the topics a fact waits to be fetched, and so do the alert that it raises and the delivery that follows, and each
run that is fetched costs milliseconds. They are there for other workers. A worker that has none goes on at once: what
comes of a record is the same, and is idempotent by id, however often and in which pieces it is worked.

Over the topics goes what waits for windows that are being restored, since events must not wait for those; and all that
comes after it, until that is worked, so that nothing is overtaken. It must not know Faust or the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from jianguan.domain.alert import Alert
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import FactRun, runs_of
from jianguan.domain.trace import Records
from streams.correlate import Correlate, Correlated
from streams.handle import Handle, Handled
from streams.owned import Owned

PATIENCE: Final = 1.0  # seconds
POLL: Final = 0.005  # seconds

T = TypeVar("T")


@dataclass(slots=True)
class Onward:
    """What leaves a stage: for those that follow, by the partition of their topic, and for the store."""

    facts: dict[int, list[FactRun]] = field(default_factory=dict)
    alerts: dict[int, list[Alert]] = field(default_factory=dict)
    notices: dict[int, list[Notice]] = field(default_factory=dict)
    records: Records = field(default_factory=Records)
    correlated: list[Correlated] = field(default_factory=list)  # what led to it, for those who count

    @classmethod
    def of_correlated(cls, result: Correlated) -> Onward:
        """Of what facts became."""
        made = cls()
        made.add_correlated(result)
        return made

    @classmethod
    def of_handled(cls, handled: Handled) -> Onward:
        """Of what alerts, or commands, became."""
        made = cls()
        made.add_handled(handled)
        return made

    def add_correlated(self, result: Correlated) -> None:
        """What facts became."""
        self.correlated.append(result)
        _extend(self.facts, {partition: runs_of(facts) for partition, facts in result.facts.items()})
        _extend(self.alerts, result.alerts)
        self.records.extend(result.records)

    def add_handled(self, handled: Handled) -> None:
        """What alerts, or commands, became."""
        _extend(self.notices, handled.notices)
        self.records.extend(handled.records)


class AtOnce:
    """The stages behind ingest, of a worker that has all partitions."""

    def __init__(
        self,
        correlate: Owned[Correlate],
        handle: Owned[Handle],
        deliver: Callable[[Iterable[Notice]], Records],
        judge: Callable[[Correlate, Sequence[FactRun]], Awaitable[Correlated]],
        under_way: Callable[[], bool],
    ) -> None:
        """`judge` puts facts into windows; `under_way` tells whether there are facts or alerts on the topics."""
        self._correlate = correlate
        self._handle = handle
        self._deliver = deliver
        self._judge = judge
        self._under_way = under_way

    async def catch_up(self) -> None:
        """Wait a while until all that is on the topics has been worked: under a steady load there is always something.
        Not if that waits for windows itself."""
        for _ in range(round(PATIENCE / POLL)):
            if not self._under_way() or not self._restored:
                return
            await asyncio.sleep(POLL)

    async def work(self, onward: Onward) -> None:
        """Work all that can be worked now, and leave what comes of it in `onward`, and what has to be sent."""
        if (onward.facts or onward.alerts) and self._restored and not self._under_way():
            while onward.facts or onward.alerts:
                await self._follow(onward)
        notices, onward.notices = onward.notices, {}
        for some in notices.values():
            onward.records.extend(self._deliver(some))

    async def _follow(self, onward: Onward) -> None:
        """Its facts through windows, and alerts through cases. Facts may come of it: there are rules on alerts."""
        facts, onward.facts = onward.facts, {}
        for partition, runs in facts.items():
            onward.add_correlated(await self._judge(await self._correlate.get(partition), runs))
        alerts, onward.alerts = onward.alerts, {}
        for partition, some in alerts.items():
            onward.add_handled((await self._handle.get(partition)).alerts(some))

    @property
    def _restored(self) -> bool:
        return all(state.early is None for _, state in self._correlate)


def _extend(found: dict[int, list[T]], more: Mapping[int, Sequence[T]]) -> None:
    for partition, some in more.items():
        found.setdefault(partition, []).extend(some)
