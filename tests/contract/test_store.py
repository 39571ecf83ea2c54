"""What every store must do with records: keep them, once, whole, apart where they are personal, and through a crash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.trace import TABLES, Records
from jianguan.errors import ConfigurationError, UnavailableError
from sinks import migrate
from sinks.archive import SqlArchive
from sinks.rows import SHAPES, records_of
from sinks.store import BlockStore, StoreError
from tests.contract.conftest import Opener
from tests.contract.samples import NOW, SECRETS, case, delivery, event, personal, quarantined, step, task, world

HOSTILE = (
    "' OR 1=1 --",
    "'; DROP TABLE events; --",
    "\\' OR '1'='1",
    "\\",
    "x\\",
    "{name:String}",
    "%s %(name)s",
    "\\N",
    "NULL",
    "a\0b",
    "tab\tline\nreturn\r\b\f",
    "`id`",
    '"id"',
    "--",
    "/*",
    "[1,2]",
    "['a']",
    "🎈'汉字",
    "",
)


def final(store: BlockStore, table: str) -> list[Any]:
    """Every row of a table as the reader sees it."""
    shape = SHAPES[table]
    return records_of(table, store.query(f"SELECT {shape.select_list()} FROM {table} FINAL"))


def as_stored(records: Records, table: str) -> list[Any]:
    rows = getattr(records, table)
    return [row._replace(text=None) for row in rows] if table == "events" else list(rows)


@pytest.mark.parametrize("table", TABLES)
def test_the_schema_has_the_columns_that_the_rows_have(store: BlockStore, table: str) -> None:
    columns = store.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        " AND default_kind = '' ORDER BY position",
        {"table": table},
    )
    assert columns == [(column.name, column.type) for column in SHAPES[table].columns]


def test_every_record_comes_back_as_it_was_written(store: BlockStore) -> None:
    records = world()
    store.write(records, "run-1")
    for table in TABLES:
        assert sorted(final(store, table)) == sorted(as_stored(records, table)), table


@pytest.mark.parametrize("second_token", ["run-1", "run-2", ""])
def test_the_same_records_told_twice_are_the_same_rows(store: BlockStore, second_token: str) -> None:
    store.write(world(), "run-1")
    store.write(world(), second_token)
    for table in TABLES:
        assert sorted(final(store, table)) == sorted(as_stored(world(), table)), table


def test_a_run_told_again_is_not_stored_again(store: BlockStore) -> None:
    for _ in range(3):
        store.write(world(), "run-1")
    for table in TABLES:
        assert store.query(f"SELECT count() FROM {table}") == [(len(getattr(world(), table)),)], table


def test_a_record_twice_in_one_run_is_one_row(store: BlockStore) -> None:
    records = world()
    records.extend(world())
    store.write(records, "run-1")
    assert len(final(store, "events")) == 2
    assert len(final(store, "trace")) == len(world().trace)


def test_other_records_under_the_same_token_are_not_swallowed(store: BlockStore) -> None:
    store.write(Records(events=[event(1)]), "run-1")
    store.write(Records(events=[event(2)]), "run-1")
    assert {each.id for each in final(store, "events")} == {event(1).id, event(2).id}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_of_several_revisions_the_highest_is_kept_whatever_came_last(store: BlockStore, order: tuple[int, ...]) -> None:
    alerts = world().alerts
    for revision in order:
        told = case(alerts, revision=revision, state="closed" if revision == 3 else "open")
        work = task(told, revision=revision, state="closed" if revision == 3 else "assigned")
        store.write(Records(cases=[told], tasks=[work], deliveries=[delivery(work, revision=revision)]), "same")
    for table in ("cases", "tasks", "deliveries"):
        assert [row.revision for row in final(store, table)] == [3], table


def test_personal_fields_are_in_no_table_but_their_own(store: BlockStore) -> None:
    complaint = event(1, demand=None, text=SECRETS[4])
    store.write(Records(events=[complaint], personal=[personal(complaint)]), "run-1")
    for table in TABLES:
        (text,) = store.query(f"SELECT toString(groupArray(tuple(*))) FROM {table}")[0]
        found = [secret for secret in SECRETS if secret in text]
        assert found == (list(SECRETS) if table == "personal" else []), table


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0", b"\0\xff\xfe\0", "🎈汉字".encode(), bytes(range(256)) * 4096, b"'\\\"`\n"],
    ids=["empty", "nul", "not utf-8", "emoji", "a megabyte", "quotes"],
)
def test_the_bytes_of_a_refused_record_come_back_unchanged(store: BlockStore, raw: bytes) -> None:
    refused = quarantined(1, raw)
    store.write(Records(quarantine=[refused]), "run-1")
    assert final(store, "quarantine") == [refused]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_kept_as_it_is(store: BlockStore, text: str) -> None:
    odd = event(1, source=text, product=text, tags=(text, "x"), content_hash=text)._replace(number=text)
    told = step(odd.id, text, text)._replace(detail=text, actor=text)
    store.write(Records(events=[odd], trace=[told]), text)
    assert final(store, "events") == [odd._replace(text=None)]
    assert final(store, "trace") == [told]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_parameter_is_never_read_as_sql(store: BlockStore, text: str) -> None:
    assert store.query("SELECT {name:String}, length({name:String})", {"name": text}) == [(text, len(text.encode()))]
    rows = store.query("SELECT arrayJoin({names:Array(String)})", {"names": [text, "x", text]})
    assert [row[0] for row in rows] == [text, "x", text]


def test_half_a_surrogate_pair_does_not_hold_up_the_run(store: BlockStore) -> None:
    store.write(Records(events=[event(1, product="a\ud800b"), event(2)]), "run-\ud800")
    assert sorted(each.product for each in final(store, "events")) == ["a?b", "酒"]


@pytest.mark.parametrize("year_ms", [-2_208_000_000_000, 0, 951_782_400_000, 4_102_444_800_000])
def test_moments_of_two_centuries_come_back_to_the_millisecond(store: BlockStore, year_ms: int) -> None:
    store.write(Records(events=[event(1, occurred_at=year_ms + 7)]), "run-1")
    assert final(store, "events")[0].occurred_at == year_ms + 7


def test_a_run_of_events_from_many_years_is_one_insert(store: BlockStore) -> None:
    month = 31 * 24 * 3600 * 1000
    events = [event(number, occurred_at=NOW - number * month) for number in range(300)]
    store.write(Records(events=events, personal=[personal(each) for each in events]), "run-1")
    assert len(final(store, "events")) == 300


def test_an_empty_run_writes_nothing(store: BlockStore) -> None:
    store.write(Records(), "run-1")
    assert all(not final(store, table) for table in TABLES)


def test_long_answers_come_in_blocks(store: BlockStore) -> None:
    blocks = list(store.blocks("SELECT number, toString(number) FROM numbers({most:UInt64})", {"most": 150_000}))
    assert len(blocks) > 1
    assert [row for block in blocks for row in block] == [(number, str(number)) for number in range(150_000)]


def test_long_answers_by_column_are_the_same(store: BlockStore) -> None:
    sql = "SELECT number, if(number % 3 = 0, NULL, toString(number)) FROM numbers({most:UInt64})"
    columns = list(store.columns(sql, {"most": 150_000}))
    assert len(columns) > 1
    rows = [row for block in store.blocks(sql, {"most": 150_000}) for row in block]
    assert [row for block in columns for row in zip(*block, strict=True)] == rows
    assert list(store.columns(sql, {"most": 0})) == []


@pytest.mark.parametrize("form", ["blocks", "columns"])
def test_an_answer_that_is_left_half_read_does_not_block_the_next(store: BlockStore, form: str) -> None:
    for _ in range(6):
        left = getattr(store, form)("SELECT number FROM numbers(1000000)")
        next(left)
        left.close()
    assert store.query("SELECT 1") == [(1,)]


def test_a_wrong_statement_is_an_error_of_the_statement(store: BlockStore) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        store.query("SELECT * FROM nowhere")
    with pytest.raises(StoreError, match="nowhere"):
        list(store.blocks("SELECT * FROM nowhere"))
    assert store.query("SELECT 1") == [(1,)]


@pytest.mark.parametrize("form", ["blocks", "columns", "query"])
def test_an_answer_that_fails_on_its_way_is_an_error_of_the_statement(store: BlockStore, form: str) -> None:
    # On a session that had such an answer the embedded engine may spoil the next; on a busy machine it always did.
    for _ in range(10):
        with pytest.raises(StoreError, match="throwIf"):
            list(getattr(store, form)("SELECT throwIf(number = 150000) FROM numbers(300000)"))
        assert store.query("SELECT 1") == [(1,)]


def test_what_was_written_is_there_after_closing_and_opening_again(opener: Opener) -> None:
    first = opener()
    first.start()
    first.write(world(), "run-1")
    first.close()
    second = opener()
    second.start()
    try:
        assert sorted(final(second, "trace")) == sorted(world().trace)
        assert second.query("SELECT count() FROM migrations") == [(len(migrate.load()),)]
    finally:
        second.close()


def test_a_closed_store_says_so(opener: Opener) -> None:
    store = opener()
    store.start()
    store.close()
    store.close()
    with pytest.raises(UnavailableError):
        store.query("SELECT 1")
    with pytest.raises(UnavailableError):
        store.write(world(), "run-1")


def test_maintaining_changes_no_answer(store: BlockStore) -> None:
    for number in range(30):
        store.write(Records(events=[event(number)]), f"run-{number}")
    before = sorted(final(store, "events"))
    store.maintain()
    store.maintain()
    assert sorted(final(store, "events")) == before


def test_migrations_run_once(store: BlockStore) -> None:
    assert migrate.apply(store) == []


def test_a_changed_migration_is_refused(store: BlockStore) -> None:
    first, *others = migrate.load()
    changed = first._replace(text=first.text + "\n-- a change")
    with pytest.raises(ConfigurationError, match=re.escape("0001_records.sql was changed")):
        migrate.apply(store, [changed, *others])


ADDED = "ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS note String DEFAULT 'none';\nSELECT ';'"


def test_a_new_migration_is_applied_and_an_older_version_goes_on_writing_and_reading(opener: Opener) -> None:
    store = opener()
    store.start()
    before, after = quarantined(1, b"before"), quarantined(2, b"after")
    store.write(Records(quarantine=[before]), "run-1")
    known = migrate.load()
    added = migrate.Migration(len(known) + 1, "added", ADDED)
    assert migrate.apply(store, [*known, added]) == [added.number]
    assert migrate.apply(store, known) == []
    store.write(Records(quarantine=[after]), "run-2")
    assert sorted(final(store, "quarantine")) == sorted([before, after])
    assert store.query("SELECT DISTINCT note FROM quarantine") == [("none",)]
    assert migrate.apply(store, [*known, added]) == []
    store.close()


def test_a_store_of_before_the_first_telling_counted_is_taken_with_what_is_in_it(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = known = migrate.load()
    monkeypatch.setattr(migrate, "load", lambda: [first])
    older = opener()
    older.start()
    here, again = step(event(1).id, "accepted"), step(event(2).id, "accepted")
    older.write(Records(trace=[again._replace(at=NOW + 9), here, again]), "run-1")
    older.close()
    monkeypatch.setattr(migrate, "load", lambda: known)
    store = opener()
    store.start()
    monkeypatch.setattr(migrate, "load", lambda: [first])
    assert migrate.apply(store) == []  # an older version starts beside it, and tells both again
    store.write(Records(trace=[here._replace(at=NOW + 5), again._replace(at=NOW + 5)]), "run-2")
    store.command("OPTIMIZE TABLE trace FINAL")
    archive = SqlArchive(store, VirtualClock(from_millis(NOW)))
    for told in (here, again):
        history = archive.history(told.subject)
        assert history is not None
        assert history.steps == [told]
    store.close()


def test_an_older_version_refuses_a_store_with_a_migration_that_says_so(opener: Opener) -> None:
    store = opener()
    store.start()
    known = migrate.load()
    added = migrate.Migration(len(known) + 1, "split", f"-- Older versions stop here.\n{ADDED}")
    assert migrate.apply(store, [*known, added]) == [added.number]
    with pytest.raises(ConfigurationError, match="cannot work"):
        migrate.apply(store, known)
    assert migrate.apply(store, [*known, added]) == []
    store.close()


class Commanded:
    """A store, and what it is commanded."""

    def __init__(self, store: BlockStore) -> None:
        self.query = store.query
        self.commands: list[str] = []
        self._store = store

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.commands.append(sql)
        self._store.command(sql, parameters)


def test_a_schema_that_is_up_to_date_is_left_alone(store: BlockStore) -> None:
    """On a full disk an engine may lose its description of a table that is altered, for nothing."""
    commanded = Commanded(store)
    assert migrate.apply(commanded) == []
    assert commanded.commands == []
    store.command("ALTER TABLE migrations DROP COLUMN breaking")
    migrate.apply(commanded)
    migrate.apply(commanded)
    assert len(commanded.commands) == 1


def test_a_ledger_that_does_not_tell_breaking_migrations_yet_is_taken(opener: Opener) -> None:
    store = opener()
    store.start()
    store.command("ALTER TABLE migrations DROP COLUMN breaking")
    assert migrate.apply(store) == []
    store.close()
