"""A server that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest

Answer: TypeAlias = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Lets what a test gives answer every request that a command makes."""

    def with_answer(answer: Answer) -> None:
        client = httpx.Client

        def build(**options: Any) -> httpx.Client:
            return client(**{**options, "transport": httpx.MockTransport(answer)})

        monkeypatch.setattr(httpx, "Client", build)

    return with_answer
