"""Under pressure nothing is lost and what waits is bounded: the benchmark of that, with small figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 256  # runs that may wait for the store


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["outage", "burst", "hot-key", "hot-partition"])
def test_nothing_is_lost_or_told_twice_and_what_waits_is_bounded(scenario: str) -> None:
    command = [
        sys.executable, "-m", "bench.pressure", scenario, "--check",
        "--minutes", "0.1", "--rate", "500", "--calm", "2", "--burst", "8000", "--hot-minutes", "0.05",
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["outcomes"] == {"accepted": found["sent"]}
    assert (found["lost"], found["twice"], found["alerts_missing"]) == (0, 0, 0)
    assert found["alerts"] > 0
    assert found["most_runs_waiting_for_the_store"] <= BOUND
    assert found["recovered_after_seconds"] is not None
    if scenario == "outage":
        assert found["refused_writes"] > 0, "the store was never away"
    if scenario == "hot-key":
        assert found["sent"] == 5_000
