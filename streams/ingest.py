"""The ingest stage: decode, validate, recognise duplicates, evaluate the condition of every rule.

Takes runs of raw records and gives facts for the next stage and records for the store. What is invalid becomes a
quarantined record with its reason; nothing is dropped and nothing stops the stage. Pure: it does not know Faust, a
broker or a store; the shell around it is in `topology`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from jianguan.clock import Clock, to_millis
from jianguan.domain.admission import Reference, admit, decode, without_personal
from jianguan.domain.cloud_events import MEDIA_TYPE, structured
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from jianguan.domain.ids import make_id, partition_of
from jianguan.domain.trace import STAGES, Quarantined, Records, Step
from jianguan.errors import InputError
from streams.headers import Envelope, read_envelope
from streams.quick_decode import QuickDecoder
from streams.seen import SeenEvents
from streams.transport_run import Record, Run

log = logging.getLogger(__name__)

MAX_EVENT: Final = 256 * 1024  # bytes of a record that can be an event; a larger one is quarantined
MAX_KEPT: Final = 2 * 1024 * 1024  # bytes of a record in quarantine: more than any door of ours takes
CONDITION_SAMPLE: Final = 16  # the time of one event's conditions in so many is taken
POISON_SAMPLE: Final = 2_000
POISON_RATIO: Final = 0.95
_STAGE: Final = STAGES["ingest"]


class FactMatcher(Protocol):
    """The conditions of all active rules."""

    def facts(self, event: Event) -> list[Fact]:
        """One fact for each rule whose condition holds for `event`."""


@dataclass(slots=True)
class Ingested:
    """What a run of raw records became."""

    facts: dict[int, list[Fact]] = field(default_factory=dict)  # by partition of the facts topic
    records: Records = field(default_factory=Records)
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_doors: int = 0  # records that no door of ours judged before
    unknown_bad: int = 0  # those of them that were quarantined
    condition_seconds: float = 0.0  # spent on conditions, from a sample


class Ingest:
    """One worker's ingest stage."""

    def __init__(
        self,
        reference: Reference,
        matcher: Callable[[], FactMatcher],
        seen: SeenEvents,
        clock: Clock,
        *,
        partitions: int,
        max_age_ms: int,
        prefix: str = "",
    ) -> None:
        self._reference = reference
        self._matcher = matcher
        self._seen = seen
        self._clock = clock
        self._partitions = partitions
        self._max_age_ms = max_age_ms
        self._prefix = prefix
        self._quick = QuickDecoder()

    def work(self, run: Run) -> Ingested:
        """Judge every record of `run`."""
        result = Ingested()
        now = to_millis(self._clock.now())
        matcher = self._matcher()
        topic = run.topic.removeprefix(self._prefix)
        for record in run.records:
            envelope = read_envelope(record.headers)
            receipt = envelope.receipt or f"{run.topic}/{run.partition}/{record.offset}"
            judged = bool(envelope.receipt)
            try:
                outcome = self._one(record, topic, receipt, envelope, matcher, now, result)
            except InputError as error:
                outcome = "quarantined"
                self._quarantine(record, run, receipt, envelope, error, now, result)
            except Exception as error:  # a defect must not stop the stream: the record is kept and named
                log.exception("a record could not be processed: %s", receipt)
                outcome = "quarantined"
                internal = InputError("internal-error", f"{type(error).__name__} while processing; this is a defect")
                self._quarantine(record, run, receipt, envelope, internal, now, result)
            result.outcomes[outcome] += 1
            if not judged:
                result.unknown_doors += 1
                result.unknown_bad += outcome == "quarantined"
        return result

    def _one(
        self,
        record: Record,
        topic: str,
        receipt: str,
        envelope: Envelope,
        matcher: FactMatcher,
        now: int,
        result: Ingested,
    ) -> str:
        received = envelope.received or max(0, record.timestamp) or now  # -1: the producer gave no time
        value = record.value or b""
        if len(value) > MAX_EVENT:
            kept = f"; the first {MAX_KEPT} are kept" if len(value) > MAX_KEPT else ""
            raise InputError("too-large", f"the record has {len(value)} bytes; at most {MAX_EVENT} are taken{kept}")
        plain = envelope.content_type == "application/json" and not envelope.binary
        model = self._quick.decode(value, topic) if plain else None
        if model is None:
            model = decode(value, topic, envelope.content_type, record.headers)
        event, personal = admit(model, self._reference, received)
        sight = self._seen.see(event.id, event.content_hash, receipt)
        if sight == "conflict":
            raise InputError("conflict", f"{event.id} was accepted before with other content", "id")
        if sight == "duplicate":
            result.records.trace.append(_step(event.id, "duplicate", receipt, envelope.submission, now, ""))
            return "duplicate"
        late = not event.historical and received - event.occurred_at > self._max_age_ms
        sampled = len(result.records.events) % CONDITION_SAMPLE == 0
        started = self._clock.monotonic() if sampled else 0.0
        try:
            facts = [] if late else matcher.facts(event)
        except BaseException:
            if sight == "new":
                self._seen.forget(event.id, receipt)  # sent again after the defect is mended, it is no duplicate
            raise
        if sampled:
            result.condition_seconds += (self._clock.monotonic() - started) * CONDITION_SAMPLE
        result.records.events.append(without_personal(event))
        if personal is not None:
            result.records.personal.append(personal)
        for fact in facts:
            result.facts.setdefault(partition_of(fact.rule + fact.key, self._partitions), []).append(fact)
        result.records.facts.extend(facts)
        # Rule ids are slugs: nothing in them has to be escaped.
        detail = '{"rules":["' + '","'.join([fact.rule for fact in facts]) + '"]}' if facts else ""
        outcome = "late" if late else "accepted"
        result.records.trace.append(_step(event.id, outcome, receipt, envelope.submission, now, detail))
        return outcome

    def _quarantine(
        self,
        record: Record,
        run: Run,
        receipt: str,
        envelope: Envelope,
        error: InputError,
        now: int,
        result: Ingested,
    ) -> None:
        identifier = make_id("qu", receipt)
        raw, content_type = (record.value or b"")[:MAX_KEPT], envelope.content_type
        # A row in quarantine has no headers: a CloudEvent in binary mode is kept as the structured one that it equals.
        whole = structured(raw, record.headers) if envelope.binary else None
        if whole is not None:
            raw, content_type = whole, MEDIA_TYPE
        result.reasons[error.code] += 1
        result.records.quarantine.append(
            Quarantined(
                id=identifier,
                receipt=receipt,
                topic=run.topic.removeprefix(self._prefix),
                partition=run.partition,
                offset=record.offset,
                at=now,
                code=error.code,
                field=error.field[:200],
                message=str(error)[:1000],
                raw=raw,
                content_type=content_type,
                submission=envelope.submission,
                state="quarantined",
                revision=1,
            )
        )
        detail = json.dumps(
            {"code": error.code, "field": error.field[:200], "message": str(error)[:1000]}, ensure_ascii=False
        )
        result.records.trace.append(_step(identifier, "quarantined", receipt, envelope.submission, now, detail))


class PoisonGuard:
    """Tells when nearly everything in a topic is invalid: then the stream stops and says so (DESIGN D9).

    Only records that no door of ours has judged count: who posts rubbish to the API is told at once, and cannot stop
    the stream for others.
    """

    def __init__(self, sample: int = POISON_SAMPLE, ratio: float = POISON_RATIO) -> None:
        self._sample = sample
        self._ratio = ratio
        self._counts: dict[str, tuple[int, int]] = {}

    def add(self, topic: str, records: int, bad: int) -> bool:
        """Count a run; whether the topic is poisoned."""
        seen, wrong = self._counts.get(topic, (0, 0))
        seen, wrong = seen + records, wrong + bad
        if seen >= self._sample:
            poisoned = wrong / seen >= self._ratio
            seen, wrong = seen // 2, wrong // 2
        else:
            poisoned = False
        self._counts[topic] = (seen, wrong)
        return poisoned


def _step(subject: str, what: str, receipt: str, submission: str, now: int, detail: str) -> Step:
    # The id is the receipt's alone: one record has one outcome, however often it is read.
    return Step(make_id("st", receipt), subject, now, _STAGE, what, "system", receipt, submission, (), detail)
