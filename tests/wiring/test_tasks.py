"""Work in a thread that nobody leaves behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from jianguan.wiring.tasks import to_its_end


@pytest.mark.parametrize("times", [1, 3])
async def test_who_is_cancelled_waits_for_the_end_of_the_thread_however_often(times: int) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(10)
        ended.set()

    task = asyncio.create_task(to_its_end(work))
    assert await asyncio.to_thread(begun.wait, 10)
    for _ in range(times):
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert ended.is_set()


async def test_the_result_and_the_fault_of_a_thread_are_those_of_its_work() -> None:
    assert await to_its_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divmod, 7, 0)
