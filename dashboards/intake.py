"""POST /v1/events: takes uploads in every accepted form and answers when the gateway has made them durable.

Judging is injected (`admit`), so that the answer agrees with what the ingest stage will say. Every row is submitted,
valid or not: an invalid one becomes a quarantined record downstream, whole, with its reason.
"""

from __future__ import annotations

import asyncio
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope

from dashboards.bodies import read_encoded
from dashboards.dependencies import Dependencies
from dashboards.framing import CLOUD_EVENT, JSON, MODES, Frames, split, topic_of, topic_of_type
from dashboards.headers import headers_of
from dashboards.parameters import only_known_parameters
from dashboards.problems import ProblemError, retry_after
from dashboards.ratelimit import RateLimiter
from dashboards.reads import Reads
from dashboards.shapes import IntakeReply, Problem, SubmissionView
from dashboards.slices import in_turns
from jianguan.domain.cloud_events import structured
from jianguan.domain.contract import TOPIC_OF_KIND
from jianguan.domain.event import OUTCOMES
from jianguan.domain.ids import make_id
from jianguan.errors import InputError
from jianguan.ports import RawEvent

EVENTS: Final = "/v1/events"
ACCEPTED: Final = 202
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KEY: Final = re.compile(r"[!-~]{8,64}")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED: Final = re.compile(r"\\(.)")
_SLICE: Final = 200  # rows judged between two turns of the event loop, or as many bytes of them:
_SLICE_BYTES: Final = 256 * 1024  # a row may be all faults, each of which is looked for
_PREFIX: Final = 512  # characters of a message that are passed on


_ENCODE: Final = msgspec.json.Encoder().encode


class Upload(NamedTuple):
    """A request as the intake looks at it."""

    headers: Mapping[str, str]  # as `headers_of` gives them
    client: str
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Upload:
        """That of an ASGI scope."""
        client = scope.get("client")
        return cls(headers_of(scope), client[0] if client else "", receive)


class Verdict(NamedTuple):
    """One row as it will be submitted, and what is wrong with it, if anything."""

    raw: RawEvent
    id: str | None
    error: InputError | None


def judge(raw: RawEvent, admit: Callable[[RawEvent], str], largest: int) -> Verdict:
    """`raw` with its ordering key: the event's id when it is valid, else a hash of its bytes.

    An event has at most `largest` bytes, here as in the stage behind.
    """
    try:
        if len(raw.value) > largest:
            raise InputError("too-large", f"the record has {len(raw.value)} bytes; at most {largest} are taken")
        identifier = admit(raw)
    except InputError as error:
        return Verdict(raw._replace(key=hash_key(raw.value)), None, error)
    except RecursionError:
        fault = InputError("too-deep", "the record is nested too deeply")
    except ValueError:
        fault = InputError("unreadable", "the record cannot be read")
    else:
        return Verdict(raw._replace(key=identifier), identifier, None)
    return Verdict(raw._replace(key=hash_key(raw.value)), None, fault)


def hash_key(value: bytes) -> str:
    """What orders a record that has no readable id."""
    return blake2b(value, digest_size=12).hexdigest()


def submission_of(headers: Mapping[str, str]) -> str:
    """The upload's name from its header, or empty; 400 when it is no slug."""
    submission = headers.get("jianguan-submission", "")
    if submission and (len(submission) > 64 or not _SLUG.fullmatch(submission)):
        raise ProblemError(400, "bad-submission", "Jianguan-Submission must be a slug of at most 64 characters")
    return submission


def idempotency_key(headers: Mapping[str, str]) -> str:
    """What a sender names one upload by over its retries, or empty; 400 when it is malformed."""
    key = headers.get("idempotency-key", "")
    if "idempotency-key" in headers and not _KEY.fullmatch(key):
        raise ProblemError(400, "bad-idempotency-key", "Idempotency-Key must be 8 to 64 visible ASCII characters")
    return key


def receipt_of(key: str, raw: RawEvent, index: int) -> str:
    """The receipt of row `index` of the upload `key`, the same in every retry.

    The row itself is part of it: a key that is used again for other rows takes nothing from either.
    """
    attributes = [f"{name}={value!r}" for name, value in raw.headers]
    named = make_id("cm", key, raw.submission, str(index), hash_key(raw.value), *attributes)
    return f"r-{named.removeprefix('cm-')}"


def cloud_headers(headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """CloudEvents attributes of the HTTP binding (possibly quoted, then percent-encoded) as those of the Kafka binding.

    Bytes that should have been percent-encoded are taken as they were sent.
    """
    return tuple(
        (f"ce_{name[3:]}", unquote_to_bytes(_unquoted(value).encode("latin-1")))
        for name, value in headers.items()
        if name.startswith("ce-")
    )


def _unquoted(value: str) -> str:
    """What a quoted string of RFC 7230 says; any other text as it is."""
    return _ESCAPED.sub(r"\1", value[1:-1]) if _QUOTED.fullmatch(value) else value


def self_contained(raw: RawEvent) -> RawEvent:
    """`raw` with the attributes of a binary CloudEvent inside its value: what is kept then can be submitted again."""
    value = structured(raw.value, raw.headers) if raw.headers else None
    return raw if value is None else raw._replace(value=value, content_type=CLOUD_EVENT, headers=())


def media_type(header: str) -> str:
    """The media type without parameters; 415 for an unknown one or a charset other than UTF-8."""
    name, _, parameters = header.partition(";")
    name = name.strip().lower()
    charset = re.search(r'charset\s*=\s*"?([^";\s]+)', parameters, re.IGNORECASE)
    if name not in MODES or (charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii")):
        raise ProblemError(
            415,
            "unknown-content-type",
            "send application/json, application/x-ndjson, application/cloudevents+json or "
            "application/cloudevents-batch+json in UTF-8",
        )
    return name


class Intake:
    """Bounded uploads into the gateway."""

    def __init__(self, deps: Dependencies) -> None:
        limits = deps.limits
        self._deps = deps
        self._rate = RateLimiter(limits.rows_per_second, limits.rows_burst, limits.clients)
        self._uploads = 0
        self._bytes = 0

    async def take(self, upload: Upload, kind: str) -> tuple[str, Frames, list[Verdict], list[str]]:
        """Read, judge and submit one upload: its submission, frames, verdicts and receipts."""
        limits, clock = self._deps.limits, self._deps.clock
        headers, client, receive = upload
        media = media_type(headers.get("content-type", ""))
        submission = submission_of(headers)
        key = idempotency_key(headers)
        wait = self._rate.wait(client, clock.monotonic())
        if wait > 0:
            raise ProblemError(429, "rate-limited", "this client sends too much", headers=retry_after(wait))
        if self._uploads >= limits.uploads_in_flight or self._bytes >= limits.bytes_in_flight:
            raise saturated()
        self._uploads += 1
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._bytes += size
            if self._bytes > limits.bytes_in_flight:
                raise saturated()

        try:
            body = await read_encoded(
                headers, receive, limits.body_bytes, limits.inflated_bytes, limits.body_seconds, hold
            )
            body = body.removeprefix(BOM_UTF8)  # programs put one before a whole text; it belongs to no record
            hold(len(body) - held)  # what it was inflated from is let go
            binary = media == JSON and "ce-specversion" in headers
            frames = (
                Frames([body]) if binary else await in_turns(split(body, MODES[media], limits.rows, limits.row_bytes))
            )
            self._rate.charge(client, max(1, len(frames.rows)), clock.monotonic())
            self._bound(frames)
            attributes = cloud_headers(headers) if binary else ()
            content_type = CLOUD_EVENT if MODES[media].startswith("cloudevent") else JSON
            verdicts = []
            rows = size = 0
            for index, row in enumerate(frames.rows):
                if rows >= _SLICE or size >= _SLICE_BYTES:
                    rows = size = 0
                    await asyncio.sleep(0)
                rows += 1
                size += len(row)
                topic = topic_of_type(headers.get("ce-type", "")) if binary else topic_of(row, content_type, kind)
                raw = self_contained(RawEvent(row, content_type, topic, "", attributes, submission))
                if key:
                    raw = raw._replace(receipt=receipt_of(key, raw, index))
                verdicts.append(judge(raw, self._deps.admit, limits.event_bytes))
            receipts = await self._deps.gateway.submit([verdict.raw for verdict in verdicts])
        finally:
            self._uploads -= 1
            self._bytes -= held
        return submission, frames, verdicts, receipts

    def _bound(self, frames: Frames) -> None:
        limits = self._deps.limits
        if not frames.rows:
            raise ProblemError(400, "empty", "the body has no records")
        if len(frames.rows) > limits.rows:
            raise ProblemError(
                413,
                "too-many-rows",
                f"more than {limits.rows} records, which is the most in one upload; none taken",
            )
        for index, row in enumerate(frames.rows):
            if len(row) > limits.row_bytes:
                raise ProblemError(
                    413, "row-too-large", f"record {index} has more than {limits.row_bytes} bytes, none taken"
                )


def saturated() -> ProblemError:
    return ProblemError(429, "saturated", "the gateway has all it can take for now", headers=retry_after(1))


def reply_of(submission: str, verdicts: list[Verdict], receipts: list[str]) -> dict[str, Any]:
    """The answer's members: counts and one result a row."""
    results: list[dict[str, Any]] = []
    for index, (verdict, receipt) in enumerate(zip(verdicts, receipts, strict=True)):
        error = verdict.error
        results.append(
            {
                "index": index,
                "status": "quarantined" if error else "accepted",
                "id": verdict.id,
                "receipt": receipt,
                "code": error.code if error else None,
                "field": error.field if error else None,
                "message": str(error)[:_PREFIX] if error else None,
            }
        )
    bad = sum(verdict.error is not None for verdict in verdicts)
    return {
        "submission": submission,
        "rows": len(verdicts),
        "accepted": len(verdicts) - bad,
        "quarantined": bad,
        "results": results,
    }


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "One event, a JSON array of them, NDJSON, or CloudEvents 1.0 (structured, batch, or binary "
        "with ce-* headers). Content-Encoding gzip is understood. Jianguan-Submission names the upload.",
        "content": {name: {"schema": {}} for name in MODES},
    },
    "parameters": [
        {
            "name": "Jianguan-Submission",
            "in": "header",
            "required": False,
            "description": "Name of the upload that the outcomes are counted under, a slug.",
            "schema": {"type": "string", "pattern": f"^{_SLUG.pattern}$", "maxLength": 64},
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Names this one request over its retries: its records are taken and counted once, however "
            "often it is sent. Other requests need other keys.",
            "schema": {"type": "string", "pattern": f"^{_KEY.pattern}$"},
        },
    ],
}


async def answer(intake: Intake, upload: Upload, kind: str) -> bytes:
    """Take an upload and say what became of each row, in JSON. ProblemError when nothing in it is an event."""
    if kind and kind not in TOPIC_OF_KIND:
        raise ProblemError(400, "unknown-kind", f"kind must be one of {', '.join(TOPIC_OF_KIND)}")
    submission, frames, verdicts, receipts = await intake.take(upload, kind)
    reply = reply_of(submission, verdicts, receipts)
    if reply["accepted"]:
        return _ENCODE(reply)
    detail = frames.fault or "no record is valid; all are kept in quarantine"
    raise ProblemError(422, "not-an-array" if frames.fault else "all-invalid", detail, extra=reply)


def router(deps: Dependencies, reads: Reads, intake: Intake) -> APIRouter:
    """The routes of the intake."""
    routes = APIRouter(tags=["intake"], dependencies=[Depends(only_known_parameters)])

    @routes.post(
        EVENTS,
        status_code=ACCEPTED,
        response_model=IntakeReply,
        responses={code: {"model": Problem} for code in (400, 408, 413, 415, 422, 429, 503)},
        openapi_extra=_BODY,
        summary="Send events",
    )
    async def send(request: Request, kind: str = "") -> Response:
        """Takes events; answers when they are durable, with one result a row. `kind` is for rows without one."""
        reply = await answer(intake, Upload.of(request.scope, request.receive), kind)
        return Response(reply, ACCEPTED, media_type=JSON)

    @routes.get(
        "/v1/submissions/{submission}",
        response_model=SubmissionView,
        responses={404: {"model": Problem}, 503: {"model": Problem}},
        summary="What became of an upload",
    )
    async def outcome(submission: str) -> SubmissionView:
        """Records by outcome of the upload that was sent with this Jianguan-Submission."""
        counts = await reads(deps.archive.submission, submission)
        if not any(counts.values()):
            raise ProblemError(404, "unknown-submission", "no record of this submission is stored yet")
        outcomes: dict[str, int] = {**dict.fromkeys(OUTCOMES, 0), **counts}
        return SubmissionView(submission=submission, outcomes=outcomes, records=sum(counts.values()))

    return routes
