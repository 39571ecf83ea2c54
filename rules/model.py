"""What a person writes in a rule file: the shape, its limits, and one canonical form.

The JSON Schema is generated from these models (`schema.py`). What needs the tables of regions, clocks and
departments, or the checker of conditions, is checked in `ruleset.py`; what runs is a `Rule` (`rule.py`).
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from jianguan.domain.alert import Severity

Status = Literal["active", "shadow", "retired"]
Kind = Literal["complaint", "violation", "consumer-rights"]
KINDS: Final[tuple[Kind, ...]] = ("complaint", "violation", "consumer-rights")

# Fields of an event that name something: what facts may be grouped by and what may be counted apart.
PLAIN_FIELDS: Final = (
    "enterprise", "region", "industry", "category", "matter", "product", "platform", "address", "reporter",
    "channel", "source", "right",
)  # fmt: skip
LEVELLED_FIELDS: Final = ("region", "industry")
# Whole numbers of at least 0: what may be summed.
NUMBER_FIELDS: Final = (
    "amount_fen",
    "penalty_fen",
    "compensation_fen",
    "critical_count",
    "serious_count",
    "minor_count",
)

FIELD_PATTERN = r"^(" + "|".join(PLAIN_FIELDS) + r"|(region|industry)\.[a-z]+(-[a-z]+)*)$"
_DURATION = re.compile(r"(0|[1-9][0-9]{0,5})(s|m|h|d)")
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DAY: Final = _UNITS["d"]
LONGEST: Final = 3660 * DAY


def milliseconds(duration: str) -> int:
    """`90s`, `30m`, `24h`, `7d` in milliseconds. ValueError for anything else."""
    found = _DURATION.fullmatch(duration)
    if not found:
        raise ValueError(f"{duration!r} is not a duration")
    return int(found[1]) * _UNITS[found[2]]


def _duration(value: object) -> object:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise PydanticCustomError("duration", "is a duration such as 90s, 30m, 24h or 7d")
    if milliseconds(value) > LONGEST:
        raise PydanticCustomError("duration", "is longer than 3660d")
    return value


def _positive(value: object) -> object:
    value = _duration(value)
    if isinstance(value, str) and not milliseconds(value):
        raise PydanticCustomError("duration", "must be longer than nothing")
    return value


Duration = Annotated[str, BeforeValidator(_duration), Field(pattern=r"^(0|[1-9][0-9]{0,5})(s|m|h|d)$")]
PositiveDuration = Annotated[str, BeforeValidator(_positive), Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h|d)$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
GroupField = Annotated[str, Field(pattern=FIELD_PATTERN, max_length=64)]
Line = Annotated[str, Field(min_length=1, max_length=300)]
Prose = Annotated[str, Field(min_length=1, max_length=4_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)


class Title(_Model):
    """What the alert is called, in both languages."""

    zh: Annotated[str, Field(min_length=1, max_length=100, description="In Chinese.")]
    en: Annotated[str, Field(min_length=1, max_length=140, description="In English.")]


class Runbook(_Model):
    """What whoever gets the alert should do: a text, or a list of steps, in both languages."""

    zh: Prose | list[Line] = Field(description="In Chinese.")
    en: Prose | list[Line] = Field(description="In English.")


class Window(_Model):
    """How much time a trigger looks at."""

    kind: Literal["sliding", "tumbling"] = Field(
        default="sliding",
        description="sliding: the `size` before each fact. tumbling: calendar-like periods of `size`.",
    )
    size: PositiveDuration = Field(description="Length of the window: 30m, 24h, 7d.")
    lateness: Duration = Field(
        default="0s", description="How much older than newest fact minus size a fact may be and still count."
    )


class Count(_Model):
    """The number of facts in the window."""

    at_least: Annotated[int, Field(ge=1, le=1_000_000, description="Holds from this number on.")]


class Distinct(_Model):
    """The number of different values of a field among the facts in the window; a missing value is not counted."""

    of: GroupField = Field(description="The field whose values are told apart.")
    at_least: Annotated[int, Field(ge=1, le=1_000_000, description="Holds from this number on.")]


class Sum(_Model):
    """The sum of a field over the facts in the window; a missing value counts as 0."""

    of: Literal["amount_fen", "penalty_fen", "compensation_fen", "critical_count", "serious_count", "minor_count"] = (
        Field(description="The field to add up: a whole number of at least 0; money in fen.")
    )
    at_least: Annotated[int, Field(ge=1, le=10**18, description="Holds from this sum on.")]


class Trigger(_Model):
    """When there is an alert: all clauses given must hold over the window."""

    count: Count | None = Field(default=None, description="How many facts.")
    distinct: Distinct | None = Field(default=None, description="How many different values.")
    sum: Sum | None = Field(default=None, description="How much in total.")

    @model_validator(mode="after")
    def _some_clause(self) -> Self:
        if self.count is None and self.distinct is None and self.sum is None:
            raise PydanticCustomError("no-clause", "needs at least one of count, distinct, sum")
        return self


class CaseSpec(_Model):
    """Which alerts belong to one case."""

    key: GroupField | Literal["group"] = Field(
        description="One of the fields in group_by, or `group` for all of them: alerts with equal values share a case."
    )


class LeadTable(_Model):
    """A lead department that depends on one of the group's fields."""

    by: GroupField = Field(description="One of the fields in group_by.")
    table: dict[str, Slug] = Field(description="Department by value of that field.")
    default: Slug = Field(description="The department for every other value.")


class JointTable(_Model):
    """Assisting departments that depend on one of the group's fields."""

    by: GroupField = Field(description="One of the fields in group_by.")
    table: dict[str, list[Slug]] = Field(description="Departments by value of that field.")
    default: list[Slug] = Field(default=[], description="The departments for every other value.")


class Limits(_Model):
    """What one rule may use."""

    facts_per_key: Annotated[int, Field(ge=10, le=200_000)] = Field(
        default=10_000, description="Facts kept of one key; beyond, the oldest go and the decision says so."
    )


class RuleFile(_Model):
    """A rule: which events matter, how they add up to an alert, and who has to act on it."""

    id: Slug = Field(description="Name of the rule and of its file. Ids never change meaning.")
    version: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="Grows with every change of meaning; facts and windows of another version are not mixed."
    )
    title: Title = Field(description="What the alert is called.")
    status: Status = Field(
        default="active", description="active; shadow: alerts are recorded but open no case; retired: not run."
    )
    owner: Slug = Field(description="The department that answers for the rule.")
    legal_basis: Prose | list[Line] = Field(
        description="The law and article that the rule serves, one a line; say `secondary source` where it is one."
    )
    runbook: Runbook | None = Field(default=None, description="What to do about the alert.")
    tags: Annotated[list[Slug], Field(max_length=32)] = Field(default=[], description="Free labels.")
    matters: Annotated[list[Line], Field(max_length=100)] = Field(
        default=[], description="Codes of the supervised matters that the rule covers."
    )
    on: Annotated[list[Kind], Field(min_length=1)] = Field(description="The kinds of event it looks at.")
    condition: Annotated[str, Field(min_length=1, max_length=8_000)] = Field(
        description="A CEL expression over the event; true makes the event a fact of this rule."
    )
    group_by: GroupField | Annotated[list[GroupField], Field(min_length=1, max_length=4)] = Field(
        description="The field or fields that facts are gathered by; an event that lacks one makes no fact."
    )
    window: Window = Field(description="How much time a trigger looks at.")
    trigger: Trigger = Field(description="When there is an alert.")
    episode: PositiveDuration | None = Field(
        default=None, description="At most one alert of a key in each period of this length; default: window size."
    )
    severity: Severity = Field(description="info, low, medium, high or critical.")
    case: CaseSpec | Literal["none"] = Field(default="none", description="Which alerts share a case; none: no case.")
    lead: Slug | LeadTable | None = Field(default=None, description="The department that leads the case.")
    joint: Annotated[list[Slug], Field(max_length=16)] | JointTable = Field(
        default=[], description="The departments that assist."
    )
    clock: Slug | None = Field(default=None, description="The statutory clock that the case starts.")
    notify: bool = Field(default=True, description="Whether departments get a message at once.")
    limits: Limits = Field(default=Limits(), description="What the rule may use.")

    @property
    def groups(self) -> tuple[str, ...]:
        """The fields in group_by."""
        return (self.group_by,) if isinstance(self.group_by, str) else tuple(self.group_by)
