"""Serves the web app from inside an event loop that does other work too: own sockets, no signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from jianguan.errors import ConfigurationError


class _Server(uvicorn.Server):
    """Uvicorn's, but signals stay with the application."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """One HTTP server. `bind` first: a taken port is noticed before anything else is started."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
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
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=2_000,
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
