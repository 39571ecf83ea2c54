"""Alerts and commands of one partition at one desk: in order, and with patience for what is read too early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jianguan.clock import VirtualClock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.casework import CaseDesk
from jianguan.domain.ids import alert_id, case_id, task_id
from streams.handle import PATIENCE_MS, Handle

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
KEY = "market-regulation|enterprise|uscc:1"
TASK = task_id(case_id(KEY, 1), "market-regulation")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def handle(clock: VirtualClock) -> Handle:
    return Handle(CaseDesk(lambda clock_id, start: (None, "")), clock, partitions=4)


def an_alert() -> Alert:
    now = to_millis(START)
    return Alert(
        id=alert_id("r", "uscc:1", now), rule="r", version=1, rule_hash="h", key="uscc:1", episode=now,
        episode_end=now + 1, severity="high", title_zh="题", title_en="Title", time=now, window_start=now - 1,
        raised_at=now, received_at=now,
        values={"count": 3.0}, thresholds={"count": 3.0}, events=("ev-1",), event_count=1,
        enterprise="uscc:1", enterprise_name="某店", region=None, industry=None, category="service", case_key=KEY,
        lead="market-regulation", joint=("commerce",), clock=None, legal_basis="", runbook="", notify=True,
    )  # fmt: skip


def accept(at: datetime) -> Command:
    return Command("cm-1", KEY, TASK, "accept", "张", "", to_millis(at))


def test_a_command_that_is_read_before_the_alert_of_its_task_waits_for_it(handle: Handle) -> None:
    early = handle.commands([accept(START)])
    assert not early.records
    handled = handle.alerts([an_alert()])
    assert [task.state for task in handled.records.tasks if task.id == TASK][-1] == "accepted"
    assert "refused" not in {step.what for step in handled.records.trace}


def test_a_command_for_a_task_that_never_comes_is_refused_after_a_while(handle: Handle, clock: VirtualClock) -> None:
    handle.commands([accept(START)])
    clock.advance(timedelta(milliseconds=PATIENCE_MS))
    assert not handle.elapse().records
    clock.advance(timedelta(milliseconds=1))
    (step,) = handle.elapse().records.trace
    assert (step.what, step.subject) == ("refused", TASK)
    assert not handle.elapse().records


def test_notices_go_to_the_partition_of_their_department(handle: Handle) -> None:
    handled = handle.alerts([an_alert()])
    departments = {notice.department for notices in handled.notices.values() for notice in notices}
    assert departments == {"market-regulation", "commerce"}
    for partition, notices in handled.notices.items():
        assert 0 <= partition < 4
        assert len({notice.department for notice in notices}) == len(notices)
