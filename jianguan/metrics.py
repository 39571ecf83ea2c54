"""All metrics, in one documented list. The registry is passed in; labels never hold ids of enterprises or cases."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)

DELIVERY_OUTCOMES: Final = ("delivered", "retry", "gone", "refused")
RELOAD_RESULTS: Final = ("done", "failed")
RESTART_REASONS: Final = ("death", "stuck", "memory")


class Metrics:
    """Every metric of the system. docs/metrics.md is held to this list by a test."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.events = Counter(
            "jianguan_events", "Events by topic and outcome.", ["topic", "outcome"], registry=registry
        )
        self.quarantined = Counter(
            "jianguan_quarantined", "Quarantined records by topic and reason.", ["topic", "reason"], registry=registry
        )
        self.run_size = Histogram(
            "jianguan_run_records", "Records in one run, by stage.", ["stage"], buckets=_SIZES, registry=registry
        )
        self.run_seconds = Histogram(
            "jianguan_run_seconds", "Time that a stage takes for one run.", ["stage"], buckets=_SHORT, registry=registry
        )
        self.lag = Gauge("jianguan_lag_records", "Records behind the end, by topic.", ["topic"], registry=registry)
        self.stuck = Counter(
            "jianguan_stuck_partitions", "Partitions found standing still under lag.", ["topic"], registry=registry
        )
        self.poisoned = Gauge(
            "jianguan_poisoned_topics",
            "1 for a topic that this worker reads no further, because nearly every record on it is invalid.",
            ["topic"],
            registry=registry,
        )
        self.facts = Counter("jianguan_facts", "Facts by rule.", ["rule"], registry=registry)
        self.late_facts = Counter(
            "jianguan_late_facts", "Facts too late for their window, by rule.", ["rule"], registry=registry
        )
        self.limited = Counter(
            "jianguan_window_limits", "Times that a window was full, by rule.", ["rule"], registry=registry
        )
        self.alerts = Counter(
            "jianguan_alerts", "Alerts by rule and severity.", ["rule", "severity"], registry=registry
        )
        self.rule_seconds = Counter(
            "jianguan_rules_seconds", "Time spent on conditions and windows.", ["part"], registry=registry
        )
        self.rule_time = Counter(
            "jianguan_rule_seconds", "Time spent on the windows of a rule.", ["rule"], registry=registry
        )
        self.condition_micros = Gauge(
            "jianguan_rule_condition_micros",
            "Microseconds that a rule's condition takes alone for an event, sampled.",
            ["rule"],
            registry=registry,
        )
        self.over_budget = Counter(
            "jianguan_rule_over_budget", "Minutes in which a rule took more than it may.", ["rule"], registry=registry
        )
        self.windows = Gauge("jianguan_windows", "Live windows (rule and key).", registry=registry)
        self.restoring = Gauge(
            "jianguan_restoring_partitions",
            "Partitions whose windows are restored as facts come for them, until all are; the clock settles none yet.",
            registry=registry,
        )
        self.open_cases = Gauge("jianguan_open_cases", "Open cases held by this worker.", registry=registry)
        self.overdue_tasks = Gauge(
            "jianguan_overdue_tasks",
            "Tasks past their deadline and not closed, held by this worker.",
            registry=registry,
        )
        self.alert_latency = Histogram(
            "jianguan_alert_latency_seconds",
            "From the receipt of an event to the first answer of a webhook receiver to its alert.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self.deliveries = Counter(
            "jianguan_deliveries", "Delivery attempts by outcome.", ["outcome"], registry=registry
        )
        self.dead_deliveries = Counter(
            "jianguan_dead_deliveries", "Deliveries given up: a receiver has not got them.", registry=registry
        )
        self.delivery_seconds = Histogram(
            "jianguan_delivery_seconds", "Duration of one delivery attempt.", buckets=_SHORT, registry=registry
        )
        self.pending_deliveries = Gauge("jianguan_pending_deliveries", "Deliveries that wait.", registry=registry)
        self.store_seconds = Histogram(
            "jianguan_store_write_seconds", "Duration of one write to the store.", buckets=_SHORT, registry=registry
        )
        self.store_rows = Counter("jianguan_store_rows", "Rows written, by table.", ["table"], registry=registry)
        self.store_retries = Counter("jianguan_store_retries", "Writes that had to be repeated.", registry=registry)
        self.rule_reloads = Counter(
            "jianguan_rule_reloads", "Reloads of the rules by result.", ["result"], registry=registry
        )
        self.broker_restarts = Counter(
            "jianguan_broker_restarts", "Restarts of the embedded broker by reason.", ["reason"], registry=registry
        )
        self.journal_bytes = Gauge("jianguan_journal_bytes", "Size of the embedded journal.", registry=registry)
        # A series that begins with 1 has no increase: those that alert rules ask for are there from the start.
        for outcome in DELIVERY_OUTCOMES:
            self.deliveries.labels(outcome)
        for result in RELOAD_RESULTS:
            self.rule_reloads.labels(result)
        for reason in RESTART_REASONS:
            self.broker_restarts.labels(reason)
