"""Cases as a restart or a takeover finds them where a crash kept a part of what was told from the store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.case import Case, Task
from jianguan.ports import Archive
from jianguan.wiring.restore import Restorer
from rules.ruleset import RuleSet
from streams.handle import Handle
from tests.contract.samples import MINUTE, NOW, alert, case, event, task
from tests.rules.support import reference


def stored(opened: Case, *tasks: Task, told: bool) -> Archive:
    return cast(
        Archive,
        SimpleNamespace(
            open_cases=lambda since: iter([(opened, list(tasks))]),
            alert_ids_of=lambda cases: iter(()),
            case_ordinals=lambda: iter([(opened.case_key, opened.ordinal)]),
            told_overdue=lambda ids: set(ids) if told else set(),
        ),
    )


async def restored(archive: Archive) -> Handle:
    clock = VirtualClock(from_millis(NOW))
    clock.advance(timedelta(minutes=2))
    tables: Any = SimpleNamespace(rules=reference())
    return await Restorer(archive, cast(Any, None), tables, clock, 1).handle(0)


@pytest.mark.parametrize("told", [True, False])
async def test_a_department_hears_of_a_deadline_whose_mark_was_stored_and_nothing_else(told: bool) -> None:
    opened = case([alert([event(1)])])
    marked = task(opened)._replace(overdue=True, due_at=NOW + MINUTE, revision=4)
    handle = await restored(stored(opened, marked, told=told))
    handled = handle.elapse()
    assert [notice.kind for some in handled.notices.values() for notice in some] == ([] if told else ["task.overdue"])
    assert [(each.overdue, each.revision) for each in handled.records.tasks] == ([] if told else [(True, 5)])
    assert [each.what for each in handled.records.trace] == ([] if told else ["overdue"])
    assert handle.desk.overdue == 1


async def test_a_case_that_was_closed_just_before_a_long_stop_does_not_open_anew_when_its_alert_is_read_again() -> None:
    raised = alert([event(1)])
    closed = case([raised])._replace(state="closed", closed_at=NOW)

    def open_cases(since: int) -> Iterator[tuple[Case, list[Task]]]:
        return iter([(closed, [])] if since <= NOW else [])

    archive: Any = stored(closed, told=True)
    archive.open_cases = open_cases
    archive.alert_ids_of = lambda cases: iter([(raised.id, closed.id)])
    archive.facts_of_keys_since = lambda received: iter(())
    archive.alerts_since = lambda since: iter([raised])
    archive.known_alerts = set
    clock = VirtualClock(from_millis(NOW))
    clock.advance(timedelta(days=3))
    rulebook: Any = SimpleNamespace(ruleset=RuleSet([]))
    restorer = Restorer(archive, rulebook, cast(Any, SimpleNamespace(rules=reference())), clock, 1)
    (again,) = restorer.recover(NOW).stored
    handle = await restorer.handle(0)
    told = handle.desk.add_alert(again, NOW + 3 * 24 * 60 * MINUTE)
    assert [each.id for each in told.records.cases] == [closed.id]
