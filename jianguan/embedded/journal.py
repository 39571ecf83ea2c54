"""The journal of the embedded mode: what was acknowledged is on disk before it is acknowledged.

The embedded broker keeps nothing, so everything that comes from outside (events, commands) is appended here first.
After a crash the entries that are still here are sent again; every effect downstream is idempotent by id. Segments
are dropped once all stages and the store have what they hold. Knows nothing of topics' meaning, Faust or the store.

A segment is a file `<first sequence>.journal` of frames: length (u32), CRC-32 of the body (u32), body (MessagePack).
A torn frame at the end of the last segment is what a crash in mid-write leaves: it was never acknowledged and is cut.
A bad frame anywhere else is damage, and is an error.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from jianguan.errors import ConfigurationError, UnavailableError

_HEAD: Final = struct.Struct("<II")
SEGMENT_BYTES: Final = 16 * 1024 * 1024
MAX_WAITING: Final = 20_000


class Entry(NamedTuple):
    """One record as it was handed in. `sequence` grows by one with each, for ever."""

    sequence: int
    topic: str  # without prefix
    key: str
    headers: tuple[tuple[str, bytes], ...]
    value: bytes
    at: int  # when it was received, ms


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Entry)


class Journal:
    """Append-only, with one fsync for all that waits. Append from one event loop only."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._thread = ThreadPoolExecutor(1, "journal")
        self._file: IO[bytes] | None = None
        self._size = 0
        self._next = 0
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._failed: OSError | None = None

    @property
    def next_sequence(self) -> int:
        """The sequence that the next entry will get."""
        return self._next

    def open(self) -> None:
        """Read what is there, cut a torn end, and be ready to append. Blocking."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._failed = None
        segments = self._segments()
        if segments:
            last = segments[-1]
            count, good = _measure(last)
            if good < last.stat().st_size:
                os.truncate(last, good)
            self._next = _first(last) + count
        self._roll()

    def entries(self) -> Iterator[Entry]:
        """Everything that is not dropped yet, in order. Blocking; damage is a ConfigurationError with the path."""
        for path in self._segments():
            with path.open("rb") as file:
                yield from _read(file, path)

    def close(self) -> None:
        """Write out what waits and release the file. Blocking."""
        self._thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    async def append(self, records: Sequence[tuple[str, str, tuple[tuple[str, bytes], ...], bytes, int]]) -> list[int]:
        """Make (topic, key, headers, value, at) durable; their sequences. UnavailableError when the disk refuses."""
        if self._failed is not None:
            raise UnavailableError(f"the journal cannot be written: {self._failed}; free the disk and restart")
        if len(self._waiting) >= MAX_WAITING:
            raise UnavailableError("the journal is behind; try again shortly")
        sequences = []
        frames = []
        for record in records:
            sequences.append(self._next)
            body = _ENCODER.encode(Entry(self._next, *record))
            frames.append(_HEAD.pack(len(body), zlib.crc32(body)) + body)
            self._next += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((b"".join(frames), done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await done
        return sequences

    def roll(self) -> int:
        """Start a new segment if the current one has entries; the first sequence of the current segment after that.

        Call it only when no append is under way in another task of the loop: it does not wait for the writer.
        """
        if self._size and not self._waiting and (self._flusher is None or self._flusher.done()):
            self._roll()
        return _first(self._segments()[-1])

    def drop_before(self, sequence: int) -> int:
        """Delete the segments all of whose entries come before `sequence`; how many were deleted."""
        segments = self._segments()
        dropped = 0
        for path, following in itertools.pairwise(segments):
            if _first(following) <= sequence:
                path.unlink()
                dropped += 1
        if dropped:
            _sync_folder(self._folder)
        return dropped

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self._segments())

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._write, b"".join([frames for frames, _ in batch]))
            except OSError as error:
                # After a failed write the end of the file is unknown: nothing more is taken until a restart.
                self._failed = error
                for _, done in [*batch, *self._waiting]:
                    if not done.done():
                        done.set_exception(UnavailableError(f"the journal cannot be written: {error}"))
                self._waiting = []
                return
            for _, done in batch:
                if not done.done():
                    done.set_result(None)
            if self._size >= self._segment_bytes and not self._waiting:
                self._roll()

    def _write(self, data: bytes) -> None:
        if self._file is None:
            raise OSError("the journal is closed")
        self._file.write(data)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._size += len(data)

    def _roll(self) -> None:
        if self._file is not None:
            self._file.close()
        path = self._folder / f"{self._next:020d}.journal"
        self._file = path.open("ab")
        path.chmod(0o600)
        self._size = path.stat().st_size
        _sync_folder(self._folder)

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.journal"))


def _first(path: Path) -> int:
    return int(path.name.split(".")[0])


def _frames(file: IO[bytes]) -> Iterator[bytes | None]:
    """Bodies of whole frames; None once for anything that is not one."""
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            yield None
            return
        length, checksum = _HEAD.unpack(head)
        body = file.read(length)
        if len(body) < length or zlib.crc32(body) != checksum:
            yield None
            return
        yield body


def _measure(path: Path) -> tuple[int, int]:
    """(whole frames, bytes that they take) of a segment."""
    count = good = 0
    with path.open("rb") as file:
        for body in _frames(file):
            if body is None:
                break
            count += 1
            good += _HEAD.size + len(body)
    return count, good


def _read(file: IO[bytes], path: Path) -> Iterator[Entry]:
    for body in _frames(file):
        if body is None:
            raise ConfigurationError(
                f"{path} is damaged; move it aside to start without the records in it, they are not in the store yet"
            )
        yield _DECODER.decode(body)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
