"""What tests of admission and of the stages share: wire events in one line, and the tables that codes are held to."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jianguan.domain.admission import Reference
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions

NOW = 1_795_418_000_000  # 2026-11-23T07:13:20Z
MINUTE = 60_000
DAY = 86_400_000
USCC = "91310000MA1FL4CB8U"


@cache
def reference() -> Reference:
    return Reference(Regions.load(), Industries.load(), b"k" * 32)


def wire(serial: int = 1, **changes: Any) -> dict[str, Any]:
    """A complaint on the wire, with changes; None takes a field away."""
    made = {
        "id": str(serial),
        "source": "12315",
        "occurred_at": "2026-11-23T14:00:00+08:00",
        "category": "food-safety",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def encoded(serial: int = 1, **changes: Any) -> bytes:
    return json.dumps(wire(serial, **changes), ensure_ascii=False).encode()
