"""One short run of a fixed seed: more than a deck of faults, and the end is exactly what the pure engine gives."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.chaos.show import Options, run
from tests.requirements import own_kafka

pytestmark = [
    pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.store, pytest.mark.network, pytest.mark.slow,
]  # fmt: skip

SEED = 4


def test_whatever_happens_to_a_cluster_its_end_is_that_of_the_pure_engine(tmp_path: Path) -> None:
    own_kafka()
    result = run(Options(SEED, seconds=75, workers=2), tmp_path / "run")
    assert result.differences == {}, json.dumps(asdict(result)["differences"], indent=1)
    assert result.counts["outcomes"] > 3_500
    assert result.counts["alerts"] > 300
    assert result.counts["received"] > 500
    assert len({action["kind"] for action in result.schedule}) >= 10
    assert not [name for name, code in result.exit_codes.items() if code], result.exit_codes
