"""Standard input that a thread can be called back from: nothing else ends a thread that waits in a read."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, Self


class StandardInput(io.RawIOBase):
    """Bytes of a descriptor as they come, which is not closed with it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._called_back, self._caller = os.pipe()
        self._calls = False

    @classmethod
    def of_process(cls) -> Self | None:
        """That of this process; None when something else stands in its place."""
        try:
            return cls(sys.stdin.fileno())
        except (AttributeError, OSError):  # there is none at all; it is no file
            return None

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What is there, once there is something; nothing at the end, or once it was called back."""
        ready, _, _ = select.select([self._descriptor, self._called_back], [], [])
        return 0 if self._called_back in ready else os.readv(self._descriptor, [buffer])

    def call_back(self) -> None:
        """End here for whoever reads, or will read, in another thread."""
        if not self._calls:
            self._calls = True
            os.close(self._caller)

    def close(self) -> None:
        """Release what it needs for being called back."""
        if not self.closed:
            self.call_back()
            os.close(self._called_back)
        super().close()
