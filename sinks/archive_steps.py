"""Questions about the trace: the steps of many ids, and what they link to. It does not know what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

from jianguan.domain.trace import Step
from sinks.rows import SHAPES, records_of
from sinks.select import chunks, has_any
from sinks.store import BlockStore

_SCANNED: Final = 5_000  # ids in a question that has to look through many rows whatever it asks for


def steps_about(
    store: BlockStore, subjects: Sequence[str], linked: Sequence[str], limit: int, fields: Sequence[str] | None = None
) -> list[Step]:
    """The first `limit` steps of the subjects, and steps that mention the linked ids, in order. Only `fields` are read,
    if they are given.

    What happens to an event links to nothing but its facts, so that the steps of events, most of all, need not be
    searched for links.
    """
    found: dict[str, Step] = {}
    for of, mentioned in zip_longest(chunks(subjects, _SCANNED), chunks(linked, _SCANNED), fillvalue=None):
        parts: list[str] = []
        parameters: dict[str, Any] = {"most": limit}
        if of:
            parts.append("subject IN {subjects:Array(String)}")
            parameters["subjects"] = of
        if mentioned:
            parts.append(f"{has_any('links', 'linked', mentioned)} AND NOT startsWith(subject, 'ev-')")
            parameters["linked"] = mentioned
        rows = store.query(
            f"SELECT {SHAPES['trace'].select_list(fields=fields)} FROM trace"  # noqa: S608
            f" WHERE ({') OR ('.join(parts)}) ORDER BY at, stage, id LIMIT 1 BY id LIMIT {{most:UInt32}}",
            parameters,
        )
        found.update((step.id, step) for step in records_of("trace", rows, fields))
    return sorted(found.values(), key=lambda step: (step.at, step.stage, step.id))[:limit]


def cases_joined(store: BlockStore, alerts: Sequence[str]) -> list[str]:
    """The ids of the cases that those alerts opened or joined, as their steps have it."""
    found: dict[str, None] = {}
    for chunk in chunks(alerts):
        rows = store.query(
            "SELECT DISTINCT subject FROM trace WHERE startsWith(subject, 'ca-')"  # noqa: S608
            f" AND {has_any('links', 'ids', chunk)}",
            {"ids": chunk},
        )
        found |= dict.fromkeys(row[0] for row in rows)
    return list(found)
