"""From bytes to an accepted event, or to the reason why not. One way for every door into the system.

Pure. The same bytes with the same tables and the same time of receipt give the same answer, so a door may judge a
record in advance and the ingest stage will agree. Messages name fields, never values: values may be personal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter, sub
from typing import Any, Final, cast

import msgspec
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from jianguan.clock import to_millis
from jianguan.domain.by_field import Constant, tuples_of
from jianguan.domain.contract import (
    KIND_OF_TOPIC,
    MODELS,
    CloudEvent,
    Complaint,
    ConsumerRights,
    Enterprise,
    Reporter,
    Violation,
)
from jianguan.domain.event import Event, EventRun, Personal
from jianguan.domain.identifiers import check_uscc
from jianguan.domain.ids import event_id, event_ids
from jianguan.domain.industries import Industries
from jianguan.domain.masking import match_hash, redact
from jianguan.domain.regions import Regions
from jianguan.errors import InputError

Model = Complaint | Violation | ConsumerRights
FUTURE_MS: Final = 24 * 3_600_000
EARLIEST: Final = to_millis(datetime(1970, 1, 1, tzinfo=UTC))
MAX_REASONS: Final = 5
LONGEST_NAME: Final = 64
_LOOKED_AT: Final = 4 * LONGEST_NAME  # characters of a name in which numbers are looked for
_NO_TEXT: Final = (None,)
_KNOWN: Final = {kind: sorted(model.model_fields) for kind, model in MODELS.items()}
_KINDS: Final = ", ".join(map(repr, MODELS))


@dataclass(frozen=True, slots=True)
class Reference:
    """The tables that codes are checked against, and the key of the reporter hash."""

    regions: Regions
    industries: Industries
    hash_key: bytes


def decode(
    value: bytes,
    topic: str,
    content_type: str = "application/json",
    headers: Sequence[tuple[str, bytes]] = (),
) -> Model:
    """The wire event in `value`, which arrived for `topic` (without prefix). InputError names the field.

    CloudEvents in structured mode are recognised by content type or by `specversion` in the object, in binary mode by
    `ce_specversion` among the headers (the Kafka binding).
    """
    if not value:
        raise InputError("empty", "the record has no value")
    attributes = {name.lower(): content or b"" for name, content in headers if name.lower().startswith("ce_")}
    if "ce_specversion" in attributes:
        return _binary(value, attributes, topic)
    if content_type.startswith("application/cloudevents+json") or (
        b'"specversion"' in value and _has_member(value, "specversion")
    ):
        return _structured(value, topic)
    kind = KIND_OF_TOPIC.get(topic, "complaint")
    try:
        return MODELS[kind].model_validate_json(value)
    except ValidationError as error:
        raise _explain(error, value, kind) from None


def admit(model: Model, reference: Reference, received_at: int) -> tuple[Event, Personal | None]:
    """Check codes and times of `model` and flatten it. `received_at` in ms. InputError names the field."""
    (event,), (personal,) = admit_run((model,), reference, (received_at,))
    return event, personal


def check(model: Model, reference: Reference, received_at: int) -> str:
    """The id of the event that `admit` makes of `model`, or its InputError, in a fifth of the time."""
    _occurred((model.occurred_at,), (received_at,))
    _parties((model.enterprise,))
    _spelled(reference.regions, (model.region,), "region")
    _spelled(reference.industries, (model.industry,), "industry")
    return event_id(model.source, model.id)


def admit_run(
    models: Sequence[Model], reference: Reference, received: Sequence[int]
) -> tuple[EventRun, list[Personal | None]]:
    """`admit` for many models of one kind, at least one: all, or the InputError of one of them.

    Works field by field over the whole run, because that takes a third of the time that event by event would.
    """
    kind = models[0].kind
    # fmt: off
    (
        names, sources, times, numbers, categories, matters, enterprises, regions, industries, products, platforms,
        channels, addresses, positions, amounts, tags, texts, historical,
    ) = zip(*map(_COMMON, models), strict=True)
    # fmt: on
    occurred = _occurred(times, received)
    parties = _parties(enterprises)
    identifiers = event_ids(sources, names)
    count = len(models)
    nothing: Sequence[Any] = Constant(None, count)
    nature = result = severity = critical = serious = minor = penalty = inspection = nothing
    right = outcome = compensation = status = demands = reporters = nothing
    own = zip(*map(_OWN[kind], models), strict=True)
    if kind == "complaint":
        nature, status, demands, reporters = own
    elif kind == "violation":
        result, severity, critical, serious, minor, penalty, inspection = own
    else:
        right, outcome, compensation, reporters = own
    personal = list(map(_personal, identifiers, occurred, reporters, texts))
    # fmt: off
    before = (
        identifiers, sources, names, Constant(kind, count), nature, numbers, categories, matters, occurred,
    )
    after = (
        parties, [each and each.name for each in enterprises], _spelled(reference.regions, regions, "region"),
        _spelled(reference.industries, industries, "industry"), products, platforms, channels, addresses,
        [each and each.latitude for each in positions], [each and each.longitude for each in positions],
        amounts, result, severity, critical, serious, minor, penalty, inspection, right, outcome, compensation, status,
    )
    # fmt: on
    # Over the meaning, so that another order of keys or another envelope is not another content; the time of receipt
    # is no part of it.
    contents = [
        blake2b(packed, digest_size=8).hexdigest()
        for packed in map(_packed, zip(*before, *after, personal, demands, tags, strict=True))
    ]
    masked = demands if demands is nothing else [each and redact(each).text for each in demands]
    hashes = (
        reporters if reporters is nothing else [each and _reporter_hash(each, reference.hash_key) for each in reporters]
    )
    fields = (*before, received, *after, masked, hashes, tags, historical, contents, texts)
    return EventRun(tuples_of(Event, zip(*fields, strict=True)), fields), personal


_COMMON: Final = attrgetter(
    "id", "source", "occurred_at", "number", "category", "matter", "enterprise", "region", "industry", "product",
    "platform", "channel", "address", "position", "amount_fen", "tags", "text", "historical",
)  # fmt: skip
_OWN: Final = {
    "complaint": attrgetter("nature", "status", "demand", "reporter"),
    "violation": attrgetter(
        "result", "severity", "critical_count", "serious_count", "minor_count", "penalty_fen", "inspection"
    ),
    "consumer-rights": attrgetter("right", "outcome", "compensation_fen", "reporter"),
}


# Half the time of Event(...); tests hold the order.
_of: Final = cast(Callable[[Any, Any], Any], tuple.__new__)
_packed: Final = msgspec.msgpack.Encoder().encode


def _occurred(times: Sequence[datetime], received: Sequence[int]) -> list[int]:
    """When events happened, in ms."""
    occurred = [int(time.timestamp() * 1000 // 1) for time in times]  # to_millis, written out
    if min(occurred) < EARLIEST:
        raise InputError("time-too-early", "occurred_at lies before 1970", "occurred_at")
    if max(map(sub, occurred, received)) > FUTURE_MS:
        raise InputError("time-in-future", "occurred_at lies more than a day after its receipt", "occurred_at")
    return occurred


def _parties(enterprises: Sequence[Enterprise | None]) -> list[str | None]:
    return [None if each is None else _party(each.scheme, each.id) for each in enterprises]


def _party(scheme: str, code: str) -> str:
    """`scheme:code` of an enterprise whose code is right."""
    if scheme == "uscc":
        try:
            _known_uscc(code)
        except InputError as error:
            raise InputError(error.code, str(error), "enterprise.id") from None
    return f"{scheme}:{code}"


@lru_cache(maxsize=65_536)
def _known_uscc(code: str) -> None:
    """check_uscc, remembered for codes that are right: the same enterprises are named again and again."""
    check_uscc(code)


def without_personal(event: Event) -> Event:
    """The event as it is stored: its free text is in Personal."""
    return event if event.text is None else tuple.__new__(Event, event[:-1] + _NO_TEXT)


def _personal(event: str, occurred_at: int, reporter: Reporter | None, text: str | None) -> Personal | None:
    if reporter is not None:
        values = (event, occurred_at, reporter.name, reporter.phone, reporter.id_card, reporter.address, text)
    elif text is not None:
        values = (event, occurred_at, None, None, None, None, text)
    else:
        return None
    return cast(Personal, _of(Personal, values))


def _reporter_hash(reporter: Reporter, key: bytes) -> str | None:
    best = reporter.phone or reporter.id_card or reporter.name
    return match_hash(best, key) if best else None


def _spelled(table: Regions | Industries, codes: Iterable[str | None], field: str) -> Sequence[str | None]:
    try:
        return table.normalise_all(codes)
    except InputError as error:
        raise InputError(error.code, str(error), field) from None


def _has_member(value: bytes, name: str) -> bool:
    try:
        record = from_json(value)
    except ValueError:
        return False
    return isinstance(record, dict) and name in record


def _structured(value: bytes, topic: str) -> Model:
    try:
        envelope = CloudEvent.model_validate_json(value)
    except ValidationError as error:
        raise _explain(error, value, "") from None
    return _from_cloud_event(envelope.type, envelope.id, envelope.source, envelope.time, envelope.data, topic)


def _binary(value: bytes, attributes: Mapping[str, bytes], topic: str) -> Model:
    try:
        data = from_json(value)
        named = {name[3:]: content.decode("utf-8") for name, content in attributes.items()}
    except ValueError:
        raise InputError("not-json", "the record is not JSON in UTF-8") from None
    try:
        envelope = CloudEvent.model_validate_json(to_json({**named, "data": data}))
    except ValidationError as error:
        raise _explain(error, value, "") from None
    return _from_cloud_event(envelope.type, envelope.id, envelope.source, envelope.time, envelope.data, topic)


def _from_cloud_event(
    type_: str, id_: str, source: str, time: datetime | None, data: dict[str, Any], topic: str
) -> Model:
    kind = CloudEvent.TYPES[type_]
    expected = KIND_OF_TOPIC.get(topic)
    if expected is not None and expected != kind:
        raise InputError("wrong-topic", f"an event of type {type_} does not belong on the topic {topic}", "type")
    filled = {"id": id_, "source": source, **data}
    if time is not None:
        filled.setdefault("occurred_at", time.isoformat())
    value = to_json(filled)
    try:
        return MODELS[kind].model_validate_json(value)
    except ValidationError as error:
        raise _explain(error, value, kind) from None


_MESSAGES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "timezone_aware": "needs a zone, such as +08:00 or Z",
    "string_too_long": "is too long",
    "string_too_short": "must not be empty",
    "too_long": "is too long",
    "too_short": "must not be empty",
    "literal_error": "is not one of the allowed values",
}


def _explain(error: ValidationError, value: bytes, kind: str) -> InputError:
    problems = error.errors(include_url=False, include_context=True, include_input=False)
    first = problems[0]
    if first["type"] == "json_invalid":
        return InputError(*_json_problem(value))
    if first["type"] in ("model_type", "model_attributes_type") and not first["loc"]:
        return InputError("not-an-object", "the record is JSON, but not an object")
    reasons = []
    said = _kind_said(value) if kind else None
    for problem in problems[:MAX_REASONS]:
        path = _path(problem["loc"]) or "record"
        text = _MESSAGES.get(problem["type"], problem["msg"][:1].lower() + problem["msg"][1:])
        limit = problem.get("ctx", {}).get("max_length")
        expected = problem.get("ctx", {}).get("expected")
        text += f" (at most {limit})" if limit else ""
        if problem["loc"] == ("kind",) and said not in MODELS:
            expected = _KINDS
        text += f" ({expected})" if expected else ""
        if problem["type"] == "extra_forbidden":
            name = str(problem["loc"][-1])[:LONGEST_NAME]
            owners = [each for each, known in _KNOWN.items() if name in known] if len(problem["loc"]) == 1 else []
            if owners and kind:
                text += f" of a {kind} event; {' and '.join(owners)} {'has' if len(owners) == 1 else 'have'} it"
                text += ": set kind" if said is None else ""
            elif problem is first:  # looking for near names is costly
                text += _did_you_mean(name, kind)
        reasons.append(f"{path}: {text}")
    if len(problems) > MAX_REASONS:
        reasons.append(f"and {len(problems) - MAX_REASONS} more")
    return InputError(str(first["type"]).replace("_", "-"), "; ".join(reasons), _path(first["loc"]))


def _kind_said(value: bytes) -> str | None:
    """The kind that a record gives itself, "" for what is no text; None when it gives none."""
    try:
        record = from_json(value)
    except ValueError:
        return None
    if not isinstance(record, dict) or "kind" not in record:
        return None
    return record["kind"] if isinstance(record["kind"], str) else ""


def _path(location: tuple[int | str, ...]) -> str:
    """The dotted path of a field. Names that the sender made up are cut, and nothing unprintable is let through, nor a
    number: of a table that was sent without its head, the values of the first row are the names."""
    return ".".join(
        "".join(each if each.isprintable() else "?" for each in redact(str(part)[:_LOOKED_AT]).text[:LONGEST_NAME])
        for part in location
    )


def _did_you_mean(name: str, kind: str) -> str:
    near = get_close_matches(name, _KNOWN.get(kind, ()), 1)
    return f", did you mean {near[0]}?" if near else ""


def _json_problem(value: bytes) -> tuple[str, str]:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return "not-utf8", f"the record is not UTF-8: byte {error.start} cannot be read"
    try:
        from_json(value)
    except ValueError as error:
        if "recursion" in str(error):
            return "too-deep", "the record is nested too deeply"
        return "not-json", f"the record is not JSON: {error}"
    return "not-json", "the record is not JSON"
