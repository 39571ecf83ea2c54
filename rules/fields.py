"""The fields of an event that conditions may use, with their CEL types, and the slugs of the shared categories.

It must not know rules. A test holds it equal to `jianguan.domain.event.Event`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_STRINGS: Final = (
    "id", "source", "source_id", "kind", "nature", "number", "category", "matter", "enterprise", "enterprise_name",
    "region", "industry", "product", "platform", "channel", "address", "result", "inspection", "right", "outcome",
    "status", "demand", "reporter", "text",
)  # fmt: skip
_INTS: Final = (
    "amount_fen", "severity", "critical_count", "serious_count", "minor_count", "penalty_fen", "compensation_fen",
)  # fmt: skip

FIELDS: Final = MappingProxyType(
    {
        **dict.fromkeys(_STRINGS, "string"),
        **dict.fromkeys(_INTS, "int"),
        "occurred_at": "timestamp",
        "received_at": "timestamp",
        "latitude": "double",
        "longitude": "double",
        "tags": "list(string)",
        "historical": "bool",
    }
)
"""Type by field. `content_hash` is left out: a condition on it would mean nothing to a person."""

_ALERT_STRINGS: Final = (
    "id", "rule", "severity", "enterprise", "enterprise_name", "region", "industry", "category", "lead", "key",
)  # fmt: skip
ALERT_TYPES: Final = MappingProxyType(
    {**dict.fromkeys(_ALERT_STRINGS, "string"), "event_count": "int", "weight": "int"}
)
"""Type by field of an alert, for rules on alerts."""

ALERT_GROUPS: Final = ("enterprise", "region", "industry", "category", "rule", "lead")
"""Fields of an alert that rules on alerts may group by and tell apart."""

CATEGORIES: Final = (
    "food-safety", "drug-safety", "medical-device", "special-equipment", "price", "advertising", "online-trade",
    "prepaid-card", "product-quality", "recall", "fire-safety", "environment", "wages", "privacy", "fraud", "service",
    "intellectual-property", "sanitation", "food-inspection", "housing", "noise", "street", "other",
)  # fmt: skip
"""What the shipped mappings and rules call things. Others are allowed; a rule that names one gets a warning."""
