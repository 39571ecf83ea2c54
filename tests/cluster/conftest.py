"""Clusters on the Kafka and the store server of the run, and departments that take webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.cluster.system import Cluster
from tests.department import department, receivers
from tests.end_to_end.support import rule

__all__ = ["department", "make", "receivers", "rules"]  # fixtures of this folder


class Make(Protocol):
    """Makes a cluster; nothing of it is started."""

    def __call__(self, name: str = "cluster", partitions: int = 8, **settings: str) -> Cluster: ...


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Two rules: four, and fifteen complaints about prepaid cards of one enterprise."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "test-prepaid.yaml").write_text(rule(), "utf-8")
    (folder / "test-many.yaml").write_text(rule("test-many", at_least=15), "utf-8")
    return folder


@pytest.fixture
def make(tmp_path: Path, kafka: str, current_clickhouse_url: str, rules: Path) -> Iterator[Make]:
    """Clusters on the shared Kafka and store; whatever still runs at the end is ended."""
    made: list[Cluster] = []

    def create(name: str = "cluster", partitions: int = 8, **settings: str) -> Cluster:
        folder = tmp_path / name
        cluster = Cluster(folder, kafka, current_clickhouse_url, rules, partitions=partitions, settings=settings)
        made.append(cluster)
        return cluster

    yield create
    for each in made:
        each.close()
