"""Asks about rules: the running server, whose store nobody else may open, or, when none runs, the store itself.

Answers are the API's JSON either way. Must not know how they are shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from jianguan.cli.server import Client, find_server
from jianguan.clock import Clock, SystemClock
from jianguan.domain.hindsight import BacktestRequest
from jianguan.errors import InputError, JianguanError, UnavailableError
from jianguan.settings import load_settings
from rules.loader import not_utf8

_POLL_SECONDS: Final = 0.3
_PLACE: Final = re.compile(r"[0-9]+:[0-9]+: ")
_ENDED: Final = ("done", "failed", "cancelled")

Progress = Callable[[int, int], None]


class Asking(Protocol):
    """Who answers."""

    def explain(self, rule: str, event: str, version: int | None) -> Any:
        """An explanation."""

    def backtest(self, request: BacktestRequest, progress: Progress, wait: Callable[[float], None]) -> Any:
        """The report of a backtest; interrupted, it is cancelled."""

    def warm(self, rule: str) -> Any:
        """With what a rule would begin."""

    def versions(self, rule: str) -> Any:
        """The versions of a rule."""

    def approve(self, rule: str, person: str, reason: str) -> Any:
        """The same, after an approval."""


class Remote:
    """The running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def explain(self, rule: str, event: str, version: int | None) -> Any:
        return self._client.get(f"/v1/rules/{quote(rule, safe='')}/explain/{quote(event, safe='')}", version=version)

    def warm(self, rule: str) -> Any:
        return self._client.get(f"/v1/rules/{quote(rule, safe='')}/warm")

    def versions(self, rule: str) -> Any:
        return self._client.get(f"/v1/rules/{quote(rule, safe='')}/versions")

    def approve(self, rule: str, person: str, reason: str) -> Any:
        body = {"actor": person, "note": reason}
        return self._client.post(f"/v1/rules/{quote(rule, safe='')}/approvals", body)

    def backtest(self, request: BacktestRequest, progress: Progress, wait: Callable[[float], None]) -> Any:
        job = self._client.post("/v1/backtests", asdict(request))
        place = f"/v1/backtests/{job['id']}"
        try:
            while job["state"] not in _ENDED:
                progress(job["done"], job["of"])
                wait(_POLL_SECONDS)
                job = self._client.get(place)
        except KeyboardInterrupt:
            self._client.delete(place)
            raise
        progress(job["done"], job["of"])
        if job["state"] == "done":
            return job["report"]
        raise JianguanError(f"the backtest was {job['state']}{': ' if job['error'] else ''}{job['error']}")


class Local:
    """The store of this machine, opened here."""

    def __init__(self, data: Path | None, clock: Clock) -> None:
        self._settings = load_settings(data=data)
        self._clock = clock

    def explain(self, rule: str, event: str, version: int | None) -> Any:
        from dashboards.rule_shapes import explanation_view
        from jianguan.wiring.offline import offline_tools

        with offline_tools(self._settings, self._clock) as tools:
            return explanation_view(tools.explain(rule, event, version)).model_dump(mode="json")

    def warm(self, rule: str) -> Any:
        from dashboards.rule_shapes import warm_view
        from jianguan.wiring.offline import offline_tools

        with offline_tools(self._settings, self._clock) as tools:
            return warm_view(tools.warm(rule)).model_dump(mode="json")

    def versions(self, rule: str) -> Any:
        from dashboards.rule_shapes import history_view
        from jianguan.wiring.offline import offline_tools

        with offline_tools(self._settings, self._clock) as tools:
            return history_view(tools.history(rule)).model_dump(mode="json")

    def approve(self, rule: str, person: str, reason: str) -> Any:
        raise UnavailableError("approvals are taken by a running server: start it with `jianguan up`")

    def backtest(self, request: BacktestRequest, progress: Progress, wait: Callable[[float], None]) -> Any:
        from dashboards.rule_shapes import report_view
        from jianguan.wiring.offline import offline_tools

        with offline_tools(self._settings, self._clock) as tools:
            return report_view(tools.backtest(request, progress)).model_dump(mode="json")


@contextmanager
def asking(server: str | None, data: Path | None) -> Iterator[Asking]:
    """Who answers: the server that was named or that runs here; else the store of the data folder, if there is one."""
    try:
        address = find_server(data, server, os.environ)
    except UnavailableError:
        settings = load_settings(data=data)
        if not settings.embedded or not (settings.data / "store").is_dir():
            raise
        yield Local(data, SystemClock())
        return
    with Client(address, os.environ) as client:
        yield Remote(client)


def text_of(rule: str) -> str:
    """The text of a rule's file, "" for the id of a rule. InputError for a file that cannot be read."""
    path = Path(rule)
    if path.suffix not in (".yaml", ".yml") and "/" not in rule:
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError("unreadable", f"{rule} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise not_utf8(error, rule) from None


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the name of a file in front of the places in it, which whoever was sent its text alone cannot know."""
    try:
        yield
    except JianguanError as error:
        lines = [f"{path}:{line}" if _PLACE.match(line) else line for line in str(error).split("\n")]
        named = JianguanError("\n".join(lines))
        named.exit_code = error.exit_code
        raise named from error
