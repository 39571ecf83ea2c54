"""`jianguan up`: the embedded system in the foreground, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from jianguan.cli.running import ends_within, tell_crashes, tell_unknown_settings, until_signal
from jianguan.clock import SystemClock
from jianguan.logging import configure_logging
from jianguan.settings import Settings, load_settings

STOP_WITHIN: Final = 4.8  # seconds


@click.command()
@click.option("--demo/--no-demo", default=True, show_default=True, help="Send a simulated feed.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the store and the journal.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the pages and the API; 0 takes a free one.")
def command(demo: bool, data: Path | None, port: int | None) -> None:
    """Start broker, store, stages and pages on this machine. Ctrl-C stops everything.

    A second start on the same folder goes on where the first one stopped.
    """
    settings = load_settings(data=data, port=port)
    configure_logging(settings.log_level, settings.log_format)
    tell_crashes()
    tell_unknown_settings()
    import uvloop  # here, so that `--help` does not pay for it

    uvloop.run(_run(settings, demo))


async def _run(settings: Settings, demo: bool) -> None:
    from jianguan.wiring.embedded import EmbeddedApplication  # as above

    stop = until_signal()
    application = EmbeddedApplication(settings, SystemClock(), demo=demo)
    starting = asyncio.create_task(application.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        with ends_within(STOP_WITHIN):
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        return
    try:
        starting.result()
        click.echo(f"\n  监管 jianguan   {application.url}\n")
        click.echo("  Ctrl-C 停止 / stops")
        sys.stdout.flush()
        await stop.wait()
        click.echo("\n  正在停止 / stopping …")
    finally:
        stopping.cancel()
        with ends_within(STOP_WITHIN):
            await application.stop()
