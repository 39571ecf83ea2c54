"""`python -m tests.dashboards.preview --port N [--empty] [--away FILE]`: the pages over data in memory, to look at.

While FILE exists the store is away; what is submitted then is refused as well. While its text is `deaf`, the store is
there and commands are not carried out.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from dashboards import LiveFeed, create_app
from jianguan.clock import SystemClock, VirtualClock
from tests.dashboards.fakes import World
from tests.dashboards.sample import dependencies, fill


class Switched(World):
    """A world that a file puts out of order."""

    switch: Path | None = None

    def _check(self) -> None:
        said = self.switch.read_text("utf-8") if self.switch is not None and self.switch.exists() else None
        self.down, self.deaf = said == "", said == "deaf"
        super()._check()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--empty", action="store_true")
    parser.add_argument("--away", type=Path)
    options = parser.parse_args()
    past = VirtualClock(datetime.now(UTC) - timedelta(hours=26 * 9 + 1))
    world = Switched(past)
    if not options.empty:
        fill(world, past)
    world.clock = SystemClock()
    world.switch = options.away
    app = create_app(dependencies(world, LiveFeed(world.clock)))
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
