"""A process of a cluster, which can be frozen and killed at any moment."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Final

KILLED: Final = 20.0  # seconds in which a process that was killed is gone


class Child:
    """What is done alike to a node of Kafka and to a worker. Who starts the process sets `_process`; `log` has what it
    says."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id, also of one that has ended."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            self.signal(signal.SIGKILL)
            assert self._process is not None
            self._process.wait(KILLED)

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody. For the others it is as good as dead, for itself it
        never stops."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Any other signal."""
        assert self._process is not None, "start it first"
        self._process.send_signal(number)

    def tail(self, size: int = 4_000) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-size:] if self.log.exists() else ""
