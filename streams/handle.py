"""The handle stage: alerts and departments' commands of one partition meet at the desk that owns their cases.

Pure but for the clock; what a desk decides is in jianguan.domain.casework.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.casework import CaseDesk, Outcome
from jianguan.domain.delivery import Notice
from jianguan.domain.ids import partition_of
from jianguan.domain.trace import Records

# After a restart a command may be read before the alert that gives its task: it waits for it so long (ms).
PATIENCE_MS: Final = 30_000
HELD: Final = 1_000


@dataclass(slots=True)
class Handled:
    """What a run of alerts or commands became."""

    notices: dict[int, list[Notice]] = field(default_factory=dict)  # by partition of the deliveries topic
    records: Records = field(default_factory=Records)


class Handle:
    """One partition of the handle stage."""

    def __init__(self, desk: CaseDesk, clock: Clock, *, partitions: int) -> None:
        self.desk = desk
        self._clock = clock
        self._partitions = partitions
        self._early: deque[tuple[int, Command]] = deque()  # (when it came, command), for tasks not known yet

    def alerts(self, alerts: Iterable[Alert]) -> Handled:
        """Join alerts to cases, in order; then carry out the commands that waited for them."""
        now = to_millis(self._clock.now())
        outcomes = [self.desk.add_alert(alert, now) for alert in alerts]
        return self._gather([*outcomes, *self._waited(now)])

    def commands(self, commands: Iterable[Command]) -> Handled:
        """Carry out commands, in order. One for an unknown task waits a while for the alert that gives it."""
        now = to_millis(self._clock.now())
        outcomes = []
        for command in commands:
            if self.desk.knows(command.task) or len(self._early) >= HELD:
                outcomes.append(self.desk.apply(command, now))
            else:
                self._early.append((now, command))
        return self._gather(outcomes)

    def elapse(self) -> Handled:
        """Let time pass: what has become overdue, and commands that waited in vain."""
        now = to_millis(self._clock.now())
        return self._gather([self.desk.elapse(now), *self._waited(now)])

    def _waited(self, now: int) -> list[Outcome]:
        outcomes = []
        still: deque[tuple[int, Command]] = deque()
        for came, command in self._early:
            if self.desk.knows(command.task) or now - came > PATIENCE_MS:
                outcomes.append(self.desk.apply(command, now))
            else:
                still.append((came, command))
        self._early = still
        return outcomes

    def _gather(self, outcomes: Iterable[Outcome]) -> Handled:
        handled = Handled()
        for outcome in outcomes:
            handled.records.extend(outcome.records)
            for notice in outcome.notices:
                partition = partition_of(notice.department, self._partitions)
                handled.notices.setdefault(partition, []).append(notice)
        return handled
