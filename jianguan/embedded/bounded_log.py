"""Keep what a child process prints in a file that cannot fill the disk.

Two files at most: `name` and, when that is full, `name.1`. It must not know who prints or what.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

log = logging.getLogger(__name__)

CHUNK_BYTES = 65_536


class BoundedLog:
    """A log file of at most `limit_bytes`, and one older file of the same size beside it."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self._limit = max(limit_bytes, 1)

    def write(self, data: bytes) -> None:
        """Append, keeping only the end of `data` if it is larger than a whole file. Blocks on the disk."""
        data = data[-self._limit :]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size + len(data) > self._limit:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        with self.path.open("ab") as file:
            file.write(data)

    def tail(self, limit: int = 2_000) -> str:
        """The last `limit` bytes as text, for an error message; "" if nothing was printed."""
        if not self.path.exists():
            return ""
        return self.path.read_bytes()[-limit:].decode("utf-8", "replace").strip()

    async def drain(self, source: asyncio.StreamReader) -> None:
        """Copy everything from `source` until it ends. What the disk does not take is let go: whoever prints would wait
        for a reader without end."""
        while data := await source.read(CHUNK_BYTES):
            try:
                await asyncio.to_thread(self.write, data)
            except OSError as error:
                log.warning("%d bytes could not be kept in %s: %s", len(data), self.path, error)
