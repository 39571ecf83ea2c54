"""When a worker may still send, and when it must not."""

from __future__ import annotations

import asyncio

from streams.lease import Lease


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_lease_holds_for_less_than_a_session_after_the_heartbeat_was_sent() -> None:
    time = Time()
    lease = Lease(30.0, time)
    lease.assigned()
    time.now += 20
    lease.renew(time.now - 5)
    time.now += 21
    assert lease.holds
    assert await lease.still_ours(lease.generation)
    time.now += 2
    assert not lease.holds


async def test_work_goes_on_when_the_group_answers_and_nothing_was_shared_out_meanwhile() -> None:
    time = Time()
    lease = Lease(30.0, time)
    lease.assigned()
    time.now += 60
    asking = asyncio.create_task(lease.still_ours(lease.generation))
    await asyncio.sleep(0)
    assert not asking.done()
    lease.renew(time.now)
    assert await asyncio.wait_for(asking, 5)


async def test_work_of_before_is_given_up_when_the_partitions_were_shared_out_anew() -> None:
    time = Time()
    lease = Lease(30.0, time)
    lease.assigned()
    began = lease.generation
    time.now += 60
    asking = asyncio.create_task(lease.still_ours(began))
    await asyncio.sleep(0)
    lease.assigned()
    assert not await asyncio.wait_for(asking, 5)


async def test_a_lease_tells_whether_it_was_over_when_partitions_were_last_shared_out() -> None:
    time = Time()
    lease = Lease(30.0, time)
    found = [lease.was_over]
    for seconds in (0, 10, 60, 10):
        time.now += seconds
        lease.assigned()
        found.append(lease.was_over)
    assert found == [False, False, False, True, False]


async def test_a_rebalance_that_came_in_time_stops_nobody() -> None:
    lease = Lease(30.0, Time())
    lease.assigned()
    began = lease.generation
    lease.assigned()
    assert await lease.still_ours(began)


async def test_work_of_before_is_given_up_also_when_it_asks_after_the_new_assignment() -> None:
    time = Time()
    lease = Lease(30.0, time)
    lease.assigned()
    began = lease.generation
    time.now += 60
    lease.assigned()
    assert not await lease.still_ours(began)
    assert await lease.still_ours(lease.generation)
