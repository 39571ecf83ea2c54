"""The web app: intake over HTTP, JSON API, live stream and pages. Knows `jianguan.domain` and the ports, nobody else.

The composition root builds it from three names:

    feed = LiveFeed(clock, ring=1000, queue=256, max_clients=200)
    app = create_app(Dependencies(
        archive=..., gateway=..., live=feed, clock=clock, metrics=CollectorRegistry(),
        admit=lambda raw: "ev-...",            # RawEvent -> event id; raises InputError; quick, does not block
        health=lambda: Health({"broker": Check(True, "")}),   # quick, does not block
        rules_info=lambda: RulesInfo((RuleInfo(...),), loaded_at=ms, error=None),
        departments={"market-regulation": ("市场监管局", "Market regulation")},
        region_name=lambda code: ("上海市", "Shanghai"),      # (zh, en) or None
        regions=lambda: RegionSearch(...),     # by what people type; may take a moment when first called
        industry_name=lambda code: None,
        clock_name=lambda id: ("投诉：决定是否受理", "Complaint: decide on acceptance"),  # of a statutory clock
        redeliver=async_fn,                    # delivery id -> True when it is known and queued again
        retried=async_fn_or_None,              # (Quarantined, receipt) after a quarantined record was submitted again
        tools=...,                             # RuleTools: explanations, backtests, versions; blocking
        limits=Limits(), api_token=None, loopback=True, allowed_hosts=frozenset(),
    ))

`feed.observe(records)` is called on the event loop's thread with each `Records` that was stored; `feed.close()` ends
the open streams so that the server can stop. Commands: the feed resolves a waiting command when a trace step links to
the command's id (`cm-…`); a step whose `what` is `refused` answers 409, every other one 200.
"""

from dashboards.app import create_app
from dashboards.dependencies import Check, Clause, Dependencies, Health, Limits, RuleInfo, RulesInfo, WaitingRule
from dashboards.live import LiveFeed

__all__ = [
    "Check",
    "Clause",
    "Dependencies",
    "Health",
    "Limits",
    "LiveFeed",
    "RuleInfo",
    "RulesInfo",
    "WaitingRule",
    "create_app",
]
