"""Who may talk to this server at all: host, origin, token, sizes; and the headers that bind a browser. Plain ASGI.

Knows nothing of what is asked for, except which paths are health checks and which one takes large bodies.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.bodies import too_large, too_slow
from dashboards.dependencies import Dependencies
from dashboards.headers import headers_of
from dashboards.intake import EVENTS
from dashboards.problems import ProblemError

HEALTH: Final = frozenset({"/healthz", "/readyz"})
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def policy(style: str = "'self'") -> str:
    """What a browser may load and run. `style` is where styles may come from."""
    return (
        f"default-src 'none'; script-src 'self'; style-src {style}; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


HEADERS: Final = {
    "Content-Security-Policy": policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_ANSWERED: Final = tuple(
    (name.lower().encode(), value.encode()) for name, value in {**HEADERS, "Cache-Control": "no-store"}.items()
)


class Guard:
    """Refuses what is not allowed before anything else runs."""

    def __init__(self, app: ASGIApp, deps: Dependencies, answer: Callable[[Scope, ProblemError], ASGIApp]) -> None:
        """`answer` is what a refusal is told with."""
        self._app = app
        self._answer = answer
        self._token = deps.api_token
        self._hosts = (LOOPBACK | deps.allowed_hosts) if deps.loopback else None
        self._small = deps.limits.small_body_bytes
        self._seconds = deps.limits.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                there = {name for name, _ in headers}  # in lower case, says ASGI
                message["headers"] = [*headers, *[header for header in _ANSWERED if header[0] not in there]]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await self._answer(scope, refusal)(scope, receive, guarded)
        elif scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"] == EVENTS:
            await self._app(scope, receive, guarded)
        else:
            await self._app(scope, self._bounded(receive), guarded)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        headers = headers_of(scope)
        host = headers.get("host", "")
        if self._hosts is not None and hostname(host) not in self._hosts:
            return ProblemError(421, "unknown-host", "this server answers to its own name only")
        path = scope["path"]
        if self._token is not None and path not in HEALTH and not self._authorised(headers):
            scheme = 'Bearer realm="jianguan"' if path.startswith("/v1/") else 'Basic realm="jianguan", charset="UTF-8"'
            return ProblemError(401, "token-needed", "a token is needed", headers={"WWW-Authenticate": scheme})
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        if not same_origin(headers, host):
            return ProblemError(403, "cross-origin", "pages of other sites may not act here")
        length = headers.get("content-length", "0")
        if path != EVENTS and (not length.isdigit() or int(length) > self._small):
            return too_large(self._small)
        return None

    def _authorised(self, headers: Mapping[str, str]) -> bool:
        assert self._token is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() == "basic":  # for browsers: any user name, the token as password
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token.encode())

    def _bounded(self, receive: Receive) -> Receive:
        """`receive` that ends the body of a small request above its limit, since chunked bodies announce no length, and
        408 when it takes too long."""
        taken, whole = 0, False
        until = asyncio.get_running_loop().time() + self._seconds

        async def bounded() -> Message:
            nonlocal taken, whole
            try:
                async with asyncio.timeout_at(None if whole else until):  # later calls wait for the client to go
                    message = await receive()
            except TimeoutError:
                raise too_slow(self._seconds) from None
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return {"type": "http.disconnect"} if taken > self._small else message

        return bounded


@lru_cache(256)
def hostname(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty when it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if host else ""
    except ValueError:
        return ""


def same_origin(headers: Mapping[str, str], host: str) -> bool:
    """Whether a writing request comes from this server's own pages, or from no browser at all."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return bool(origin) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
