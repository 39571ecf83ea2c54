"""`jianguan dashboards`: the pages and the API of a cluster, until told to stop."""

from __future__ import annotations

from typing import Final

import click

from jianguan.cli.running import ends_within, started, tell_crashes, tell_unknown_settings, until_signal
from jianguan.clock import SystemClock
from jianguan.logging import configure_logging
from jianguan.settings import Settings, load_settings

STOP_WITHIN: Final = 15.0  # seconds


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the pages and the API; 0 takes a free one.")
def command(port: int | None) -> None:
    """Serve the pages and the API of a cluster.

    Needs JIANGUAN_BROKER and JIANGUAN_STORE, and JIANGUAN_API_TOKEN when JIANGUAN_HOST is not loopback.
    """
    settings = load_settings(port=port)
    configure_logging(settings.log_level, settings.log_format)
    tell_crashes()
    tell_unknown_settings()
    import uvloop  # here, so that `--help` does not pay for it

    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    from jianguan.wiring.cluster import DashboardsProcess  # as above

    process = DashboardsProcess(settings, SystemClock())
    stop = until_signal()
    try:
        if await started(process.start(), stop):
            click.echo(process.url)
            await stop.wait()
    finally:
        with ends_within(STOP_WITHIN):
            await process.stop()
