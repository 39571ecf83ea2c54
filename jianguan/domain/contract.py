"""The public contract: what a complaint, a violation and a consumer-rights event look like on the wire.

These models are the only definition; JSON Schema, OpenAPI and AsyncAPI are generated from them. Their fields say
which values are personal. Codes (regions, industries, enterprises) are checked in `admission`, which has the
tables.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, TypeAdapter
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

MAX_TEXT: Final = 20_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
PERSONAL: Final[JsonDict] = {"x-personal": True}


def _printable(value: str) -> str:
    if _CONTROL.search(value):
        raise PydanticCustomError("control-character", "must not contain control characters such as NUL")
    return value


def _encodable(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PydanticCustomError("not-utf8", "must not contain half of a surrogate pair") from None
    return _printable(value)


def _written(value: object) -> object:
    # pydantic reads text of digits as seconds since 1970, so that "20230101" would be a day in August 1970.
    if isinstance(value, str) and not (value[4:5] == "-" and value[:4].isdigit()):
        raise PydanticCustomError("time-format", "must be written like 2026-01-31T09:30:00+08:00")
    if isinstance(value, int | float):
        raise PydanticCustomError("time-format", "must be text like 2026-01-31T09:30:00+08:00, not a number")
    return value


# Not strict behind the check, since strictness would refuse the text that the check has let through.
Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written)]
Text = Annotated[str, AfterValidator(_encodable)]
Short = Annotated[Text, Field(min_length=1, max_length=200)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Code = Annotated[str, Field(pattern=r"^([a-z0-9-]+:)?[A-Za-z0-9._-]+$", max_length=64)]
Fen = Annotated[int, Field(ge=0, le=10**15, strict=True, description="Money in fen, the hundredth of a yuan.")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)


class Enterprise(_Model):
    """The reported party. `id` means something only together with `scheme`."""

    scheme: Slug = Field(
        default="uscc", description="uscc: GB 32100-2015; any other slug: a foreign or local register."
    )
    id: Annotated[Text, Field(min_length=1, max_length=64, pattern=r"^\S+$")]
    name: Short | None = None


class Position(_Model):
    """Where the matter happened, WGS 84 degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Reporter(_Model):
    """Who complained or reported. Everything in here is personal and is never shown to the reported party."""

    model_config = ConfigDict(json_schema_extra=PERSONAL)

    name: Annotated[Text, Field(max_length=100, json_schema_extra=PERSONAL)] | None = None
    phone: Annotated[Text, Field(max_length=40, json_schema_extra=PERSONAL)] | None = None
    id_card: Annotated[Text, Field(max_length=40, json_schema_extra=PERSONAL)] | None = None
    address: Annotated[Text, Field(max_length=300, json_schema_extra=PERSONAL)] | None = None


class _Event(_Model):
    """What all events share. An event is (`source`, `id`): the same pair is the same event, sent once or often."""

    id: Annotated[Text, Field(min_length=1, max_length=128)]
    source: Annotated[Text, Field(min_length=1, max_length=200, description="The system that the event comes from.")]
    occurred_at: Time = Field(description="When it happened; a zone is required. Windows are over this time.")
    number: Short | None = Field(default=None, description="The number that people call it by (工单号).")
    category: Slug = Field(description="What it is about, such as food-safety, advertising, prepaid-card.")
    matter: Short | None = Field(default=None, description="Code of the supervised matter (监管事项).")
    enterprise: Enterprise | None = None
    region: Code | None = Field(default=None, description="`tree:code`; bare digits are GB/T 2260.")
    industry: Code | None = Field(default=None, description="`tree:code`; a bare code is GB/T 4754-2017.")
    product: Short | None = None
    platform: Short | None = None
    channel: Slug | None = Field(default=None, description="web, phone, app, visit, letter, …")
    address: (
        Annotated[
            Text,
            Field(max_length=300, description="Where the matter happened, not where the reporter lives."),
        ]
        | None
    ) = None
    position: Position | None = None
    amount_fen: Fen | None = None
    tags: Annotated[tuple[Slug, ...], Field(max_length=32), FailFast()] = ()  # a record may have 100,000 wrong ones
    text: Annotated[Text, Field(max_length=MAX_TEXT, json_schema_extra=PERSONAL)] | None = Field(
        default=None, description="Free text; personal.", json_schema_extra=PERSONAL
    )
    historical: bool = Field(default=False, description="True for history loaded after the fact: it is never late.")


class Complaint(_Event):
    """投诉举报: a consumer's own dispute (complaint) or a tip about someone's violation (report)."""

    kind: Literal["complaint"] = "complaint"
    nature: Literal["complaint", "report"] = "complaint"
    reporter: Reporter | None = None
    demand: Annotated[Text, Field(max_length=500)] | None = Field(
        default=None, description="What the reporter asks for."
    )
    status: Slug | None = None


class Violation(_Event):
    """违法违规: what an inspection, a test or an investigation found, also when it found nothing."""

    kind: Literal["violation"] = "violation"
    result: Literal["pass", "conditional", "fail", "none"] = Field(
        description="none: the inspection did not take place."
    )
    severity: Annotated[int, Field(ge=1, le=5, strict=True)] | None = Field(
        default=None, description="1 slight … 5 grave."
    )
    critical_count: Annotated[int, Field(ge=0, le=10_000, strict=True)] | None = None
    serious_count: Annotated[int, Field(ge=0, le=10_000, strict=True)] | None = None
    minor_count: Annotated[int, Field(ge=0, le=10_000, strict=True)] | None = None
    penalty_fen: Fen | None = None
    inspection: Short | None = Field(default=None, description="Number of the inspection.")


class ConsumerRights(_Event):
    """消费维权: a claim of a consumer's right, its mediation and its outcome."""

    kind: Literal["consumer-rights"] = "consumer-rights"
    right: Slug | None = Field(
        default=None, description="Which right: safety, knowledge, choice, fair-trade, compensation, …"
    )
    reporter: Reporter | None = None
    outcome: Literal["pending", "mediated", "refused", "withdrawn", "transferred"] | None = None
    compensation_fen: Fen | None = None


WireEvent = Annotated[Complaint | Violation | ConsumerRights, Field(discriminator="kind")]
MODELS: Final[dict[str, type[Complaint] | type[Violation] | type[ConsumerRights]]] = {
    "complaint": Complaint,
    "violation": Violation,
    "consumer-rights": ConsumerRights,
}
TOPIC_OF_KIND: Final = {
    "complaint": "complaints",
    "violation": "violations",
    "consumer-rights": "consumer-rights",
}
KIND_OF_TOPIC: Final = {topic: kind for kind, topic in TOPIC_OF_KIND.items()}
WIRE: Final[TypeAdapter[Any]] = TypeAdapter(WireEvent)


# `application/json`, a type that ends in `+json`, with parameters or not: CloudEvents 1.0, JSON format, 3.1.
JsonMedia = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z]+/([^ ;/]+\+)?[Jj][Ss][Oo][Nn] *(;.*)?$")]


class CloudEvent(BaseModel):
    """CloudEvents 1.0, structured mode. `data` is an event; `id`, `source` and `time` fill what it lacks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    TYPES: ClassVar[dict[str, str]] = {f"cn.jianguan.{kind}.v1": kind for kind in MODELS}

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=128)]
    source: Annotated[str, Field(min_length=1, max_length=200)]
    type: Literal["cn.jianguan.complaint.v1", "cn.jianguan.violation.v1", "cn.jianguan.consumer-rights.v1"]
    time: Time | None = None
    datacontenttype: JsonMedia | None = None
    data: dict[str, Any]
