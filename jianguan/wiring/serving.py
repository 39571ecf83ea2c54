"""Serves the web app from inside an event loop that does other work too: own sockets, no signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jianguan.errors import ConfigurationError

HEAD_BYTES: Final = 64 * 1024  # of a request's line and headers, and of what follows a body
HEAD_SECONDS: Final = 10.0  # for the head of a request to arrive, also of the first after a connection was made
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Server(uvicorn.Server):
    """Uvicorn's, but signals stay with the application."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Uvicorn's, with bounds on the head of a request. Its parser has none, and nobody has shown a token before the end
    of a head: a stranger could fill the memory, or hold all connections by saying nothing."""

    _between = 0  # bytes since the last end of a head or piece of a body
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._between += len(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        super().data_received(data)
        if self._between > HEAD_BYTES:
            self._end(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._have_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._between = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _have_head(self) -> None:
        self._between = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._end(_TOO_SLOW if self._between else b"")  # a browser may have connected before it has anything to ask

    def _end(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:  # else an answer of the application is under way
                self.transport.write(answer)
            self.transport.close()


class WebServer:
    """One HTTP server. `bind` first: a taken port is noticed before anything else is started.

    Who a client is, its connection says, and for one from `trusted` proxies these do. Nobody else may: a limit for each
    client would not hold who names himself anew each time.
    """

    def __init__(self, host: str, port: int, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._host = host
        self._port = port
        self._trusted = [str(network) for network in trusted]
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def bind(self) -> None:
        """Take the port. ConfigurationError when somebody else has it."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((self._host, self._port))
        except OSError as error:
            found.close()
            raise ConfigurationError(
                f"{self._host}:{self._port} cannot be used ({error.strerror}); is jianguan running already? "
                "Choose another with --port, or --port 0 for any free one"
            ) from None
        found.listen(1024)
        self._socket = found

    @property
    def url(self) -> str:
        """Where the pages are. Only after `bind`."""
        assert self._socket is not None
        port = self._socket.getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{port}"

    async def start(self, app: Any) -> None:
        """Serve `app` until `stop`."""
        assert self._socket is not None
        config = uvicorn.Config(
            app,
            loop="none",
            http=_Protocol,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=2_000,
            proxy_headers=bool(self._trusted),  # by itself uvicorn trusts whoever is on this machine
            forwarded_allow_ips=self._trusted,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="web")

    async def stop(self) -> None:
        """Stop listening; requests under way have a second."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
