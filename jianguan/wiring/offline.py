"""Rule tools without a server: the store is opened by this process, for as long as it asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from prometheus_client import CollectorRegistry

from jianguan.clock import Clock
from jianguan.metrics import Metrics
from jianguan.settings import Settings
from jianguan.wiring.rule_tools import StoredRuleRecord, StoredRuleTools
from jianguan.wiring.tables import load_reference, rule_folders
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from streams.rulebook import RuleBook


@contextmanager
def offline_tools(settings: Settings, clock: Clock) -> Iterator[StoredRuleTools]:
    """The tools over the embedded store of `settings.data`. ConfigurationError when another process has it.

    Looking at rules activates none: only a server records what runs.
    """
    store = EmbeddedStore(settings.data / "store")
    reference = load_reference(settings, clock)
    rulebook = RuleBook(rule_folders(settings), reference, clock, Metrics(CollectorRegistry()))
    rulebook.load()
    store.start()
    try:
        archive = SqlArchive(store, clock)
        max_age = int(settings.max_age / timedelta(milliseconds=1))
        yield StoredRuleTools(archive, StoredRuleRecord(store, archive), rulebook, reference, clock, max_age)
    finally:
        store.close()
