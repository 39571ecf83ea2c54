"""A connection with a fault in it: a port that passes bytes on to a server, and can do something in between.

For tests of what a client does when a server dies while something is under way, or when an answer does not arrive.
Knows no protocol.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_PIECE: Final = 1 << 16


class Relay:
    """Passes bytes between clients and 127.0.0.1:`port`. Its methods may be called from any thread."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._left = 0
        self._then: Callable[[], object] | None = None
        self._mute = threading.Event()
        self.sent = 0  # bytes, by clients
        self.open = 0  # clients that are connected now
        self.most_open = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where clients connect."""
        number: int = self._listener.getsockname()[1]
        return number

    @property
    def url(self) -> str:
        """The address for clients of a store."""
        return f"clickhouse://127.0.0.1:{self.port}"

    def after(self, count: int, then: Callable[[], object]) -> None:
        """Call `then` once, when clients have sent `count` bytes from now on, before the last of them are passed on."""
        with self._lock:
            self._left, self._then = count, then

    def mute(self) -> None:
        """Let no answer through any more, whatever the server does."""
        self._mute.set()

    def unmute(self) -> None:
        """Let answers through again, on connections that are made from now on."""
        self.cut()
        self._mute.clear()

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            sockets = list(self._open)
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break every connection and take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        with client, server:
            with self._lock:
                self._open |= {client, server}
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            answers = threading.Thread(target=self._pass, args=(server, client, self._heard), daemon=True)
            answers.start()
            self._pass(client, server, self._said)
            answers.join()
            with self._lock:
                self._open -= {client, server}
                self.open -= 1

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, seen: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                target.sendall(seen(piece))
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _said(self, piece: bytes) -> bytes:
        then = None
        with self._lock:
            self.sent += len(piece)
            self._left -= len(piece)
            if self._left <= 0:
                then, self._then = self._then, None
        if then is not None:
            then()
        return piece

    def _heard(self, piece: bytes) -> bytes:
        return b"" if self._mute.is_set() else piece


@contextmanager
def relay_to(url: str) -> Iterator[Relay]:
    """A relay to the server at `url`."""
    relay = Relay(int(url.rpartition(":")[2]))
    try:
        yield relay
    finally:
        relay.close()
