"""The port: a thread for each connection, until it is told to stop."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final

from tests.native_server.conversation import Conversation
from tests.native_server.engine import Engine

_GRACE: Final = 5.0


class Server:
    """Takes connections on loopback. `delay_s` passes before each statement is run: a server that is slow."""

    def __init__(self, engine: Engine, port: int, delay_s: float) -> None:
        self._engine = engine
        self._delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def run(self) -> None:
        """Take connections until `stop`."""
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._talk, args=(peer,), daemon=True)
            with self._lock:
                self._open[thread] = peer
            thread.start()

    def stop(self) -> bool:
        """Take no more, end what is open. False when a statement went on nevertheless."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            left = dict(self._open)
        for peer in left.values():
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(_GRACE)
        return not any(thread.is_alive() for thread in left)

    def _talk(self, peer: socket.socket) -> None:
        try:
            with peer:
                Conversation(peer, self._engine, self._pause).run()
        finally:
            with self._lock:
                del self._open[threading.current_thread()]

    def _pause(self) -> None:
        if self._delay_s:
            self._stopping.wait(self._delay_s)
