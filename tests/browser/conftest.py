"""One Chromium for the run, and servers over data in memory. Every page is checked for errors when its test ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests import requirements

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Server:
    """A running preview."""

    url: str

    def get(self, path: str) -> Any:
        """JSON of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def send(self, *rows: dict[str, Any]) -> Any:
        """Events over HTTP, as any program sends them."""
        request = urllib.request.Request(
            f"{self.url}/v1/events",
            data="\n".join(map(json.dumps, rows)).encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(*arguments: str, port: int = 0) -> Iterator[Server]:
    """A preview in a process of its own, ended with the block."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.dashboards.preview", "--port", str(port), *arguments],
        cwd=Path(__file__).parents[2],
    )
    try:
        server = Server(f"http://127.0.0.1:{port}")
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers."""
    pause = threading.Event()
    for _ in range(300):
        assert process.poll() is None, "the preview ended early"
        try:
            server.get("/healthz")
        except (urllib.error.URLError, ConnectionError):
            pause.wait(0.1)
        else:
            return
    raise AssertionError("the preview did not start within 30 s")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """With the sample data. Shared: a test that changes something makes it first."""
    requirements.browser()
    with serving() as running:
        yield running


@pytest.fixture
def empty_server() -> Iterator[Server]:
    """Without data, for one test."""
    requirements.browser()
    with serving("--empty") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The browser itself."""
    path = requirements.browser()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(path), args=ARGUMENTS)
        yield browser
        await browser.close()


Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser) -> AsyncIterator[Open]:
    """Opens pages in fresh contexts; at its end fails the test for errors on the console, refusals of CSP included.

    `forgive` names a text that may be complained about.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    forgiven: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(each in message.text for each in forgiven):
            complaints.append(message.text)

    async def opened(
        url: str, *, width: int = 1366, height: int = 800, locale: str = "zh-CN", forgive: str = "", **options: Any
    ) -> Page:
        if forgive:
            forgiven.append(forgive)
        context = await chromium.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = await context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert complaints == []
