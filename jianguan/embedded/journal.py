"""The journal of the embedded mode: what was acknowledged is on disk before it is acknowledged.

The embedded broker keeps nothing, so everything that comes from outside (events, commands) is appended here first.
After a crash the entries that are still here are sent again; every effect downstream is idempotent by id. Segments
are dropped once all stages and the store have what they hold. Knows nothing of topics' meaning, Faust or the store.

A segment is a file `<first sequence>.journal` of frames: length (u32), CRC-32 of the body (u32), body (MessagePack, an
array of entries). A frame is what is written and synced at once, and begins only when the one before it is on disk. So
whatever a crash or a loss of power leaves of an unfinished write (half of it, holes of zeros, pages of it in any order)
is one bad frame at the end of the last segment: it was never acknowledged and is cut. A bad frame anywhere else, or one
that a whole frame follows, is damage to what was acknowledged, and is an error.

Earlier versions made a frame of each entry, whose body is that entry: they are read as they are, and as strictly.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from jianguan.errors import ConfigurationError, UnavailableError

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<II")
SEGMENT_BYTES: Final = 16 * 1024 * 1024
MAX_WAITING: Final = 20_000  # groups of records
WRITE_BYTES: Final = 64 * 1024 * 1024  # no group is added to a write that has as many: a frame has a length of 32 bits


class Entry(NamedTuple):
    """One record as it was handed in. `sequence` grows by one with each, for ever."""

    sequence: int
    topic: str  # without prefix
    key: str
    headers: tuple[tuple[str, bytes], ...]
    value: bytes
    at: int  # when it was received, ms


class _Segment(NamedTuple):
    """The segment that is being written, and how many bytes of it are on disk."""

    path: Path
    size: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Entry])
_ENTRIES: Final = struct.Struct(">BI")  # the head of a MessagePack array of any length
_ARRAY: Final = 0xDD
_ONE: Final = 0x90 + len(Entry._fields)  # an entry is a short array itself: a body that begins so is one entry
_BODY_BEGINS: Final = re.compile(b"[" + re.escape(bytes([_ARRAY, _ONE])) + b"]")


class _Write(NamedTuple):
    """What waits to be written together."""

    first: int  # its first sequence
    entries: list[bytes]
    done: asyncio.Future[None]


class Journal:
    """Append-only, with one fsync for all that waits. Append from one event loop only."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._thread = ThreadPoolExecutor(1, "journal")
        self._file: IO[bytes] | None = None
        self._current = _Segment(folder, 0)  # replaced as a whole: other threads look at it
        self._next = 0
        self._waiting: list[_Write] = []
        self._held: set[int] = set()
        self._flusher: asyncio.Task[None] | None = None
        self._failed: Exception | None = None
        self._new = False  # the current segment may not be in the folder yet after a loss of power

    @property
    def next_sequence(self) -> int:
        """The sequence that the next entry will get."""
        return self._next

    def failures(self) -> list[str]:
        """Why nothing is taken any more; empty when all is well."""
        if self._failed is None:
            return []
        return [f"the journal cannot be written: {self._failed}; free the disk and restart"]

    def open(self) -> None:
        """Read what is there, cut a torn end, and be ready to append. Blocking; ConfigurationError when damaged."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._failed = None
        segments = self._segments()
        if segments:
            last = segments[-1]
            count, good = _measure(last)
            rest = last.stat().st_size - good
            if rest:
                log.warning("%s ends in a write that was not finished: its %d bytes are cut off", last, rest)
                _cut(last, good)
            self._next = _first(last) + count
        self._roll(self._next)

    def entries(self) -> Iterator[Entry]:
        """Everything that is not dropped yet, in order. Blocking; damage is a ConfigurationError with the path.

        Of the segment that is being written it gives what had been written when it was called.
        """
        current = self._current
        for path in self._segments():
            if path > current.path:
                return  # started since
            with path.open("rb") as file:
                yield from _read(file, path, current.size if path == current.path else path.stat().st_size)

    def oldest(self) -> int | None:
        """When the oldest entry that is here was received (ms), None when there is none. Blocking."""
        return next((entry.at for entry in self.entries()), None)

    def close(self) -> None:
        """Write out what is being written and release the file; what still waits is refused. Blocking."""
        self._failed = self._failed or OSError("it is closed")
        self._thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    async def append(self, records: Sequence[tuple[str, str, tuple[tuple[str, bytes], ...], bytes, int]]) -> list[int]:
        """Make (topic, key, headers, value, at) durable; their sequences. UnavailableError when the disk refuses.

        What was appended is held until `release`: no mark that `roll` gives lies beyond it.
        """
        if self._failed is not None:
            raise UnavailableError(self.failures()[0])
        if len(self._waiting) >= MAX_WAITING:
            raise UnavailableError("the journal is behind; try again shortly")
        sequences = list(range(self._next, self._next + len(records)))
        if not sequences:
            return sequences
        entries = [_ENCODER.encode(Entry(*each)) for each in _numbered(sequences, records)]
        self._next += len(sequences)
        self._held.update(sequences)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(sequences[0], entries, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        try:
            await done
        except BaseException:
            self.release(sequences)
            raise
        return sequences

    def release(self, sequences: Iterable[int]) -> None:
        """The broker has these entries, or whoever handed them in was told that it has not."""
        self._held.difference_update(sequences)

    def roll(self) -> int:
        """Start a new segment if the current one has entries, and give a mark: all entries before it are written and
        released, and those of older segments only. While entries are being written no segment is started, and none
        once the disk has refused: the end of the current one may be torn, and only that of the last may be."""
        if self._current.size and not self._waiting and (self._flusher is None or self._flusher.done()):
            self._try_to_roll(self._next)
        return min(_first(self._segments()[-1]), *self._held) if self._held else _first(self._segments()[-1])

    def drop_before(self, sequence: int) -> int:
        """Delete the segments all of whose entries come before `sequence`; how many were deleted. Blocking."""
        pairs = itertools.pairwise(self._segments())
        done = [path for path, following in pairs if _first(following) <= sequence]
        if done:
            _sync_folder(self._folder)  # first what follows is there for good: sequences go on from it
            for path in done:
                path.unlink()
            _sync_folder(self._folder)
        return len(done)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self._segments())

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._next_write()
            try:
                await loop.run_in_executor(self._thread, self._write, [each.entries for each in batch])
            except (OSError, RuntimeError) as error:  # RuntimeError: the thread has ended, because of `close`
                # After a failed write the end of the file is unknown: nothing more is taken until a restart.
                self._refuse(batch, error)
                return
            for each in batch:
                if not each.done.done():
                    each.done.set_result(None)
            if self._current.size >= self._segment_bytes:
                # Entries that came meanwhile have their sequences already, and belong to the next segment.
                following = self._waiting[0].first if self._waiting else self._next
                if not self._try_to_roll(following):
                    return

    def _next_write(self) -> list[_Write]:
        """Take what is written and synced at once from what waits."""
        size = count = 0
        while count < len(self._waiting) and size < WRITE_BYTES:
            size += sum(map(len, self._waiting[count].entries))
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _refuse(self, batch: Sequence[_Write], error: Exception) -> None:
        self._failed = error
        for each in [*batch, *self._waiting]:
            if not each.done.done():
                each.done.set_exception(UnavailableError(f"the journal cannot be written: {error}"))
        self._waiting = []

    def _write(self, groups: Sequence[list[bytes]]) -> None:
        if self._file is None:
            raise OSError("the journal is closed")
        if self._new:  # here, in the thread, and not when it was begun: a slow disk must not hold up the event loop
            _sync_folder(self._folder)
            self._new = False
        data = _frame(list(itertools.chain.from_iterable(groups)))
        self._file.write(data)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._current = self._current._replace(size=self._current.size + len(data))

    def _try_to_roll(self, following: int) -> bool:
        """`_roll`; when the disk refuses, or has refused, False, and nothing is taken any more."""
        if self._failed is not None:
            return False
        try:
            self._roll(following)
        except OSError as error:
            self._refuse([], error)
            return False
        return True

    def _roll(self, following: int) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        path = self._folder / f"{following:020d}.journal"
        self._file = path.open("ab")
        path.chmod(0o600)
        self._current = _Segment(path, path.stat().st_size)
        self._new = True

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.journal"))


def _numbered(sequences: Sequence[int], records: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for sequence, record in zip(sequences, records, strict=True):
        yield (sequence, *record)


def _frame(entries: Sequence[bytes]) -> bytes:
    body = b"".join([_ENTRIES.pack(_ARRAY, len(entries)), *entries])
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _entries_in(body: bytes) -> list[Entry]:
    """Of a frame; one for each where earlier versions wrote."""
    return _DECODER.decode(_ENTRIES.pack(_ARRAY, 1) + body if body[0] == _ONE else body)


def _first(path: Path) -> int:
    return int(path.name.split(".")[0])


def _frames(file: IO[bytes], size: int) -> Iterator[bytes | None]:
    """Bodies of the whole frames in the first `size` bytes; None once for anything that is not one."""
    left = size
    while left > 0:
        head = file.read(_HEAD.size)
        left -= _HEAD.size
        if len(head) < _HEAD.size or left < 0:
            yield None
            return
        length, checksum = _HEAD.unpack(head)
        # No body is empty: zeros are what a file system may leave where it has not written yet.
        body = file.read(length) if 0 < length <= left else b""
        if not body or len(body) < length or zlib.crc32(body) != checksum:
            yield None
            return
        left -= length
        yield body


def _measure(path: Path) -> tuple[int, int]:
    """(entries in whole frames, bytes that these take) of a segment whose end may be torn."""
    count = good = 0
    size = path.stat().st_size
    with path.open("rb") as file:
        for body in _frames(file, size):
            if body is None:
                break
            count += len(_entries_in(body))
            good += _HEAD.size + len(body)
        file.seek(good)
        if _holds_a_frame(file.read()):
            raise _damaged(path)
    return count, good


def _holds_a_frame(rest: bytes) -> bool:
    """Whether a whole frame begins anywhere in `rest`: then what stands before it is damage and not a torn end."""
    for found in _BODY_BEGINS.finditer(rest, _HEAD.size):
        at = found.start()
        length, checksum = _HEAD.unpack_from(rest, at - _HEAD.size)
        if 0 < length <= len(rest) - at and zlib.crc32(memoryview(rest)[at : at + length]) == checksum:
            return True
    return False


def _read(file: IO[bytes], path: Path, size: int) -> Iterator[Entry]:
    for body in _frames(file, size):
        if body is None:
            raise _damaged(path)
        yield from _entries_in(body)


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is damaged; move it aside to start without the records in it, they are not in the store yet"
    )


def _cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
