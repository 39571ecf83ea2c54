"""Findings of the linter as text, as JSON, and as SARIF 2.1.0, which code hosts show beside the lines of a change.

It must not know how anything was found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote

from jianguan import __version__
from rules.finding import LEVELS, Finding, Level

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_SARIF_LEVEL: Final[dict[Level, str]] = {"error": "error", "warning": "warning", "info": "note"}
_ROOT: Final = "ROOT"


def as_text(findings: Sequence[Finding]) -> str:
    """A line a finding, then the sum."""
    lines = []
    for each in findings:
        hint = f" ({each.hint})" if each.hint else ""
        where = ":".join(str(part) for part in (each.path, each.line, each.column) if part)
        lines.append(f"{where}: {each.level}: {each.message}{hint} [{each.code}]")
    sums = ", ".join(f"{sum(each.level == level for each in findings)} {level}s" for level in LEVELS)
    return "\n".join([*lines, sums, ""])


def as_json(findings: Sequence[Finding]) -> str:
    """A JSON list of objects with the fields of Finding."""
    return json.dumps([asdict(each) for each in findings], ensure_ascii=False, indent=2) + "\n"


def as_sarif(findings: Sequence[Finding], descriptions: Mapping[str, str], root: Path) -> str:
    """A SARIF log of one run. `descriptions` says what each code means; paths below `root` are told relative to it."""
    codes = sorted({*descriptions, *(each.code for each in findings)})
    driver = {
        "name": "jianguan rules lint",
        "version": __version__,
        "rules": [{"id": code, "shortDescription": {"text": descriptions.get(code) or code}} for code in codes],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"uri": root.resolve().as_uri() + "/"}},
        "results": [_result(each, codes.index(each.code), root) for each in findings],
    }
    log = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, ensure_ascii=False, indent=2) + "\n"


def _result(finding: Finding, index: int, root: Path) -> dict[str, Any]:
    text = f"{finding.message} ({finding.hint})" if finding.hint else finding.message
    place: dict[str, Any] = {"artifactLocation": _location(finding.path, root)}
    if finding.line:
        place["region"] = {"startLine": finding.line, "startColumn": max(finding.column, 1)}
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _SARIF_LEVEL[finding.level],
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _location(path: str, root: Path) -> dict[str, str]:
    whole = Path(path).resolve()
    try:
        relative = PurePath(whole.relative_to(root.resolve())).as_posix()
    except ValueError:
        return {"uri": whole.as_uri()}
    return {"uri": quote(relative), "uriBaseId": _ROOT}
