"""The key of the reporter hash, and deadlines by the day of the place."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jianguan.clock import VirtualClock, to_millis
from jianguan.domain.masking import match_hash
from jianguan.errors import ConfigurationError
from jianguan.settings import load_settings
from jianguan.wiring.tables import hash_key, load_tables
from rules.reference import deadlines
from tests.rules.support import reference


def test_the_key_is_made_once_and_is_the_owner_s_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = hash_key(folder)
    assert len(key) == 32
    assert hash_key(folder) == key
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_processes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    keys: list[bytes] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        keys.append(hash_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reporter-hash.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="too short"):
        hash_key(tmp_path)


def test_a_key_is_taken_as_it_is_or_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "reporter-hash.key"
    path.write_bytes(b"ab" * 32)
    assert match_hash("13800138000", hash_key(tmp_path))
    path.write_bytes(b"ab" * 32 + b"\n")
    with pytest.raises(ConfigurationError, match=r"has 65 bytes.*line end"):
        hash_key(tmp_path)


@pytest.mark.parametrize(("cluster", "told"), [(True, True), (False, False)])
def test_a_worker_of_a_cluster_tells_that_it_makes_a_key_of_its_own(
    cluster: bool, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = {"broker": "k:9092", "store": "clickhouse://h/d"} if cluster else {}
    for expected in (told, False):
        caplog.clear()
        load_tables(load_settings(data=tmp_path, **where), VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)))
        assert ("all workers have one key" in caplog.text) == expected


def test_a_key_that_cannot_be_read_or_made_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "reporter-hash.key").mkdir()
    with pytest.raises(ConfigurationError, match=r"reporter-hash\.key cannot be read"):
        hash_key(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        hash_key(tmp_path / "file")


def test_a_clock_is_the_one_in_force_on_the_day_in_beijing() -> None:
    # The mediation of complaints went from 45 working to 60 calendar days on 2026-04-15, Beijing time.
    deadline = deadlines(reference())
    before = deadline("complaint-mediation", to_millis(datetime(2026, 4, 14, 15, 59, tzinfo=UTC)))
    after = deadline("complaint-mediation", to_millis(datetime(2026, 4, 14, 16, 0, tzinfo=UTC)))
    assert before[1] != after[1]
    # 60 days from 15 April end on Sunday 14 June; the clock runs out as Monday 15 June ends.
    assert after[0] == to_millis(datetime(2026, 6, 15, 16, 0, tzinfo=UTC))


def test_a_year_without_calendar_leaves_a_case_without_deadline_and_says_why() -> None:
    due, why = deadlines(reference())("complaint-acceptance", to_millis(datetime(2090, 1, 1, tzinfo=UTC)))
    assert due is None
    assert "2090" in why
