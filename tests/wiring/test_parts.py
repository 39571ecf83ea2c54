"""What a worker tells Faust, by its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from jianguan.settings import load_settings
from jianguan.wiring.parts import faust_options


@pytest.mark.parametrize(("session", "heartbeat"), [("PT6S", 0.6), ("PT30S", 3.0), ("PT10M", 3.0), ("PT30M", 3.0)])
def test_a_worker_hears_of_a_rebalance_in_seconds_however_long_its_session(
    tmp_path: Path, session: str, heartbeat: float
) -> None:
    settings = load_settings(data=tmp_path, session=session)
    options = faust_options(settings, embedded=False)("127.0.0.1:9092")
    assert options.heartbeat_interval == pytest.approx(heartbeat)
    assert options.session_timeout <= options.request_timeout
