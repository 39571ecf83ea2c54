"""Long work of the event loop in slices, so that others have their turns. Knows nothing of what the work is."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Slices: TypeAlias = Generator[None, None, T]
"""Work that gives way now and then by a `yield`, and returns its result."""


async def in_turns(work: Slices[T]) -> T:
    """What `work` returns. Wherever it gives way others have a turn."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
