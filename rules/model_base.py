"""What the parts of a rule file are made of: names, durations, fields.

It must not know what a rule is.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

# Fields of an event that name something: what facts may be grouped by and what may be counted apart.
PLAIN_FIELDS: Final = (
    "enterprise", "region", "industry", "category", "matter", "product", "platform", "address", "reporter",
    "channel", "source", "right",
)  # fmt: skip
# What only an alert has, beside some of those: for rules on alerts.
ALERT_FIELDS: Final = ("rule", "lead")
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

# Side of the squares that the map is cut into, by name.
CELLS: Final = {
    "100m": 100, "250m": 250, "500m": 500, "1km": 1_000, "2km": 2_000, "5km": 5_000, "10km": 10_000,
}  # fmt: skip

FIELD_PATTERN = (
    r"^("
    + "|".join((*PLAIN_FIELDS, *ALERT_FIELDS))
    + r"|(region|industry)\.[a-z]+(-[a-z]+)*|cell\.("
    + "|".join(CELLS)
    + r"))$"
)
_WORKING_DAYS = re.compile(r"([1-9][0-9]{0,2})wd")
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


def working_days(length: str) -> int | None:
    """7 for `7wd`; None for a length that does not count working days."""
    found = _WORKING_DAYS.fullmatch(length)
    return int(found[1]) if found else None


def _length(value: object) -> object:
    if isinstance(value, str) and working_days(value):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise PydanticCustomError("duration", "is a duration such as 90s, 30m, 24h or 7d, or 7wd for working days")
    return _positive(value)


Duration = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,5})(s|m|h|d)$"), BeforeValidator(_duration)]
PositiveDuration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h|d)$"), BeforeValidator(_positive)]
Length = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h|d|wd)$"), BeforeValidator(_length)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
GroupField = Annotated[str, Field(pattern=FIELD_PATTERN, max_length=64)]
Line = Annotated[str, Field(min_length=1, max_length=300)]
Condition = Annotated[str, Field(min_length=1, max_length=8_000)]
Prose = Annotated[str, Field(min_length=1, max_length=4_000)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)
