"""`jianguan worker`: the stages, against Kafka and a ClickHouse server, until told to stop."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from jianguan.cli.running import ends_within, started, tell_crashes, tell_unknown_settings, until_signal
from jianguan.clock import SystemClock
from jianguan.errors import UnavailableError
from jianguan.logging import configure_logging
from jianguan.settings import Settings, load_settings

STOP_WITHIN: Final = 15.0  # seconds


@click.command()
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=9600,
    show_default=True,
    help="Port of /metrics for Prometheus; 0 for none.",
)
def command(metrics_port: int) -> None:
    """Run the stages of a cluster. Start as many as you like: they share the partitions.

    Needs JIANGUAN_BROKER and JIANGUAN_STORE. Ends with code 5 when it finds itself stuck: let its supervisor start it
    again.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    tell_crashes()
    tell_unknown_settings()
    import uvloop  # here, so that `--help` does not pay for it

    uvloop.run(_run(settings, metrics_port))


async def _run(settings: Settings, metrics_port: int) -> None:
    from jianguan.wiring.cluster import Worker  # as above

    worker = Worker(settings, SystemClock(), metrics_port)
    stop = until_signal()
    try:
        if await started(worker.start(), stop):
            waits = {asyncio.create_task(stop.wait()), asyncio.create_task(worker.stuck.wait())}
            _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
    finally:
        with ends_within(STOP_WITHIN):
            await worker.stop()
    if worker.stuck.is_set():
        raise UnavailableError("this worker stood still and has ended; start it again")
