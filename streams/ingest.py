"""The ingest stage: decode, validate, recognise duplicates, evaluate the condition of every rule.

Takes runs of raw records and gives facts for the next stage and records for the store. What is invalid becomes a
quarantined record with its reason; nothing is dropped and nothing stops the stage. Pure: it does not know Faust, a
broker or a store; the shell around it is in `topology`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

from jianguan.clock import Clock, to_millis
from jianguan.domain.admission import Model, Reference, admit_run, decode
from jianguan.domain.cloud_events import MEDIA_TYPE, structured
from jianguan.domain.event import Event, Personal
from jianguan.domain.fact import Fact
from jianguan.domain.ids import make_id, partition_of, step_ids
from jianguan.domain.trace import STAGES, Quarantined, Records, Step
from jianguan.errors import InputError
from streams.headers import Envelope, read_envelope
from streams.quick_decode import QuickDecoder
from streams.seen import SeenEvents
from streams.transport_run import Record, Run

log = logging.getLogger(__name__)

MAX_EVENT: Final = 256 * 1024  # bytes of a record that can be an event; a larger one is quarantined
MAX_KEPT: Final = 2 * 1024 * 1024  # bytes of a record in quarantine: more than any door of ours takes
_STAGE: Final = STAGES["ingest"]


class FactMatcher(Protocol):
    """The conditions of all active rules."""

    def facts_of(self, events: Sequence[Event]) -> list[Fact]:
        """One fact for each event and rule whose condition holds for it."""


@dataclass(slots=True)
class Ingested:
    """What a run of raw records became."""

    facts: dict[int, list[Fact]] = field(default_factory=dict)  # by partition of the facts topic
    records: Records = field(default_factory=Records)  # events with their free text, which no frame carries
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_doors: int = 0  # records that no door of ours judged before
    unknown_bad: int = 0  # those of them that were quarantined
    condition_seconds: float = 0.0  # spent on conditions and facts


class _Read(NamedTuple):
    """A record, and the event in it."""

    place: int  # in the run
    record: Record
    receipt: str
    envelope: Envelope
    model: Model | None
    received: int


_Admitted: TypeAlias = tuple[_Read, Event, "Personal | None"]


def _is_late(admitted: _Admitted, most: int) -> bool:
    one, event, _ = admitted
    return not event.historical and one.received - event.occurred_at > most


def _without_repeats(admitted: Sequence[_Admitted]) -> Iterator[Sequence[_Admitted]]:
    """The same in parts, none of which has an event twice: what becomes of one decides what becomes of the next."""
    if len({event.id for _, event, _ in admitted}) == len(admitted):
        yield admitted
        return
    part: dict[str, _Admitted] = {}
    for each in admitted:
        if each[1].id in part:
            yield list(part.values())
            part = {}
        part[each[1].id] = each
    yield list(part.values())


@dataclass(slots=True)
class _Work:
    """A run while it is worked on."""

    run: Run
    topic: str  # without prefix
    now: int
    result: Ingested
    places: list[int] = field(default_factory=list)  # in the run, of each step that was written down
    admitted: list[_Admitted] = field(default_factory=list)
    steps: list[tuple[_Read, str, str]] = field(default_factory=list)  # record, event and outcome
    new: set[int] = field(default_factory=set)  # places of events that were never seen before
    refused: set[int] = field(default_factory=set)  # places of events that met a defect


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
        work = _Work(run, run.topic.removeprefix(self._prefix), to_millis(self._clock.now()), result)
        self._admit(self._read(work), work)
        rules: defaultdict[str, list[str]] = defaultdict(list)
        for part in _without_repeats(work.admitted):
            self._remember(part, work)
        for fact in result.records.facts:
            rules[fact.event].append(fact.rule)
        self._write_down(work, rules)
        self._spread(result.records.facts, result.facts)
        if result.records.quarantine:  # what was put aside was so at once: back into the order of the log
            in_order = sorted(zip(work.places, result.records.trace, strict=True), key=itemgetter(0))
            result.records.trace[:] = [step for _, step in in_order]
            result.records.quarantine.sort(key=lambda row: row.offset)
        return result

    def _read(self, work: _Work) -> list[_Read]:
        """The records that are events by the contract; the others go to quarantine."""
        read: list[_Read] = []
        topic, now, run = work.topic, work.now, work.run
        place = f"{run.topic}/{run.partition}/"
        quick, unknown = self._quick.decode, 0
        for number, record in enumerate(run.records):
            envelope = read_envelope(record.headers)
            receipt = envelope.receipt
            if not receipt:
                receipt = f"{place}{record.offset}"
                unknown += 1
            received = envelope.received or max(0, record.timestamp) or now  # -1: the producer gave no time
            value = record.value or b""
            plain = len(value) <= MAX_EVENT and envelope.content_type == "application/json" and not envelope.binary
            model = quick(value, topic) if plain else None
            one = _Read(number, record, receipt, envelope, model, received)
            if model is None:
                try:
                    one = one._replace(model=_decode(value, topic, envelope, record))
                except Exception as error:  # noqa: BLE001 - each is kept and named
                    self._refuse(one, error, work)
                    continue
            read.append(one)
        work.result.unknown_doors = unknown
        return read

    def _admit(self, read: Sequence[_Read], work: _Work) -> None:
        """Check codes and times of all that was read. What holds one up is found by halves."""
        if not read:
            return
        models = cast(list[Model], [one.model for one in read])
        try:
            events, personal = admit_run(models, self._reference, [one.received for one in read])
        except Exception as error:  # noqa: BLE001 - each is kept and named
            if len(read) == 1:
                self._refuse(read[0], error, work)
            else:
                middle = len(read) // 2
                self._admit(read[:middle], work)
                self._admit(read[middle:], work)
        else:
            work.admitted += zip(read, events, personal, strict=True)

    def _remember(self, admitted: Sequence[_Admitted], work: _Work) -> None:
        """Tell new events from duplicates, evaluate conditions, and write down what became of each."""
        fresh: list[_Admitted] = []
        see = self._seen.see
        for each in admitted:
            one, event, _ = each
            sight = see(event.id, event.content_hash, one.receipt)
            if sight == "duplicate":
                work.steps.append((one, event.id, "duplicate"))
            elif sight == "conflict":
                error = InputError("conflict", f"{event.id} was accepted before with other content", "id")
                self._refuse(one, error, work)
            else:
                fresh.append(each)
                if sight == "new":
                    work.new.add(one.place)
        most, matcher = self._max_age_ms, self._matcher()
        lately = [each for each in fresh if not _is_late(each, most)]
        started = self._clock.monotonic()
        facts = self._facts(lately, matcher, work)
        records = work.result.records
        work.result.condition_seconds += self._clock.monotonic() - started
        for each in fresh:
            one, event, personal = each
            if one.place in work.refused:
                continue
            records.events.append(event)
            if personal is not None:
                records.personal.append(personal)
            work.steps.append((one, event.id, "late" if _is_late(each, most) else "accepted"))
        records.facts += facts

    def _facts(self, admitted: Sequence[_Admitted], matcher: FactMatcher, work: _Work) -> list[Fact]:
        """The facts of these events. A defect costs the event that it shows in, which is found by halves."""
        if not admitted:
            return []
        try:
            return matcher.facts_of([event for _, event, _ in admitted])
        except Exception as error:  # noqa: BLE001 - each is kept and named
            if len(admitted) > 1:
                middle = len(admitted) // 2
                first = self._facts(admitted[:middle], matcher, work)
                return first + self._facts(admitted[middle:], matcher, work)
            ((one, event, _),) = admitted
            if one.place in work.new:
                self._seen.forget(event.id, one.receipt)  # sent again after the defect is mended, it is no duplicate
            work.refused.add(one.place)
            self._refuse(one, error, work)
            return []

    @staticmethod
    def _write_down(work: _Work, rules: Mapping[str, Sequence[str]]) -> None:
        if len(work.steps) > len(work.result.records.events):  # duplicates were found first
            work.steps.sort(key=lambda step: step[0].place)
        work.result.outcomes.update([what for _, _, what in work.steps])
        work.places += [one.place for one, _, _ in work.steps]
        names = step_ids([one.receipt for one, _, _ in work.steps])
        now = work.now
        for name, (one, subject, what) in zip(names, work.steps, strict=True):
            # Rule ids are slugs: nothing in them has to be escaped.
            detail = (
                '{"rules":["' + '","'.join(rules[subject]) + '"]}' if what == "accepted" and subject in rules else ""
            )
            step = (name, subject, now, _STAGE, what, "system", one.receipt, one.envelope.submission, (), detail)
            work.result.records.trace.append(_of(Step, step))

    def _spread(self, facts: list[Fact], by_partition: dict[int, list[Fact]]) -> None:
        if self._partitions == 1:
            if facts:
                by_partition[0] = facts
            return
        for fact in facts:
            by_partition.setdefault(partition_of(fact.rule + fact.key, self._partitions), []).append(fact)

    def _refuse(self, one: _Read, error: Exception, work: _Work) -> None:
        """Put a record aside. A defect of ours must not stop the stream either: the record is kept and named."""
        record, receipt, envelope, run, now = one.record, one.receipt, one.envelope, work.run, work.now
        result = work.result
        if not isinstance(error, InputError):
            log.error("a record could not be processed: %s", receipt, exc_info=error)
            error = InputError("internal-error", f"{type(error).__name__} while processing; this is a defect")
        result.outcomes["quarantined"] += 1
        result.unknown_bad += not envelope.receipt
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
        step = (make_id("st", receipt), identifier, now, _STAGE, "quarantined", "system", receipt)
        work.places.append(one.place)
        result.records.trace.append(Step(*step, envelope.submission, (), detail))


def _decode(value: bytes, topic: str, envelope: Envelope, record: Record) -> Model:
    if len(value) > MAX_EVENT:
        kept = f"; the first {MAX_KEPT} are kept" if len(value) > MAX_KEPT else ""
        raise InputError("too-large", f"the record has {len(value)} bytes; at most {MAX_EVENT} are taken{kept}")
    return decode(value, topic, envelope.content_type, record.headers)


_of: Final = cast(Callable[[Any, Any], Any], tuple.__new__)  # half the time of Step(...); tests hold the order
