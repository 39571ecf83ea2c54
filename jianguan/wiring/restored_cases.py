"""The cases of some partitions as the store has them, at a start and a takeover. Blocking. Knows no windows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from jianguan.domain.case import Case, Task
from jianguan.domain.casework import CaseDesk, Deadline
from jianguan.domain.ids import partition_of
from jianguan.ports import Archive

log = logging.getLogger(__name__)


def open_desks(
    archive: Archive, wanted: Collection[int], partitions: int, closed_since: int, deadline: Deadline
) -> dict[int, CaseDesk]:
    """A desk for each of the `wanted` of `partitions` partitions, with the cases that are open, and those that were
    closed at `closed_since` (ms) or later. One pass over the store for all."""
    files: dict[int, list[tuple[Case, list[Task]]]] = {partition: [] for partition in wanted}
    for case, tasks in archive.open_cases(closed_since):
        place = partition_of(case.case_key, partitions)
        if place in files:
            files[place].append((case, tasks))
    _unmark_untold(files.values(), archive)
    alerts: dict[str, list[str]] = {}
    for alert, case_id in archive.alert_ids_of([case.id for part in files.values() for case, _ in part]):
        alerts.setdefault(case_id, []).append(alert)
    ordinals: dict[int, list[tuple[str, int]]] = {partition: [] for partition in wanted}
    for key, ordinal in archive.case_ordinals():
        place = partition_of(key, partitions)
        if place in ordinals:
            ordinals[place].append((key, ordinal))
    desks: dict[int, CaseDesk] = {}
    for partition in sorted(wanted):
        desk = desks[partition] = CaseDesk(deadline)
        desk.restore(ordinals[partition], [(case, tasks, alerts.get(case.id, [])) for case, tasks in files[partition]])
        log.info("partition %d: %d open cases restored", partition, len(desk))
    return desks


def _unmark_untold(files: Iterable[Iterable[tuple[Case, list[Task]]]], archive: Archive) -> None:
    """Take back that an open task is overdue where no step tells of it: a crash came between, and nothing that is read
    again tells the department. The clock marks it again and does."""
    lists = [tasks for some in files for _, tasks in some]
    marked = [task.id for tasks in lists for task in tasks if task.overdue and task.state != "closed"]
    untold = set(marked) - archive.told_overdue(marked)
    for tasks in lists:
        tasks[:] = [task._replace(overdue=False) if task.id in untold else task for task in tasks]
