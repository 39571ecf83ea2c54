"""Single things out of the archive, by id, and what else pages and API ask for alike. Raises the 404."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dashboards.dependencies import Dependencies
from dashboards.paging import Following
from dashboards.problems import ProblemError
from dashboards.reads import Reads
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.trace import Quarantined
from jianguan.ports import EventSummary, History

MAX_ID = 256


class Finder:
    """Asks for histories and picks the thing itself out of them."""

    def __init__(self, deps: Dependencies, reads: Reads) -> None:
        self._deps = deps
        self._reads = reads

    async def history(self, identifier: str) -> History:
        """Everything about an id, or 404."""
        return await self._asked(self._deps.archive.history, identifier)

    async def outline(self, identifier: str, *, steps: bool = True) -> History:
        """What lists show of the history of an id, or 404."""
        return await self._asked(partial(self._deps.archive.outline, steps=steps), identifier)

    async def _asked(self, ask: Callable[[str, int], History | None], identifier: str) -> History:
        if not identifier or len(identifier) > MAX_ID or not identifier.isprintable():
            raise ProblemError(404, "unknown-id", "no id looks like that")
        history = await self._reads(ask, identifier, self._deps.limits.history_rows)
        if history is None:
            raise ProblemError(404, "unknown-id", "nothing is known by that id")
        return history

    async def event(self, identifier: str) -> tuple[EventSummary, History]:
        """One event and what became of it, or 404."""
        history = await self.history(identifier)
        found = next((each for each in history.events if each.event.id == identifier), None)
        if found is None:
            raise ProblemError(404, "unknown-event", "no event has that id")
        return found, history

    async def alert(self, identifier: str) -> tuple[Alert, History]:
        """One alert with its events, case and steps, or 404."""
        history = await self.history(identifier)
        found = next((alert for alert in history.alerts if alert.id == identifier), None)
        if found is None:
            raise ProblemError(404, "unknown-alert", "no alert has that id")
        return found, history

    async def case(self, identifier: str, *, steps: bool = True) -> tuple[Case, list[Task], History]:
        """One case with its tasks and, in outline, its history, or 404."""
        history = await self.outline(identifier, steps=steps)
        found = next((case for case in history.cases if case.id == identifier), None)
        if found is None:
            raise ProblemError(404, "unknown-case", "no case has that id")
        tasks = [task for task in history.tasks if task.case == identifier]
        return found, sorted(tasks, key=lambda task: (task.role != "lead", task.department)), history

    async def task(self, identifier: str) -> tuple[Task, Case]:
        """One task and its case, or 404."""
        found = await self._reads(self._deps.archive.task, identifier) if len(identifier) <= MAX_ID else None
        if found is None:
            raise ProblemError(404, "unknown-task", "no task has that id")
        return found

    async def quarantine(
        self, *, code: str | None, state: str | None, before: int | None, after: str | None, limit: int
    ) -> tuple[list[Quarantined], Following | None]:
        """A page of quarantined records, and where the next one begins, None on the last one."""
        ask = partial(self._deps.archive.quarantine, code=code, state=state)
        found = await self._reads(ask, before=before, after=after, limit=limit)
        # Large records make a page short, so that only asking tells whether more follow.
        last = Following(found[-1].at + 1, found[-1].id) if found else None
        if last and not await self._reads(ask, before=last.before, after=last.after, limit=1):
            last = None
        return found, last

    async def quarantined(self, identifier: str) -> Quarantined:
        """One quarantined record, or 404."""
        found = await self._reads(self._deps.archive.quarantined, identifier) if len(identifier) <= MAX_ID else None
        if found is None:
            raise ProblemError(404, "unknown-record", "no quarantined record has that id")
        return found
