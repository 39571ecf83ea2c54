"""The part of a rule file about windows and what has to hold over them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from rules.model_base import Condition, Duration, GroupField, Length, Model, PositiveDuration

NumberField = Literal[
    "amount_fen", "penalty_fen", "compensation_fen", "critical_count", "serious_count", "minor_count"
]  # fmt: skip
Bound = Annotated[int, Field(ge=0, le=10**18)]
Share = Annotated[float, Field(ge=0, le=1, strict=False)]
Times = Annotated[float, Field(ge=0, le=1_000_000, strict=False)]


class Window(Model):
    """How much time, and how much room, a trigger looks at."""

    kind: Literal["sliding", "tumbling", "session"] = Field(
        default="sliding",
        description="sliding: the `size` before each fact. tumbling: calendar-like periods of `size`. "
        "session: facts that follow each other in less than `gap`, at most `size` back.",
    )
    size: Length = Field(description="Length of the window: 30m, 24h, 7d; 7wd counts working days.")
    gap: PositiveDuration | None = Field(
        default=None, description="Of a session: so long without a fact, and the next one begins another session."
    )
    within_m: Annotated[int, Field(ge=10, le=100_000)] | None = Field(
        default=None, description="Only facts within so many metres of the newest one are in the window."
    )
    lateness: Duration = Field(
        default="0s",
        description="Rules that only count: how much older than newest fact minus size a fact may be and still count. "
        "Rules that are settled by the clock: how long after it happened an event may be received and still count.",
    )

    @model_validator(mode="after")
    def _gap_of_sessions(self) -> Self:
        if (self.gap is None) == (self.kind == "session"):
            raise PydanticCustomError("gap", "a session needs gap, and no other window has one")
        return self


class Count(Model):
    """The number of facts in the window."""

    at_least: Annotated[int, Field(ge=1, le=1_000_000, description="Holds from this number on.")]


class Distinct(Model):
    """The number of different values of a field among the facts in the window; a missing value is not counted."""

    of: GroupField = Field(description="The field whose values are told apart.")
    at_least: Annotated[int, Field(ge=1, le=1_000_000, description="Holds from this number on.")]


class Sum(Model):
    """The sum of a field over the facts in the window; a missing value counts as 0."""

    of: NumberField = Field(description="The field to add up: a whole number of at least 0; money in fen.")
    at_least: Annotated[int, Field(ge=1, le=10**18, description="Holds from this sum on.")]


class Bounded(Model):
    """Something that is compared with a lower bound, an upper bound or both."""

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if getattr(self, "at_least", None) is None and getattr(self, "at_most", None) is None:
            raise PydanticCustomError("no-bound", "needs at_least, at_most or both")
        return self


class Measure(Bounded):
    """A figure of a field over the facts in the window that have it; without any it is not there, and not true."""

    of: NumberField = Field(description="The field that is looked at; money in fen.")
    at_least: Bound | None = Field(default=None, description="Holds from this value on.")
    at_most: Bound | None = Field(default=None, description="Holds up to this value.")


class Percentile(Measure):
    """The value below or at which `p` percent of the values lie (nearest rank)."""

    p: Annotated[float, Field(gt=0, le=100, strict=False, description="Percent: 90 for the ninetieth percentile.")]


class Ratio(Bounded):
    """The share of facts that meet one condition among those that meet another."""

    of: Condition = Field(description="A CEL expression over the event: what is counted.")
    to: Condition = Field(
        default="true", description="A CEL expression over the event: among what; all facts if left out."
    )
    at_least: Share | None = Field(default=None, description="Holds from this share on: 0.5 is half.")
    at_most: Share | None = Field(default=None, description="Holds up to this share.")


class Rate(Bounded):
    """How many times as many facts as usual: the count over the median count of the windows before, at least 1."""

    periods: Annotated[int, Field(ge=2, le=60, description="So many windows before this one are the key's own past.")]
    sample: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10, description="Fewer facts in all of the past are too few to say what is usual: not true then."
    )
    at_least: Times | None = Field(default=None, description="Holds from so many times the usual on.")
    at_most: Times | None = Field(default=None, description="Holds up to so many times the usual.")


class Score(Model):
    """The sum of the weights that `rules` gives to the alerts in the window."""

    at_least: Annotated[int, Field(ge=1, le=10**9, description="Holds from this sum on.")]


CLAUSES: Final = ("count", "distinct", "sum", "avg", "min", "max", "median", "percentile", "ratio", "rate", "score")


class Trigger(Model):
    """When there is an alert: everything that is given must hold over the window."""

    count: Count | None = Field(default=None, description="How many facts.")
    distinct: Distinct | None = Field(default=None, description="How many different values.")
    sum: Sum | None = Field(default=None, description="How much in total.")
    avg: Measure | None = Field(default=None, description="The arithmetic mean of a field.")
    min: Measure | None = Field(default=None, description="The least value of a field.")
    max: Measure | None = Field(default=None, description="The greatest value of a field.")
    median: Measure | None = Field(default=None, description="The median of a field; of two middle values their mean.")
    percentile: Percentile | None = Field(default=None, description="A percentile of a field.")
    ratio: Ratio | None = Field(default=None, description="The share of facts that meet a condition.")
    rate: Rate | None = Field(default=None, description="The count, compared with the key's own past.")
    score: Score | None = Field(default=None, description="The weights of alerts, added up: only with `on: [alert]`.")
    all: Annotated[list[Trigger], Field(min_length=1, max_length=10)] | None = Field(
        default=None, description="Every one of these must hold."
    )
    any: Annotated[list[Trigger], Field(min_length=1, max_length=10)] | None = Field(
        default=None, description="At least one of these must hold."
    )
    not_: Trigger | None = Field(default=None, alias="not", description="This must not hold.")

    @model_validator(mode="after")
    def _some_clause(self) -> Self:
        if all(getattr(self, name) is None for name in Trigger.model_fields):
            raise PydanticCustomError("no-clause", "needs at least one of count, distinct, sum, avg, …")
        return self
