"""Starts systems and sees to it that nothing of them is left when a test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.department import department, receivers
from tests.end_to_end.support import System, rule

__all__ = ["department", "make", "now", "receivers", "rules"]  # fixtures of this folder


class Make(Protocol):
    """Makes a system on a folder; not started."""

    def __call__(self, name: str = "data", **options: Any) -> System: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here runs a broker, a store and sockets."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for marker in ("broker", "store", "network"):
                item.add_marker(marker)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Systems on folders below the test's own; whatever still runs at the end is ended."""
    made: list[System] = []

    def create(name: str = "data", **options: Any) -> System:
        made.append(System(tmp_path / name, **options))
        return made[-1]

    yield create
    for each in made:
        each.close()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with one rule: four complaints about prepaid cards of one enterprise."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "test-prepaid.yaml").write_text(rule(), "utf-8")
    return folder


@pytest.fixture
def now() -> str:
    """A time that is neither late nor in the future."""
    from jianguan.clock import SystemClock

    return SystemClock().now().isoformat()
