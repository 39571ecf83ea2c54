"""Sends one signed webhook to one receiver and says what came of it. The only room here with a socket.

It must not know retries, the schedule or what a delivery says. Every receiver has a lane of its own: connections,
a bound on concurrent requests, and one thread for resolving its name (a resolver that hangs would otherwise use up
a pool that all share). So one that is slow, or down, or whose name does not resolve, delays no other.

A name is resolved once, every address is checked, and the connection goes to a checked address: a socket is only
ever created for an address that passes, so a name cannot change its meaning between check and use. TLS is verified
against the host name of the URL. Proxies of the environment, redirects and cookies are not used.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

import jianguan
from jianguan.clock import Clock
from jianguan.errors import UnavailableError
from sinks.webhooks.receivers import Receiver
from sinks.webhooks.retry import Outcome, OutcomeKind, kind_of_status, parse_retry_after
from sinks.webhooks.signing import sign
from sinks.webhooks.targets import Target, TargetRefusedError, check_address, check_resolved, check_url

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to address texts; raises OSError when the name does not resolve."""


@dataclass(frozen=True, slots=True)
class SendLimits:
    """Times in seconds. `connect` covers name, TCP and TLS; `total` everything up to the answer's headers and body."""

    connect: float = 5.0
    total: float = 35.0  # some receivers work for half a minute before they answer
    # A body is read only so that the connection can serve again; one that does not end soon is cut off.
    drain: float = 1.0
    response_bytes: int = 64 * 1024
    per_receiver: int = 4


class _PinnedResolver(AbstractResolver):
    """Gives aiohttp only addresses that this receiver may have."""

    def __init__(self, receiver: Receiver, resolve: Resolve) -> None:
        self._receiver = receiver
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = check_resolved(host, await self._resolve(host, port), self._receiver.policy)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Lane:
    """What one receiver has for itself."""

    def __init__(self, receiver: Receiver, limits: SendLimits, tls: ssl.SSLContext, resolve: Resolve | None) -> None:
        self.receiver = receiver
        self.slots = asyncio.Semaphore(limits.per_receiver)
        self.users = 0
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"resolve-{receiver.id}")
        self._lookup: asyncio.Future[list[str]] | None = None
        connector = aiohttp.TCPConnector(
            limit=limits.per_receiver,
            resolver=_PinnedResolver(receiver, resolve or self._ask_system),
            use_dns_cache=False,
            ssl=tls,
            keepalive_timeout=10,
            socket_factory=self._checked_socket,
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=limits.total, connect=limits.connect, sock_connect=limits.connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=limits.response_bytes,
            headers={
                "User-Agent": f"jianguan/{jianguan.__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
            },
        )

    def _checked_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last gate: whatever was parsed or resolved before, this is the address that is connected to."""
        family, kind, protocol, _, address = info
        check_address(self.receiver.id, ip_address(address[0]), self.receiver.policy)
        return socket.socket(family=family, type=kind, proto=protocol)

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        if self._lookup is None or self._lookup.done():
            loop = asyncio.get_running_loop()
            self._lookup = loop.run_in_executor(self._threads, _system_addresses, host, port)
            self._lookup.add_done_callback(_look_at)
        # Shielded: a request that gives up must not cancel the answer that others wait for.
        return await asyncio.shield(self._lookup)

    async def close(self) -> None:
        await self.session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_at(lookup: asyncio.Future[list[str]]) -> None:
    """Marks a failure as seen, for when everyone who waited has given up."""
    if not lookup.cancelled():
        lookup.exception()


def _system_addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class WebhookSender:
    """Sends webhooks. Made and used inside one event loop; `close` it there.

    `resolve` replaces the system's resolver, `tls` the system's trust store (a context that verifies).
    """

    def __init__(
        self,
        clock: Clock,
        limits: SendLimits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._clock = clock
        self._limits = limits or SendLimits()
        self._tls = tls or ssl.create_default_context()
        if self._tls.verify_mode is not ssl.CERT_REQUIRED or not self._tls.check_hostname:
            raise ValueError("webhooks need a TLS context that verifies the certificate and the host name")
        self._resolve = resolve
        self._lanes: dict[str, _Lane] = {}
        self._retired: list[_Lane] = []
        self._closed = False

    async def send(self, receiver: Receiver, delivery_id: str, body: bytes) -> Outcome:
        """One attempt: POST `body` (JSON), signed with the time of now. Every failure is an Outcome.

        Raises InputError when the id cannot be signed, UnavailableError after `close`.
        """
        if self._closed:
            raise UnavailableError("the webhook sender is closed")
        if receiver.disabled:
            return Outcome(OutcomeKind.GONE, detail="the receiver is disabled in the configuration")
        try:
            target = check_url(receiver.url, receiver.policy)
        except TargetRefusedError as error:
            return Outcome(OutcomeKind.REFUSED, detail=str(error))
        lane = self._lane(receiver)
        lane.users += 1
        try:
            async with lane.slots:
                if self._closed:
                    raise UnavailableError("the webhook sender was closed before this was sent")
                started = self._clock.monotonic()
                outcome = await self._attempt(lane, target, delivery_id, body)
                elapsed = self._clock.monotonic() - started
                return replace(outcome, duration_ms=round(elapsed * 1000))
        finally:
            lane.users -= 1
            await self._close_idle_retired()

    async def close(self) -> None:
        """Closes all connections. Requests under way end as failures; those that wait raise UnavailableError."""
        self._closed = True
        lanes = [*self._lanes.values(), *self._retired]
        self._lanes.clear()
        self._retired.clear()
        for lane in lanes:
            await lane.close()

    def _lane(self, receiver: Receiver) -> _Lane:
        lane = self._lanes.get(receiver.id)
        if lane is not None and lane.receiver == receiver:
            return lane
        if lane is not None:
            # The configuration changed: connections that were allowed before must not be used again.
            self._retired.append(lane)
        self._lanes[receiver.id] = fresh = _Lane(receiver, self._limits, self._tls, self._resolve)
        return fresh

    async def _close_idle_retired(self) -> None:
        idle = [lane for lane in self._retired if not lane.users]
        self._retired = [lane for lane in self._retired if lane.users]
        for lane in idle:
            await lane.close()

    async def _attempt(self, lane: _Lane, target: Target, delivery_id: str, body: bytes) -> Outcome:
        headers = sign(delivery_id, self._clock.now(), body, lane.receiver.secrets)
        headers["Content-Type"] = "application/json"
        try:
            async with lane.session.post(
                lane.receiver.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                outcome = self._read(response)
                await self._drain(response)
                return outcome
        except TargetRefusedError as error:
            return Outcome(OutcomeKind.REFUSED, detail=str(error))
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(OutcomeKind.RETRY, detail=_describe(error, target))

    def _read(self, response: aiohttp.ClientResponse) -> Outcome:
        kind = kind_of_status(response.status)
        detail = f"answered {response.status}"
        if 300 <= response.status <= 399:
            detail += "; redirects are not followed, correct the URL"
        asked = None
        if kind is OutcomeKind.RETRY and "Retry-After" in response.headers:
            asked = parse_retry_after(response.headers["Retry-After"], self._clock.now())
        return Outcome(kind, response.status, detail, asked)

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Reads a small body away; else closes the connection. The status has been said: nothing here changes it."""
        left = self._limits.response_bytes
        try:
            async with asyncio.timeout(self._limits.drain):
                while left > 0:
                    piece = await response.content.read(left)
                    if not piece:
                        return
                    left -= len(piece)
        except (aiohttp.ClientError, OSError):
            # A body that breaks off or takes too long. The answer was in the status line.
            pass
        response.close()


def _describe(error: Exception, target: Target) -> str:
    """A short sentence of ours: the texts of exceptions may repeat what the other side sent."""
    where = target.origin
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the TLS certificate of {where} is not valid for it"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no TLS connection to {where}"
    if isinstance(error, TimeoutError):
        slow = isinstance(error, aiohttp.ConnectionTimeoutError)
        return f"no connection to {where} in time" if slow else f"no answer from {where} in time"
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return f"the name of {where} does not resolve"
    if isinstance(error, OSError):
        name = errno.errorcode.get(error.errno or 0, "")
        return f"no connection to {where}" + (f" ({name})" if name else "")
    if isinstance(error, aiohttp.ClientResponseError):  # aiohttp does not tell what status it had
        return f"the answer of {where} is not valid HTTP, such as a 204 with a body"
    return f"{where} did not answer with HTTP ({type(error).__name__})"
