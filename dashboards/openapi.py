"""`python -m dashboards.openapi [--check]`: writes the API's description, or says whether it is stale."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry

from dashboards.app import create_app
from dashboards.dependencies import Dependencies, Health, RulesInfo
from dashboards.live import LiveFeed
from jianguan.clock import SystemClock
from jianguan.domain.region_search import RegionSearch
from jianguan.ports import Archive, Gateway, RuleTools

PATH: Final = Path(__file__).with_name("openapi.json")


def describe() -> dict[str, Any]:
    """The OpenAPI document. Nothing is asked of the dependencies, so empty ones do."""

    async def redeliver(_: str) -> bool:
        return False

    clock = SystemClock()
    deps = Dependencies(
        archive=cast(Archive, object()),
        gateway=cast(Gateway, object()),
        live=LiveFeed(clock),
        admit=lambda raw: raw.key,
        clock=clock,
        metrics=CollectorRegistry(),
        health=lambda: Health({}),
        rules_info=lambda: RulesInfo(()),
        departments={},
        region_name=lambda code: None,
        regions=lambda: cast(RegionSearch, object()),
        industry_name=lambda code: None,
        clock_name=lambda code: None,
        redeliver=redeliver,
        tools=cast(RuleTools, object()),
    )
    return create_app(deps).openapi()


def text() -> str:
    """The document as it is committed."""
    return json.dumps(describe(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when written or current, 1 when stale."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is stale")
    if parser.parse_args(arguments).check:
        current = PATH.is_file() and PATH.read_text("utf-8") == text()
        if not current:
            sys.stderr.write(f"{PATH.name} is stale: run python -m dashboards.openapi\n")
        return 0 if current else 1
    PATH.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
