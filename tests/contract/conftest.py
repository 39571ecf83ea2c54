"""The stores that the suite runs against. A test that takes one writes under ids of its own: a server is shared."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.trace import TABLES
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from sinks.server import ServerStore
from sinks.store import BlockStore
from tests.contract.samples import NOW

Opener = Callable[[], BlockStore]


class SharedStore:
    """One embedded store for the tests of a module: making one takes longer than most tests.

    A process may have one folder open at a time: it is closed for a test that opens its own, and after the module.
    """

    def __init__(self, folder: Path) -> None:
        self._store = EmbeddedStore(folder)
        self._open = False

    def emptied(self) -> EmbeddedStore:
        """The store, open and without records."""
        if not self._open:
            self._store.start()
            self._open = True
        for table in TABLES:
            self._store.command(f"TRUNCATE TABLE {table}")
        return self._store

    def close(self) -> None:
        """Let another folder be opened."""
        self._store.close()
        self._open = False


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedStore]:
    """The embedded store that the tests of a module share."""
    made = SharedStore(tmp_path_factory.mktemp("shared") / "store")
    yield made
    made.close()


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.store),
        pytest.param("server", marks=[pytest.mark.clickhouse, pytest.mark.network]),
    ]
)
def opener(request: pytest.FixtureRequest, tmp_path: Path, shared: SharedStore) -> Iterator[Opener]:
    """Makes stores that hold the same empty record, one after the other; each still has to be started."""
    if request.param == "embedded":
        if "store" not in request.fixturenames:
            shared.close()
        yield lambda: EmbeddedStore(tmp_path / "store")
        return
    url: str = request.getfixturevalue("current_clickhouse_url")
    database = f"test_{uuid.uuid4().hex}"
    yield lambda: ServerStore(f"{url}/{database}")
    last = ServerStore(f"{url}/{database}")
    last.command(f"DROP DATABASE IF EXISTS {database}")
    last.close()


@pytest.fixture
def store(opener: Opener, request: pytest.FixtureRequest, shared: SharedStore) -> Iterator[BlockStore]:
    """An empty store, started."""
    if request.node.get_closest_marker("store"):
        yield shared.emptied()
        return
    made = opener()
    made.start()
    yield made
    made.close()


@pytest.fixture
def archive(store: BlockStore) -> SqlArchive:
    """The archive over `store`, at a time that stands still."""
    return SqlArchive(store, VirtualClock(from_millis(NOW)))
