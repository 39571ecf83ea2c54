"""The part of a rule file about what follows what."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from rules.model_base import Condition, Duration, Length, Model

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)]

_RELATED: Final = "A CEL expression over fields of this event and of those of earlier steps: amount_fen > a.amount_fen."


class Times(Model):
    """How many facts a step takes."""

    at_least: Annotated[int, Field(ge=1, le=1_000, description="The step is met from so many facts on.")]
    at_most: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        default=None, description="It takes no more than so many; default: as many as at_least."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            raise PydanticCustomError("times", "at_most is less than at_least")
        return self


class PlainStep(Model):
    """One event that is looked for."""

    name: Name = Field(description="What later steps call the event: `a` in `a.amount_fen`.")
    where: Condition = Field(description="A CEL expression over the event.")
    related: Condition | None = Field(default=None, description=_RELATED)


class Step(Model):
    """One event, one that must not come, or several in any order; it follows the step before."""

    name: Name | None = Field(default=None, description="What later steps call the event: `a` in `a.amount_fen`.")
    where: Condition | None = Field(default=None, description="A CEL expression over the event.")
    related: Condition | None = Field(default=None, description=_RELATED)
    times: Times | None = Field(default=None, description="How many such events; default: one.")
    next: bool = Field(
        default=False, description="The event must be the very next fact of the group; default: others may lie between."
    )
    absent: bool = Field(
        default=False,
        description="Such an event must not come before the next step does; as the last step, before the time is up.",
    )
    all: Annotated[list[PlainStep], Field(min_length=2, max_length=5)] | None = Field(
        default=None, description="All of these events, in any order."
    )
    any: Annotated[list[PlainStep], Field(min_length=2, max_length=5)] | None = Field(
        default=None, description="One of these events, whichever comes first."
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        plain = self.name is not None and self.where is not None
        group = self.all is not None or self.any is not None
        if (self.all is not None and self.any is not None) or plain == group:
            raise PydanticCustomError("step", "a step has name and where, or all, or any")
        if group and (self.name or self.where or self.related or self.times or self.absent):
            raise PydanticCustomError("step", "beside all or any a step has nothing but next")
        if self.absent and (self.times or self.next):
            raise PydanticCustomError("step", "what must not come has neither times nor next")
        return self

    @property
    def parts(self) -> list[PlainStep]:
        """The events that are looked for."""
        if self.name is not None and self.where is not None:
            return [PlainStep(name=self.name, where=self.where, related=self.related)]
        return self.all or self.any or []


class Pattern(Model):
    """What follows what, within a time. The clock settles it."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=10, description="In order of time.")]
    within: Length = Field(
        description="All of it happens within this length of its first event: 30d; 7wd ends with the seventh working "
        "day after the day of that event."
    )
    lateness: Duration = Field(
        description="How long after it happened an event may be received and still count; so long a decision waits."
    )
    every: bool = Field(default=False, description="An alert for each match; default: at most one in an episode.")
    after_match: Literal["skip-past-last", "skip-to-next"] = Field(
        default="skip-past-last",
        description="skip-past-last: no event up to the last of a match begins another. skip-to-next: every event may.",
    )

    @model_validator(mode="after")
    def _some_event(self) -> Self:
        if self.steps[0].absent:
            raise PydanticCustomError("absent", "the first step is an event that comes")
        names = [part.name for step in self.steps for part in step.parts]
        if len(set(names)) != len(names):
            raise PydanticCustomError("names", "two steps have one name")
        return self
