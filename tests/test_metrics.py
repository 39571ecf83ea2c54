"""Metrics that alert rules ask for the increase of are there before anything happened."""

from __future__ import annotations

import inspect
import re

from prometheus_client import CollectorRegistry

from jianguan.embedded import system
from jianguan.metrics import DELIVERY_OUTCOMES, RELOAD_RESULTS, RESTART_REASONS, Metrics
from sinks.webhooks.retry import OutcomeKind
from streams import rulebook


def test_every_outcome_of_a_delivery_is_counted_from_zero() -> None:
    assert set(DELIVERY_OUTCOMES) == {kind.value for kind in OutcomeKind}
    registry = CollectorRegistry()
    Metrics(registry)
    for kind in OutcomeKind:
        assert registry.get_sample_value("jianguan_deliveries_total", {"outcome": kind.value}) == 0


def test_results_and_reasons_are_those_that_the_code_counts() -> None:
    results = set(re.findall(r'rule_reloads\.labels\("(\w+)"\)', inspect.getsource(rulebook)))
    assert results == set(RELOAD_RESULTS)
    reasons = set(re.findall(r'_replace\("(\w+)"\)', inspect.getsource(system)))
    assert reasons == set(RESTART_REASONS)
