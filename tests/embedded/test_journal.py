"""What is acknowledged is on disk, whatever ends the process, and no sequence is given twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import struct
import sys
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.embedded import journal as module
from jianguan.embedded.journal import Entry, Journal
from jianguan.errors import ConfigurationError, UnavailableError

Given = tuple[str, str, tuple[tuple[str, bytes], ...], bytes, int]


def record(number: int, size: int = 5) -> Given:
    return ("complaints", f"key-{number}", (("jg-receipt", b"r-%d" % number),), b"v" * size + b"%d" % number, number)


def opened(folder: Path, **options: Any) -> Journal:
    journal = Journal(folder, **options)
    journal.open()
    return journal


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def everything(folder: Path) -> list[Entry]:
    journal = opened(folder)
    try:
        return list(journal.entries())
    finally:
        journal.close()


async def written(folder: Path, count: int, **options: Any) -> Journal:
    """A closed journal of `count` entries."""
    journal = opened(folder, **options)
    for number in range(count):
        journal.release(await journal.append([record(number)]))
    journal.close()
    return journal


async def test_what_was_appended_is_read_again_in_order(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert await journal.append([record(0), record(1)]) == [0, 1]
    assert await journal.append([record(2)]) == [2]
    journal.close()
    assert everything(tmp_path) == [Entry(number, *record(number)) for number in range(3)]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
RECORDS = st.tuples(
    TEXT,
    TEXT,
    st.lists(st.tuples(TEXT, st.binary(max_size=20)), max_size=3).map(tuple),
    st.binary(max_size=300),
    st.integers(0, 2**53),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(RECORDS, max_size=4), max_size=6), st.integers(1, 2_000))
def test_any_records_come_back_as_they_were(groups: list[list[Given]], segment_bytes: int) -> None:
    async def append_all(folder: Path) -> None:
        journal = opened(folder, segment_bytes=segment_bytes)
        await asyncio.gather(*[journal.append(group) for group in groups])
        journal.close()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(append_all(Path(name)))
        wanted = [each for group in groups for each in group]
        assert everything(Path(name)) == [Entry(number, *each) for number, each in enumerate(wanted)]


async def test_an_end_torn_at_any_byte_is_cut_and_nothing_whole_is_lost(tmp_path: Path) -> None:
    await written(tmp_path / "whole", 2)
    source = files(tmp_path / "whole")[0]
    content = source.read_bytes()
    ends = [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 8 + struct.unpack_from("<I", content, ends[-1])[0])
    for size in range(len(content)):
        folder = tmp_path / "torn"
        folder.mkdir()
        (folder / source.name).write_bytes(content[:size])
        whole = sum(end <= size for end in ends) - 1
        journal = opened(folder)
        assert [entry.sequence for entry in journal.entries()] == list(range(whole))
        assert await journal.append([record(9)]) == [whole]
        journal.close()
        assert [entry.sequence for entry in everything(folder)] == list(range(whole + 1))
        shutil.rmtree(folder)


async def test_zeros_at_the_end_are_no_entries(tmp_path: Path) -> None:
    await written(tmp_path, 2)
    with files(tmp_path)[0].open("ab") as file:
        file.write(bytes(800))
    assert opened(tmp_path).next_sequence == 2


async def write_of(journal: Journal, numbers: range, size: int = 5) -> None:
    """Append as many callers at once, whose records are written and synced together."""
    for sequences in await asyncio.gather(*[journal.append([record(number, size)]) for number in numbers]):
        journal.release(sequences)


async def test_a_hole_in_a_write_that_was_never_acknowledged_is_cut_with_what_follows_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a loss of power some pages of an unfinished write may be there and others, before them, not."""
    journal = opened(tmp_path)
    await write_of(journal, range(2))
    (path,) = files(tmp_path)
    acknowledged = path.stat().st_size
    await write_of(journal, range(2, 10), size=2_000)
    journal.close()
    with path.open("r+b") as file:
        file.seek(acknowledged)
        file.write(bytes(4096))
    again = opened(tmp_path)
    assert [entry.sequence for entry in again.entries()] == [0, 1]
    assert f"{path} ends in a write that was not finished" in caplog.text
    assert await again.append([record(2)]) == [2]
    again.close()


def frames_of(*entries: Entry) -> bytes:
    """As earlier versions wrote: each entry a frame of its own."""
    bodies = [msgspec.msgpack.encode(entry) for entry in entries]
    return b"".join(struct.pack("<II", len(body), zlib.crc32(body)) + body for body in bodies)


async def test_what_earlier_versions_wrote_is_read_and_damage_in_it_refused(tmp_path: Path) -> None:
    entries = [Entry(number, *record(number)) for number in range(3)]
    content = frames_of(*entries)
    path = tmp_path / f"{0:020d}.journal"
    path.write_bytes(bytes(20) + content[20:])
    with pytest.raises(ConfigurationError, match=path.name):
        Journal(tmp_path).open()
    path.write_bytes(content + b"torn")
    journal = opened(tmp_path)
    assert await journal.append([record(3)]) == [3]
    journal.close()
    assert everything(tmp_path) == [*entries, Entry(3, *record(3))]


DAMAGE = st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([b"\0", b"\xff", b"\x96", b"\xdd"]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 400)), min_size=1, max_size=5),
    st.lists(DAMAGE, max_size=2),
    st.none() | st.floats(0, 1),
    st.binary(max_size=20) | st.integers(1, 9_000).map(bytes),
)
def test_whatever_becomes_of_the_last_segment_acknowledged_entries_are_there_or_it_is_refused(
    writes: list[tuple[int, int]], damages: list[tuple[float, float, bytes]], cut: float | None, tail: bytes
) -> None:
    """Overwritten, cut off and lengthened anywhere: what comes before the first bad write is kept, unless a whole one
    follows, since that one was begun only when those before it were acknowledged."""

    async def write_all(folder: Path) -> list[int]:
        journal = opened(folder)
        ends, number = [0], 0
        for count, size in writes:
            await write_of(journal, range(number, number + count), size)
            number += count
            ends.append(files(folder)[0].stat().st_size)
        journal.close()
        return ends

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ends = asyncio.run(write_all(folder))
        (path,) = files(folder)
        whole = path.read_bytes()
        content = bytearray(whole)
        for start, share, byte in damages:
            begin = int(start * len(content))
            end = begin + int(share * (len(content) - begin))
            content[begin:end] = byte * (end - begin)
        if cut is not None:
            del content[int(cut * len(content)) :]
        path.write_bytes(content + tail)
        good = [content[begin:end] == whole[begin:end] for begin, end in itertools.pairwise(ends)]
        before = good.index(False) if False in good else len(good)
        if any(good[before:]):
            with pytest.raises(ConfigurationError, match=path.name):
                Journal(folder).open()
        else:
            count = sum(count for count, _ in writes[:before])
            assert [entry.sequence for entry in everything(folder)] == list(range(count))


async def test_damage_before_the_end_of_the_last_segment_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    await written(tmp_path, 3)
    path = files(tmp_path)[0]
    content = path.read_bytes()
    for place in range(len(content) * 2 // 3 - 2):  # every byte of the first two entries, lengths included
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(ConfigurationError, match=path.name):
            Journal(tmp_path).open()
    path.write_bytes(content)
    assert len(everything(tmp_path)) == 3


async def test_damage_in_an_older_segment_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    await written(tmp_path, 1)
    await written(tmp_path, 1)
    first = files(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-1])
    journal = opened(tmp_path)
    with pytest.raises(ConfigurationError, match=first.name):
        list(journal.entries())
    journal.close()


async def test_sequences_go_on_after_everything_was_dropped(tmp_path: Path) -> None:
    await written(tmp_path, 5)
    for _ in range(3):
        journal = opened(tmp_path)
        assert journal.drop_before(journal.roll()) >= 0
        assert list(journal.entries()) == []
        assert journal.next_sequence == 5
        journal.close()


async def test_rolling_gives_a_mark_and_dropping_before_it_keeps_the_rest(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.release(await journal.append([record(0), record(1)]))
    mark = journal.roll()
    assert mark == 2
    assert journal.roll() == 2  # nothing new: no new segment
    journal.release(await journal.append([record(2)]))
    assert journal.drop_before(mark) == 1
    assert [entry.sequence for entry in journal.entries()] == [2]
    assert journal.size() > 0
    journal.close()


async def test_an_entry_is_taken_only_when_its_segment_is_in_the_folder_and_no_disk_holds_up_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    synced = module._sync_folder

    def noted(folder: Path) -> None:
        threads.append(threading.current_thread().name)
        synced(folder)

    monkeypatch.setattr(module, "_sync_folder", noted)
    journal = opened(tmp_path)
    for number in range(2):
        journal.release(await journal.append([record(number)]))
        assert len(threads) == number + 1
        journal.release(await journal.append([record(9)]))
        journal.roll()
    assert len(threads) == 2
    assert all(name.startswith("journal") for name in threads)
    journal.close()


async def test_a_segment_goes_only_when_the_one_that_follows_is_there_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequences go on from it. After a loss of power that left none they would begin anew, and name other records."""
    journal = opened(tmp_path)
    journal.release(await journal.append([record(0)]))
    done: list[str] = []
    mark = journal.roll()
    synced, unlinked = module._sync_folder, Path.unlink

    def sync(folder: Path) -> None:
        done.append("synced")
        synced(folder)

    def unlink(path: Path) -> None:
        done.append("gone")
        unlinked(path)

    monkeypatch.setattr(module, "_sync_folder", sync)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert journal.drop_before(mark) == 1
    assert done == ["synced", "gone", "synced"]
    journal.close()


async def test_no_mark_goes_beyond_an_entry_that_the_broker_does_not_have_yet(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.release(await journal.append([record(0)]))
    journal.roll()
    held = await journal.append([record(1)])
    journal.roll()
    journal.release(await journal.append([record(2)]))
    mark = journal.roll()
    assert mark == 1
    journal.drop_before(mark)
    assert [entry.sequence for entry in journal.entries()] == [1, 2]
    journal.release(held)
    assert journal.roll() == 3
    journal.close()


async def test_segments_are_rolled_by_size_while_others_append(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=500)

    async def keep_appending(start: int) -> None:
        for number in range(start, start + 20):
            await journal.append([record(number)])

    await asyncio.gather(*[keep_appending(start) for start in range(0, 200, 20)])
    journal.close()
    assert len(files(tmp_path)) >= 5
    found = everything(tmp_path)
    assert [entry.sequence for entry in found] == list(range(200))
    assert {entry.at for entry in found} == set(range(200))
    firsts = [int(path.stem) for path in files(tmp_path)]
    assert firsts == sorted(set(firsts))


def held_sync(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """From now on a sync to disk sets the first event when it begins, and ends once the second one is set."""
    begun, go, sync = threading.Event(), threading.Event(), os.fdatasync

    def slowly(descriptor: int) -> None:
        begun.set()
        go.wait(5)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slowly)
    return begun, go


async def test_an_entry_that_comes_while_a_segment_fills_begins_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = held_sync(monkeypatch)
    journal = opened(tmp_path, segment_bytes=1)
    first = asyncio.ensure_future(journal.append([record(0)]))
    await asyncio.to_thread(begun.wait, 5)
    second = asyncio.ensure_future(journal.append([record(1), record(2)]))
    await asyncio.sleep(0)
    go.set()
    assert (await first, await second) == ([0], [1, 2])
    journal.close()
    assert [int(path.stem) for path in files(tmp_path)] == [0, 1, 3]


async def test_appends_at_once_share_few_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    sync = os.fdatasync

    def counted(descriptor: int) -> None:
        syncs.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    journal = opened(tmp_path)
    gave = await asyncio.gather(*[journal.append([record(number)]) for number in range(100)])
    journal.close()
    assert sorted(sequence for sequences in gave for sequence in sequences) == list(range(100))
    assert 1 <= len(syncs) <= 3


async def test_nothing_is_acknowledged_before_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    synced: list[int] = []

    def measured(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fdatasync", measured)
    for number in range(3):
        await journal.append([record(number)])
        assert synced[number:] == [files(tmp_path)[0].stat().st_size]
    journal.close()


async def test_entries_can_be_read_while_others_append(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    await journal.append([record(0)])
    reading = journal.entries()
    assert next(reading).sequence == 0
    with files(tmp_path)[0].open("ab") as file:
        file.write(b"half of what is being wri")
    assert [entry.sequence for entry in reading] == []
    assert [entry.sequence for entry in journal.entries()] == [0]
    journal.close()


@pytest.mark.parametrize("seen", [False, True])
async def test_entries_are_all_read_by_a_thread_while_a_segment_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """Just after the segments were listed, or just before, so that the new one is among them."""
    journal = opened(tmp_path)
    journal.release(await journal.append([record(0), record(1)]))
    listed = Path.glob

    def listed_meanwhile(folder: Path, pattern: str) -> list[Path]:
        monkeypatch.undo()
        before = list(listed(folder, pattern))
        journal.roll()
        return list(listed(folder, pattern)) if seen else before

    monkeypatch.setattr(Path, "glob", listed_meanwhile)
    assert [entry.sequence for entry in journal.entries()] == [0, 1]
    journal.close()


async def test_a_full_disk_refuses_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    await journal.append([record(0), record(1)])
    journal._file = FullDisk(journal._file, room=30)  # type: ignore[assignment]
    outcomes = await asyncio.gather(
        *[journal.append([record(number)]) for number in range(2, 6)], return_exceptions=True
    )
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    with pytest.raises(UnavailableError, match="free the disk"):
        await journal.append([record(9)])
    journal.close()
    assert [entry.sequence for entry in everything(tmp_path)][:2] == [0, 1]
    again = opened(tmp_path)
    assert await again.append([record(10)]) == [again.next_sequence - 1]
    again.close()
    sequences = [entry.sequence for entry in everything(tmp_path)]
    assert sequences == list(range(len(sequences)))


async def test_no_segment_is_started_behind_an_end_that_a_full_disk_has_torn(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.release(await journal.append([record(0)]))
    journal._file = FullDisk(journal._file, room=30)  # type: ignore[assignment]
    with pytest.raises(UnavailableError):
        await journal.append([record(1, size=50_000)])
    for _ in range(2):
        journal.drop_before(journal.roll())
    journal.close()
    assert [entry.sequence for entry in everything(tmp_path)] == [0]


class FullDisk:
    """A file on a disk with `room` bytes left."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: bytes) -> None:
        self._file.write(data[: self._room])
        self._file.flush()
        raise OSError(28, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


async def test_a_segment_that_cannot_be_started_refuses_the_next_instead_of_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, segment_bytes=1)

    def refuse(self: Path, *_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)
    assert await journal.append([record(0)]) == [0]
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError):
            await journal.append([record(1)])
    monkeypatch.undo()
    journal.close()
    assert [entry.sequence for entry in everything(tmp_path)] == [0]


async def test_a_mark_is_given_also_when_no_segment_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    journal.release(await journal.append([record(0)]))

    def refuse(self: Path, *_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)
    for _ in range(2):
        assert journal.drop_before(journal.roll()) == 0
    assert "No space left on device" in journal.failures()[0]
    with pytest.raises(UnavailableError, match="No space left on device"):
        await journal.append([record(1)])
    monkeypatch.undo()
    journal.close()
    assert [entry.sequence for entry in everything(tmp_path)] == [0]


async def test_after_close_an_append_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    journal = await written(tmp_path, 1)
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError):
            await journal.append([record(1)])


async def test_a_record_that_cannot_be_written_takes_no_sequence(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(UnicodeEncodeError):
        await journal.append([record(0), ("complaints", "\ud800", (), b"", 0)])
    assert await journal.append([record(1)]) == [0]
    assert await journal.append([]) == []
    journal.close()


async def test_more_than_may_wait_is_refused_and_takes_no_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = held_sync(monkeypatch)
    monkeypatch.setattr("jianguan.embedded.journal.MAX_WAITING", 2)
    journal = opened(tmp_path)
    written = asyncio.ensure_future(journal.append([record(0)]))
    await asyncio.to_thread(begun.wait, 5)
    waiting = [asyncio.ensure_future(journal.append([record(number)])) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="behind"):
        await journal.append([record(9)])
    go.set()
    assert await asyncio.gather(written, *waiting) == [[0], [1], [2]]
    assert await journal.append([record(3)]) == [3]
    journal.close()
    assert everything(tmp_path) == [Entry(number, *record(number)) for number in range(4)]


async def test_what_waits_is_written_in_parts_that_a_frame_can_tell_the_length_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: syncs.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr("jianguan.embedded.journal.WRITE_BYTES", 1_500)
    journal = opened(tmp_path)
    await write_of(journal, range(6), size=1_000)
    journal.close()
    assert len(syncs) == 3
    assert [entry.sequence for entry in everything(tmp_path)] == list(range(6))


async def test_a_caller_that_gives_up_holds_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    task = asyncio.create_task(journal.append([record(0)]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    journal.release(await journal.append([record(1)]))
    assert journal.roll() == 2
    journal.close()


async def test_files_are_the_owner_s_alone(tmp_path: Path) -> None:
    await written(tmp_path / "journal", 1)
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in files(tmp_path / "journal"))


CHILD = """
import asyncio, sys
from pathlib import Path
from jianguan.embedded.journal import Journal
async def main():
    journal = Journal(Path(sys.argv[1]), segment_bytes=5000)
    journal.open()
    while True:
        gave = await asyncio.gather(*[journal.append([("complaints", "k", (), b"x" * 200, 0)]) for _ in range(7)])
        print(max(gave)[0], flush=True)
asyncio.run(main())
"""


async def test_a_killed_process_leaves_all_that_it_acknowledged(tmp_path: Path) -> None:
    for _ in range(2):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert child.stdout is not None
        for _ in range(20):
            last = int(await child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = await child.stdout.read()
        await child.wait()
        acknowledged = max([last, *[int(line) for line in rest.splitlines()]])
        sequences = [entry.sequence for entry in everything(tmp_path)]
        assert sequences == list(range(len(sequences)))
        assert len(sequences) > acknowledged
