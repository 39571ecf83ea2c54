"""Deterministic ids: the same thing gets the same id whoever names it, however often (DESIGN D3).

An id is a two-letter prefix that tells what it names, a dash, and 96 bits of BLAKE2b over its parts in hex.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Literal

Prefix = Literal["ev", "ft", "al", "ca", "ta", "dl", "cm", "qu", "st"]

KINDS: Final[dict[str, str]] = {
    "ev": "event",
    "ft": "fact",
    "al": "alert",
    "ca": "case",
    "ta": "task",
    "dl": "delivery",
    "cm": "command",
    "qu": "quarantine",
    "st": "step",
}

_ID = re.compile(r"(ev|ft|al|ca|ta|dl|cm|qu|st)-[0-9a-f]{24}")


def make_id(prefix: Prefix, *parts: str) -> str:
    """The id of the thing that `parts` name. Parts are length-prefixed, so ("a", "bc") is not ("ab", "c")."""
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return f"{prefix}-{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}"


def kind_of(identifier: str) -> str | None:
    """What a deterministic id names (`event`, `case`, …), or None for any other text."""
    return KINDS[identifier[:2]] if _ID.fullmatch(identifier) else None


def event_id(source: str, number: str) -> str:
    """The id of the event that `source` calls `number`."""
    return make_id("ev", source, number)


def event_ids(sources: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """`event_id` of many events, in half the time: most of them come from few sources."""
    begun = {
        source: blake2b(f"{len(source)}:{source}".encode("utf-8", "surrogatepass"), digest_size=12)
        for source in set(sources)
    }
    found: list[str] = []
    for source, number in zip(sources, numbers, strict=True):
        digest = begun[source].copy()
        digest.update(f"{len(number)}:{number}".encode("utf-8", "surrogatepass"))
        found.append("ev-" + digest.hexdigest())
    return found


def step_ids(receipts: Sequence[str]) -> list[str]:
    """The ids of the steps that say what became of the records with these receipts: `make_id("st", receipt)`."""
    return [
        "st-" + blake2b(f"{len(receipt)}:{receipt}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        for receipt in receipts
    ]


def fact_id(rule: str, version: int, event: str) -> str:
    """The id of the fact that `event` satisfied the condition of `rule` at `version`."""
    return make_id("ft", rule, str(version), event)


def alert_id(rule: str, key: str, episode: int) -> str:
    """The id of the alert of `rule` for group `key` in the episode that starts at `episode` (ms)."""
    return make_id("al", rule, key, str(episode))


def case_id(case_key: str, ordinal: int) -> str:
    """The id of the `ordinal`-th case (from 1) of `case_key`."""
    return make_id("ca", case_key, str(ordinal))


def task_id(case: str, department: str) -> str:
    """The id of the task that `case` gives to `department`."""
    return make_id("ta", case, department)


def partition_of(key: str, partitions: int) -> int:
    """The partition that `key` belongs to: the same in every process and every release."""
    if partitions == 1:
        return 0
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") % partitions
