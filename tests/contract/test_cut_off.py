"""A crash between the rows of a run: what was stored without its step must be taken for new when it is read again."""

from __future__ import annotations

from typing import Any

import pytest

from jianguan.domain.trace import Records
from sinks import embedded, server
from sinks.archive import SqlArchive
from sinks.store import BlockStore
from streams.seen import SeenEvents
from tests.contract.samples import NOW, alert, case, delivery, event, step, task


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


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_delivery_is_never_finished_without_its_step_however_far_a_write_came(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """It is not sent again then, so that nobody would tell the step."""
    made = delivery(task(case([alert([event(1)])])))
    store.write(Records(deliveries=[made]), "made")
    left = written

    def counted(*arguments: Any) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("the process was killed")
        left -= 1
        insert(*arguments)

    insert: Any
    if isinstance(store, embedded.EmbeddedStore):
        insert = embedded._insert
        monkeypatch.setattr(embedded, "_insert", counted)
    else:
        insert = server.ServerStore._insert
        monkeypatch.setattr(server.ServerStore, "_insert", counted)
    end = Records(
        deliveries=[made._replace(state="delivered", revision=2)], trace=[step(made.id, "delivered", stage=4)]
    )
    if written < 2:
        with pytest.raises(RuntimeError):
            store.write(end, "end")
    else:
        store.write(end, "end")
    ((state, steps),) = store.query(
        "SELECT state, (SELECT count() FROM trace WHERE subject = {id:String}) FROM deliveries FINAL"
        " WHERE id = {id:String}",
        {"id": made.id},
    )
    assert (state, steps) == [("pending", 0), ("pending", 1), ("delivered", 1)][written]
