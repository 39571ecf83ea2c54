"""Backtests that were asked for: one runs at a time, in a thread, the others wait; the last ones are remembered.

Knows how to start, follow and cancel one, not what a rule is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, TypeVar

from dashboards.dependencies import Dependencies
from dashboards.problems import ProblemError, retry_after
from jianguan.clock import to_millis
from jianguan.domain.hindsight import BacktestReport, BacktestRequest
from jianguan.domain.ids import make_id
from jianguan.errors import InputError, JianguanError, UnavailableError

T = TypeVar("T")
log = logging.getLogger(__name__)

_DAY = 86_400_000


class _CancelledError(Exception):
    """Somebody asked for the end of it."""


@dataclass(slots=True)
class Job:
    """One backtest. Only `cancelled` is read in another thread than the event loop's."""

    id: str
    rule: str
    request: BacktestRequest
    started_at: int
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    done: int = 0
    of: int = 0
    error: str = ""
    report: BacktestReport | None = None
    cancelled: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")


class Backtests:
    """All backtests of this process."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turn = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0

    async def start(self, request: BacktestRequest) -> Job:
        """Begin one. 404 or 422 for a rule or a time that cannot be tried, 503 when too many wait."""
        limits = self._deps.limits
        if request.until - request.since > limits.backtest_days * _DAY:
            raise ProblemError(422, "too-long", f"a backtest covers at most {limits.backtest_days} days")
        if sum(not job.ended for job in self._jobs.values()) > limits.backtests_waiting:
            raise ProblemError(503, "busy", "too many backtests are waiting", headers=retry_after(30))
        label = await asked(asyncio.to_thread(self._deps.tools.check, request))
        now = to_millis(self._deps.clock.now())
        self._number += 1
        job = Job(make_id("cm", "backtest", label.id, str(now), str(self._number)), label.id, request, now)
        self._jobs[job.id] = job
        for old in [each.id for each in self._jobs.values() if each.ended][: -limits.backtests_kept or None]:
            del self._jobs[old]
        task = asyncio.create_task(self._run(job), name=f"backtest of {label.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def find(self, identifier: str) -> Job:
        """One of them, or 404."""
        job = self._jobs.get(identifier)
        if job is None:
            raise ProblemError(404, "unknown-backtest", "no backtest has that id; they are forgotten after a while")
        return job

    def of_rule(self, rule: str) -> list[Job]:
        """Those of one rule, newest first."""
        return [job for job in reversed(self._jobs.values()) if job.rule == rule]

    def cancel(self, identifier: str) -> Job:
        """Ask for its end; nothing happens to one that has ended."""
        job = self.find(identifier)
        job.cancelled = True
        if job.state == "waiting":
            job.state = "cancelled"
        return job

    async def _run(self, job: Job) -> None:
        async with self._turn:
            if job.cancelled:
                job.state = "cancelled"
                return
            job.state = "running"
            loop = asyncio.get_running_loop()

            def progress(done: int, of: int) -> None:
                if job.cancelled:
                    raise _CancelledError
                loop.call_soon_threadsafe(_told, job, done, of)

            try:
                job.report = await asyncio.to_thread(self._deps.tools.backtest, job.request, progress)
                job.state = "done"
            except _CancelledError:
                job.state = "cancelled"
            except JianguanError as error:
                job.state, job.error = "failed", str(error)
            except Exception:
                log.exception("the backtest of %s failed", job.rule)
                job.state, job.error = "failed", "an internal error; it is in the server's log"


def _told(job: Job, done: int, of: int) -> None:
    job.done, job.of = done, of


async def asked(answer: Awaitable[T]) -> T:
    """What a question about rules answers. Its errors are problems: 404 for what nobody knows, 409 for what is not
    possible now, 422 for what cannot be used."""
    try:
        return await answer
    except InputError as error:
        status = 404 if error.code.startswith("unknown-") else 409 if error.code == "nothing-waits" else 422
        raise ProblemError(status, error.code, str(error)) from None
    except UnavailableError:
        raise
    except JianguanError as error:
        raise ProblemError(422, "rule", str(error)) from None
