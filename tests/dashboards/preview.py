"""`python -m tests.dashboards.preview --port N [--empty]`: the pages over data in memory, to look at."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

import uvicorn

from dashboards import LiveFeed, create_app
from jianguan.clock import SystemClock, VirtualClock
from tests.dashboards.fakes import World
from tests.dashboards.sample import dependencies, fill


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--empty", action="store_true")
    options = parser.parse_args()
    past = VirtualClock(datetime.now(UTC) - timedelta(hours=26 * 9 + 1))
    world = World(past)
    if not options.empty:
        fill(world, past)
    world.clock = SystemClock()
    app = create_app(dependencies(world, LiveFeed(world.clock)))
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
