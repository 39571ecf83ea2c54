"""Bodies are inflated to what was zipped, in little steps, whatever they are made of."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards import bodies
from dashboards.bodies import inflate
from dashboards.problems import ProblemError

LIMIT = 4 * 1024 * 1024


def _hold(size: int) -> None:
    """Everything."""


# Around the steps in which a body is given to zlib and comes back, and well and badly packed.
pieces = st.builds(
    lambda seed, times: seed * times, st.binary(min_size=1, max_size=8), st.sampled_from([0, 1, 16_384, 131_072])
)


@given(st.lists(pieces, min_size=1, max_size=4), st.sampled_from([0, 6]))
def test_members_are_inflated_to_what_was_zipped(members: list[bytes], level: int) -> None:
    body = b"".join(gzip.compress(each, level) for each in members)
    assert asyncio.run(inflate(body, LIMIT, _hold)) == b"".join(members)


@given(pieces, pieces, st.integers(1, 19))
def test_a_body_that_ends_early_is_refused(first: bytes, last: bytes, missing: int) -> None:
    body = gzip.compress(first) + gzip.compress(last)[:-missing]
    with pytest.raises(ProblemError, match="gzip"):
        asyncio.run(inflate(body, LIMIT, _hold))


async def test_many_small_members_are_not_copied_again_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    given_at_once: list[int] = []

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._stream = zlib.decompressobj(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            given_at_once.append(len(data))
            return self._stream.decompress(data, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    watched = SimpleNamespace(MAX_WBITS=zlib.MAX_WBITS, error=zlib.error, decompressobj=Watched)
    monkeypatch.setattr(bodies, "zlib", watched)
    member = gzip.compress(b"x")
    assert await inflate(member * 10_000, LIMIT, _hold) == b"x" * 10_000
    assert max(given_at_once) <= 64 * 1024
