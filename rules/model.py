"""What a person writes in a rule file: the shape, its limits, and one canonical form.

The JSON Schema is generated from these models (`schema.py`). What needs the tables of regions, clocks and
departments, or the checker of conditions, is checked in `ruleset.py`; what runs is a `Rule` (`rule.py`).
"""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from jianguan.domain.alert import SEVERITIES, Severity
from rules.model_base import DAY as DAY
from rules.model_base import FIELD_PATTERN as FIELD_PATTERN
from rules.model_base import LEVELLED_FIELDS as LEVELLED_FIELDS
from rules.model_base import NUMBER_FIELDS as NUMBER_FIELDS
from rules.model_base import PLAIN_FIELDS as PLAIN_FIELDS
from rules.model_base import Condition, GroupField, Model, PositiveDuration, Prose
from rules.model_base import Line as Line
from rules.model_base import Slug as Slug
from rules.model_base import milliseconds as milliseconds
from rules.model_pattern import Pattern
from rules.model_trigger import Count as Count
from rules.model_trigger import Distinct as Distinct
from rules.model_trigger import Sum as Sum
from rules.model_trigger import Trigger as Trigger
from rules.model_trigger import Window as Window

Status = Literal["active", "shadow", "retired"]
Kind = Literal["complaint", "violation", "consumer-rights", "alert"]
KINDS: Final[tuple[Kind, ...]] = ("complaint", "violation", "consumer-rights")


class Title(Model):
    """What the alert is called, in both languages."""

    zh: Annotated[str, Field(min_length=1, max_length=100, description="In Chinese.")]
    en: Annotated[str, Field(min_length=1, max_length=140, description="In English.")]


class Runbook(Model):
    """What whoever gets the alert should do: a text, or a list of steps, in both languages."""

    zh: Prose | list[Line] = Field(description="In Chinese.")
    en: Prose | list[Line] = Field(description="In English.")


class Escalation(Model):
    """A graver alert of the same episode."""

    trigger: Trigger = Field(description="What must hold beside the rule's own trigger, over the same window.")
    severity: Severity = Field(description="The severity of that alert: graver than those before.")


class CaseSpec(Model):
    """Which alerts belong to one case."""

    key: GroupField | Literal["group"] = Field(
        description="One of the fields in group_by, or `group` for all of them: alerts with equal values share a case."
    )


class LeadTable(Model):
    """A lead department that depends on one of the group's fields."""

    by: GroupField = Field(description="One of the fields in group_by.")
    table: dict[str, Slug] = Field(description="Department by value of that field.")
    default: Slug = Field(description="The department for every other value.")


class JointTable(Model):
    """Assisting departments that depend on one of the group's fields."""

    by: GroupField = Field(description="One of the fields in group_by.")
    table: dict[str, list[Slug]] = Field(description="Departments by value of that field.")
    default: list[Slug] = Field(default=[], description="The departments for every other value.")


class Decision(Model):
    """A row of the decision table: groups that it is about, and who leads and assists there."""

    when: Annotated[dict[GroupField, Line | Annotated[list[Line], Field(min_length=1)]], Field(min_length=1)] = Field(
        description="Values by field of group_by, one or several; regions and industries hold what is within them."
    )
    lead: Slug = Field(description="The department that leads the case.")
    joint: Annotated[list[Slug], Field(max_length=16)] = Field(default=[], description="The departments that assist.")


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise PydanticCustomError("day", "is a day such as 2026-01-31") from None


Day = Annotated[str, AfterValidator(_day), Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class InForce(Model):
    """From when to when the rule looks at events, by the time at which they happened, in Shanghai."""

    from_: Day | None = Field(default=None, alias="from", description="The first day.")
    until: Day | None = Field(default=None, description="The first day on which it is no longer in force.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ is not None and self.until is not None and self.until <= self.from_:
            raise PydanticCustomError("in-force", "until is not after from: the rule would never be in force")
        return self


class Limits(Model):
    """What one rule may use."""

    facts_per_key: Annotated[int, Field(ge=10, le=200_000)] = Field(
        default=10_000, description="Facts kept of one key; beyond, the oldest go and the decision says so."
    )
    micros_per_fact: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        default=2_000, description="Microseconds that a fact may take on average; a rule that takes more is reported."
    )
    partial_matches: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1_000, description="Matches of a pattern that one key may have begun; beyond, no further one begins."
    )


class RuleFile(Model):
    """A rule: which events matter, how they add up to an alert, and who has to act on it."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["window", "trigger"], "not": {"required": ["pattern"]}}, {"required": ["pattern"]}]
        }
    )

    id: Slug = Field(description="Name of the rule and of its file. Ids never change meaning.")
    version: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="Grows with every change of meaning; facts and windows of another version are not mixed."
    )
    title: Title = Field(description="What the alert is called.")
    status: Status = Field(
        default="active", description="active; shadow: alerts are recorded but open no case; retired: not run."
    )
    in_force: InForce | None = Field(default=None, description="From when to when; default: always.")
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
    condition: Condition = Field(
        description="A CEL expression over the event; true makes the event a fact of this rule."
    )
    group_by: GroupField | Annotated[list[GroupField], Field(min_length=1, max_length=4)] = Field(
        description="The field or fields that facts are gathered by; an event that lacks one makes no fact."
    )
    window: Window | None = Field(default=None, description="How much time a trigger looks at.")
    trigger: Trigger | None = Field(default=None, description="When there is an alert.")
    pattern: Pattern | None = Field(default=None, description="What follows what; instead of window and trigger.")
    rules: (
        Annotated[dict[Slug, Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=100)] | None
    ) = Field(default=None, description="With `on: [alert]`: the rules whose alerts are looked at, and their weights.")
    escalate: Annotated[list[Escalation], Field(max_length=4)] = Field(
        default=[], description="Further alerts of an episode, each graver than the one before."
    )
    cooldown: PositiveDuration | None = Field(
        default=None, description="No alert unless the trigger has not held for so long; escalation is not held back."
    )
    inhibited_by: Annotated[list[Slug], Field(max_length=32)] = Field(
        default=[], description="Rules whose alert of the same group keeps this one silent until its episode ends."
    )
    episode: PositiveDuration | None = Field(
        default=None, description="At most one alert of a key in each period of this length; default: window size."
    )
    severity: Severity = Field(description="info, low, medium, high or critical.")
    case: CaseSpec | Literal["none"] = Field(default="none", description="Which alerts share a case; none: no case.")
    lead: Slug | LeadTable | None = Field(default=None, description="The department that leads the case.")
    joint: Annotated[list[Slug], Field(max_length=16)] | JointTable = Field(
        default=[], description="The departments that assist."
    )
    decision_table: Annotated[list[Decision], Field(max_length=500)] = Field(
        default=[], description="Rows tried in order: the first that fits decides lead and joint; else those above do."
    )
    credit_points: Annotated[int, Field(ge=0, le=1_000)] = Field(
        default=0, description="Points by which an alert lowers the credit of the enterprise; the alert carries them."
    )
    clock: Slug | None = Field(default=None, description="The statutory clock that the case starts.")
    notify: bool = Field(default=True, description="Whether departments get a message at once.")
    limits: Limits = Field(default=Limits(), description="What the rule may use.")

    @model_validator(mode="after")
    def _window_or_pattern(self) -> Self:
        if self.pattern is None and self.window is None:
            raise PydanticCustomError("no-window", "needs window and trigger, or pattern")
        if (self.window is None) != (self.trigger is None):
            raise PydanticCustomError("no-window", "window and trigger go together")
        if self.pattern is not None and self.window is not None:
            raise PydanticCustomError("two-ways", "has window and trigger, or pattern, not both")
        if self.pattern is not None and (self.escalate or self.cooldown):
            raise PydanticCustomError("pattern", "escalate and cooldown are for windows, not for a pattern")
        severities = [self.severity, *(each.severity for each in self.escalate)]
        if any(SEVERITIES.index(one) >= SEVERITIES.index(other) for one, other in pairwise(severities)):
            raise PydanticCustomError("escalate", "each severity in escalate must be graver than the one before")
        if ("alert" in self.on) != (self.rules is not None) or ("alert" in self.on and set(self.on) != {"alert"}):
            raise PydanticCustomError("alert", "a rule on alerts has `on: [alert]` and `rules`, and no other rule has")
        return self

    @property
    def groups(self) -> tuple[str, ...]:
        """The fields in group_by."""
        return (self.group_by,) if isinstance(self.group_by, str) else tuple(self.group_by)
