"""The handle stage: alerts and departments' commands of one partition meet at the desk that owns their cases.

Pure but for the clock; what a desk decides is in jianguan.domain.casework.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.casework import CaseDesk, Outcome
from jianguan.domain.delivery import Notice
from jianguan.domain.ids import partition_of
from jianguan.domain.trace import Records


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

    def alerts(self, alerts: Iterable[Alert]) -> Handled:
        """Join alerts to cases, in order."""
        now = to_millis(self._clock.now())
        return self._gather([self.desk.add_alert(alert, now) for alert in alerts])

    def commands(self, commands: Iterable[Command]) -> Handled:
        """Carry out commands, in order."""
        now = to_millis(self._clock.now())
        return self._gather([self.desk.apply(command, now) for command in commands])

    def elapse(self) -> Handled:
        """Let time pass: what has become overdue."""
        return self._gather([self.desk.elapse(to_millis(self._clock.now()))])

    def _gather(self, outcomes: Iterable[Outcome]) -> Handled:
        handled = Handled()
        for outcome in outcomes:
            handled.records.extend(outcome.records)
            for notice in outcome.notices:
                partition = partition_of(notice.department, self._partitions)
                handled.notices.setdefault(partition, []).append(notice)
        return handled
