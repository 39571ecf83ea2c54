"""A fact: an event satisfied the condition of a rule. The only thing that travels by key."""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """Small on purpose: what a window needs, and what an alert wants to say about its subject."""

    id: str
    rule: str
    version: int
    key: str  # the group key: the values of group_by, joined by U+001F
    time: int  # event time, ms
    event: str
    received_at: int  # ms, when the event was received: the latency of an alert is measured from here
    number: float | None  # the operand of sum
    member: str | None  # the operand of distinct
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    industry: str | None
    category: str
    carried: str | None = None  # what the rule asks of whole facts: a JSON array, see rules/keys.py
