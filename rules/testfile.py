"""What a person writes in a `*.test.yaml`: cases of events at offsets, and the alerts and tasks that are expected.

Times are offsets under a virtual clock, so a test means the same on every day. It must not know how tests are run.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from jianguan.domain.alert import Severity
from rules.model import Line, Slug

_OFFSET: Final = re.compile(r"\+?(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,7})s)?")
Offset = Annotated[str, Field(pattern=r"^\+?([0-9]{1,5}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$", min_length=2)]
START: Final = "2026-03-16T00:00:00+08:00"  # a Monday, midnight in Shanghai: no window or episode is cut in two


def offset_ms(text: str) -> int:
    """`0s`, `+1d12h`, `90m` in ms."""
    found = _OFFSET.fullmatch(text)
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r} is not an offset")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)


class ExpectedTask(_Model):
    """A department and its part in a case."""

    department: Slug = Field(description="The department that has the task.")
    role: Literal["lead", "assist"] = Field(description="lead: it runs the case; assist: it helps.")


class Expected(_Model):
    """What the rule must do with the events of a case. What is left out is not looked at."""

    alerts: Annotated[int, Field(ge=0, description="Alerts in all.")]
    facts: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Events that meet the condition.")
    severity: Severity | None = Field(default=None, description="Severity of every alert.")
    lead: Slug | None = Field(default=None, description="Lead department of every alert.")
    joint: list[Slug] | None = Field(default=None, description="Assisting departments of every alert, in any order.")
    keys: list[str] | None = Field(default=None, description="Group keys of the alerts, in any order.")
    case_keys: list[str] | None = Field(default=None, description="Case keys of the alerts, in any order.")
    cases: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Cases that the alerts open.")
    tasks: list[ExpectedTask] | None = Field(
        default=None, description="All tasks of those cases: department and role, in any order."
    )
    late: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Facts that came too late.")


class TestEvent(_Model):
    """One event: `at`, and any field of an event. What is not given is taken from the case, then from the file."""

    __test__ = False  # not a class of pytest's

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    at: Offset = Field(description="When it happened after the start: 0s, 90m, 1d12h.")
    repeat: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=1, description="This many events; `{n}` in a text is 1, 2, 3, … among them."
    )
    every: Offset = Field(default="1s", description="The time between repeated events.")
    received: Offset | None = Field(
        default=None, description="How long after it happened it comes in: 2h; default: at once, after those before it."
    )


class TestCase(_Model):
    """One story and its end."""

    __test__ = False

    name: Line = Field(description="A sentence about what should happen.")
    start: AwareDatetime | None = Field(default=None, strict=False, description=f"Moment of offset 0; default {START}.")
    defaults: dict[str, Any] = Field(default={}, description="Fields of every event of this case.")
    events: Annotated[list[TestEvent], Field(min_length=1, max_length=1_000, description="In order of arrival.")]
    until: Offset | None = Field(
        default=None,
        description="Where the clock stands at the end, after the start; default: when nothing is left to decide.",
    )
    expect: Expected = Field(description="What must come of it.")


class TestFile(_Model):
    """All tests of one rule."""

    __test__ = False

    defaults: dict[str, Any] = Field(default={}, description="Fields of every event of every case.")
    cases: Annotated[list[TestCase], Field(min_length=1, max_length=200, description="At least one.")]
