"""Independent questions asked at once: a store answers several at a time, each on one core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any


class AtOnce:
    """At most `most` questions at a time for one asker. Thread-safe.

    A question must not itself ask through the same instance: it could wait for a thread that waits for it.
    """

    def __init__(self, most: int = 3) -> None:
        self._threads = ThreadPoolExecutor(most - 1, thread_name_prefix="question")

    def __call__(self, first: Callable[[], Any], *others: Callable[[], Any]) -> tuple[Any, ...]:
        """What each question answers, in their order. The first is asked in this thread. Raises what a question does,
        once all have ended."""
        waiting = [self._threads.submit(each) for each in others]
        try:
            answer = first()
        finally:
            wait(waiting)
        return (answer, *(each.result() for each in waiting))
