"""A receiver for trying things out: takes the webhooks of every department on loopback and checks their signatures.

Only the demonstration uses it, so that deliveries have somewhere to go before real receivers are configured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from aiohttp import web

from jianguan.clock import Clock
from sinks.webhooks.receivers import Receiver
from sinks.webhooks.signing import Secret, VerificationError, verify

MAX_BODY: Final = 256 * 1024
_TOLERANCE: Final = timedelta(minutes=5)


class DemoInbox:
    """An HTTP server on a free port of loopback."""

    def __init__(self, clock: Clock, secret: Secret) -> None:
        self._clock = clock
        self._secret = secret
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.received: Counter[str] = Counter()  # by department
        self.refused = 0

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/{department}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def receivers(self, departments: Sequence[str]) -> tuple[Receiver, ...]:
        """A receiver for each department. Only after `start`."""
        return tuple(
            Receiver(
                id=f"demo-{department}",
                department=department,
                url=f"http://127.0.0.1:{self._port}/{department}",
                secrets=(self._secret,),
                allow_private=True,
                allow_http=True,
            )
            for department in departments
        )

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            verify(dict(request.headers), body, [self._secret], self._clock.now(), _TOLERANCE)
        except VerificationError:
            self.refused += 1
            return web.Response(status=401)
        self.received[request.match_info["department"]] += 1
        return web.Response(status=204)
