"""A crash between the rows of a run: what was stored without its step must be taken for new when it is read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from jianguan.domain.trace import Records
from sinks import embedded, server
from sinks.archive import SqlArchive
from sinks.store import BlockStore
from streams.seen import SeenEvents
from tests.contract.samples import NOW, alert, case, delivery, event, quarantined, step, task

CutOff: TypeAlias = Callable[[Records, int], bool]


@pytest.mark.parametrize("outcome", ["accepted", "late"])
def test_an_event_without_its_step_is_not_taken_for_a_duplicate(
    store: BlockStore, archive: SqlArchive, outcome: str
) -> None:
    whole, cut = event(1), event(2)
    store.write(Records(events=[whole, cut], trace=[step(whole.id, outcome, receipt="r-1")]), "run-1")
    seen = SeenEvents(10)
    seen.restore(archive.seen_events(10))
    assert seen.see(cut.id, cut.content_hash, "r-2") == "new"
    assert seen.see(whole.id, whole.content_hash, "r-1") == "again"
    assert seen.see(whole.id, whole.content_hash, "r-3") == "duplicate"


def test_only_the_acceptance_counts_as_the_step_of_an_event(store: BlockStore, archive: SqlArchive) -> None:
    cut = event(1)
    others = [step(cut.id, "duplicate", receipt="r-2"), step(cut.id, "accepted", receipt="r-3", stage=3, at=NOW + 1)]
    store.write(Records(events=[cut], trace=others), "run-1")
    assert list(archive.seen_events(10)) == []


def test_an_event_whose_step_follows_later_is_known_once(store: BlockStore, archive: SqlArchive) -> None:
    cut = event(1)
    store.write(Records(events=[cut]), "run-1")
    for token in ("run-2", "run-3"):
        store.write(Records(events=[cut], trace=[step(cut.id, "accepted", receipt="r-1")]), token)
    assert list(archive.seen_events(10)) == [(cut.id, cut.content_hash, "r-1")]


@pytest.fixture
def cut_off(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> CutOff:
    """Writes, and is killed after so many inserts; whether all of it was written by then."""

    def write(records: Records, inserts: int) -> bool:
        left = inserts

        def counted(*arguments: Any) -> None:
            nonlocal left
            if not left:
                raise RuntimeError("the process was killed")
            left -= 1
            insert(*arguments)

        insert: Any
        with monkeypatch.context() as patch:
            if isinstance(store, embedded.EmbeddedStore):
                insert = embedded._insert
                patch.setattr(embedded, "_insert", counted)
            else:
                insert = server.ServerStore._insert
                patch.setattr(server.ServerStore, "_insert", counted)
            try:
                store.write(records, f"cut off after {inserts}")
            except RuntimeError:
                return False
        return True

    return write


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_delivery_is_never_finished_without_its_step_however_far_a_write_came(
    store: BlockStore, cut_off: CutOff, written: int
) -> None:
    """It is not sent again then, so that nobody would tell the step."""
    made = delivery(task(case([alert([event(1)])])))
    store.write(Records(deliveries=[made]), "made")
    end = Records(
        deliveries=[made._replace(state="delivered", revision=2)], trace=[step(made.id, "delivered", stage=4)]
    )
    assert cut_off(end, written) == (written == 2)
    ((state, steps),) = store.query(
        "SELECT state, (SELECT count() FROM trace WHERE subject = {id:String}) FROM deliveries FINAL"
        " WHERE id = {id:String}",
        {"id": made.id},
    )
    assert (state, steps) == [("pending", 0), ("pending", 1), ("delivered", 1)][written]


def test_an_alert_is_never_stored_without_all_that_came_of_it_however_far_a_write_came(
    store: BlockStore, archive: SqlArchive, cut_off: CutOff
) -> None:
    """One that the clock decided is not raised again then, and no record that is read again leads to its case."""
    inserts, whole = 0, False
    while not whole:
        raised = alert([event(1)], f"rule-{inserts}")
        opened = case([raised], ordinal=inserts + 1)
        given = task(opened)
        sent = delivery(given)
        told = [step(raised.id, "raised", stage=2), step(opened.id, "opened", raised.id, stage=3)]
        told.append(step(given.id, "assigned", stage=3))
        ended = delivery(task(opened, "police"), state="delivered", revision=2)
        whole = cut_off(
            Records(alerts=[raised], cases=[opened], tasks=[given], deliveries=[sent, ended], trace=told), inserts
        )
        counts = {
            table: store.query(f"SELECT count() FROM {table} WHERE {column} IN {{ids:Array(String)}}", {"ids": ids})
            for table, column, ids in (
                ("cases", "id", [opened.id]),
                ("tasks", "id", [given.id]),
                ("deliveries", "id", [sent.id]),
                ("trace", "subject", [raised.id, opened.id, given.id]),
            )
        }
        if archive.known_alerts([raised.id]):
            assert counts == {"cases": [(1,)], "tasks": [(1,)], "deliveries": [(1,)], "trace": [(3,)]}, inserts
        inserts += 1
    assert inserts == 7


def test_a_task_is_never_told_to_be_overdue_without_the_delivery_that_says_so_however_far_a_write_came(
    store: BlockStore, archive: SqlArchive, cut_off: CutOff
) -> None:
    """The clock does not mark it again then."""
    inserts, whole = 0, False
    while not whole:
        given = task(case([alert([event(1)])], ordinal=inserts + 1))
        sent = delivery(given)
        marked = given._replace(overdue=True, revision=2)
        whole = cut_off(Records(tasks=[marked], deliveries=[sent], trace=[step(given.id, "overdue", stage=3)]), inserts)
        if archive.told_overdue([given.id]):
            assert sent.id in [each.id for each in archive.pending_deliveries()], inserts
        inserts += 1
    assert inserts == 4


def test_a_record_is_never_in_quarantine_as_retried_without_its_step_however_far_a_write_came(
    store: BlockStore, cut_off: CutOff
) -> None:
    """Nobody can retry it again then, and its submission would be told nowhere."""
    row = quarantined(1, b"{")
    store.write(Records(quarantine=[row]), "put aside")
    for inserts in (0, 1, 2):
        end = Records(quarantine=[row._replace(state="retried", revision=2)], trace=[step(row.id, "retried", stage=5)])
        assert cut_off(end, inserts) == (inserts == 2)
        ((state, steps),) = store.query(
            "SELECT state, (SELECT count() FROM trace WHERE subject = {id:String}) FROM quarantine FINAL"
            " WHERE id = {id:String}",
            {"id": row.id},
        )
        assert (state, min(steps, 1)) == [("quarantined", 0), ("quarantined", 1), ("retried", 1)][inserts]
