"""The ingest stage: decode, validate, recognise duplicates, evaluate the condition of every rule.

Takes runs of raw records and gives facts for the next stage and records for the store. What is invalid becomes a
quarantined record with its reason; nothing is dropped and nothing stops the stage. Pure: it does not know Faust, a
broker or a store; the shell around it is in `topology`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter, sub
from typing import Any, Final, NamedTuple, Protocol, cast

from jianguan.clock import Clock, to_millis
from jianguan.columns import Columns
from jianguan.domain.admission import FUTURE_MS, Model, Reference, admit_run, decode, without_personal
from jianguan.domain.by_field import Constant, joined, take
from jianguan.domain.cloud_events import MEDIA_TYPE, structured
from jianguan.domain.event import EventRun, Personal
from jianguan.domain.fact import FactRun, fields_of
from jianguan.domain.ids import make_id, partition_of, step_ids
from jianguan.domain.trace import STAGES, Quarantined, Records, Step
from jianguan.errors import InputError
from streams.headers import NO_ENVELOPE, Envelope, read_envelope
from streams.quick_decode import QuickDecoder
from streams.seen import SeenEvents
from streams.transport.run import Record, Run

log = logging.getLogger(__name__)

MAX_EVENT: Final = 256 * 1024  # bytes of a record that can be an event; a larger one is quarantined
BULK_ROWS: Final = 500  # from here on columns are cheaper than rows
MAX_KEPT: Final = 2 * 1024 * 1024  # bytes of a record in quarantine: more than any door of ours takes
_STAGE: Final = STAGES["ingest"]


class Found(Protocol):
    """The facts of one rule, and the places of their events in the run."""

    @property
    def facts(self) -> FactRun: ...
    @property
    def places(self) -> Sequence[int]: ...


class FactMatcher(Protocol):
    """The conditions of all active rules."""

    def facts_of(self, events: EventRun) -> Sequence[Found]:
        """One fact for each event and rule whose condition holds for it, by rule."""


class _Step(NamedTuple):
    """What became of a record, before it is written down."""

    place: int  # of the record in the run
    subject: str
    what: str
    receipt: str
    submission: str
    detail: str


@dataclass(slots=True)
class Ingested:
    """What a run of raw records became."""

    now: int  # ms
    facts: dict[int, list[FactRun]] = field(default_factory=dict)  # by partition of the facts topic
    runs: list[FactRun] = field(default_factory=list)  # the same, by rule
    events: list[EventRun] = field(default_factory=list)
    personal: list[Personal] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)  # in the order of the log
    quarantine: list[Quarantined] = field(default_factory=list)
    conflicts: dict[str, tuple[str]] = field(default_factory=dict)  # the event that a quarantined record is about
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_doors: int = 0  # records that no door of ours judged before
    unknown_bad: int = 0  # those of them that were quarantined
    condition_seconds: float = 0.0  # spent on conditions and facts

    @classmethod
    def joined(cls, results: Sequence[Ingested]) -> Ingested:
        """What several runs, at least one, became: to be sent and stored together."""
        if len(results) == 1:
            return results[0]
        found = cls(results[-1].now)
        for each in results:
            for partition, runs in each.facts.items():
                found.facts.setdefault(partition, []).extend(runs)
            found.runs += each.runs
            found.events += each.events
            found.personal += each.personal
            found.steps += each.steps
            found.quarantine += each.quarantine
            found.conflicts |= each.conflicts
            found.outcomes.update(each.outcomes)
            found.reasons.update(each.reasons)
            found.unknown_doors += each.unknown_doors
            found.unknown_bad += each.unknown_bad
            found.condition_seconds += each.condition_seconds
        return found

    @property
    def records(self) -> Records:
        """What the run leaves for the store, row by row; events with their free text, which is stored as personal."""
        return Records(
            events=[event for run in self.events for event in run.rows],
            personal=self.personal,
            facts=[fact for run in self.runs for fact in run.rows()],
            quarantine=self.quarantine,
            trace=list(map(Step._make, zip(*self._trace(), strict=True))),
        )

    def to_store(self) -> list[Records | Columns]:
        """The same for the record stage: as columns, which are made once and stored as they are, where there are many
        rows. The free text of events is left out: it travels and is stored as personal."""
        rows = sum(map(len, self.events)) + len(self.personal) + sum(map(len, self.runs)) + len(self.steps)
        if rows < BULK_ROWS:
            records = self.records
            records.events = list(map(without_personal, records.events))
            return [records] if records else []
        columns: dict[str, Sequence[Sequence[Any]]] = {
            "events": [joined(each) for each in zip(*(run.fields for run in self.events), strict=True)],
            "personal": list(zip(*self.personal, strict=True)),
            "facts": fields_of(self.runs),
            "trace": self._trace(),
        }
        # What was put aside may be large, and is little when it is not.
        return [Columns.of_fields(columns), *([Records(quarantine=self.quarantine)] if self.quarantine else ())]

    def _trace(self) -> list[Sequence[Any]]:
        """The steps, field by field, in the order of Step."""
        if not self.steps:
            return [()] * len(Step._fields)
        _, subjects, whats, receipts, submissions, details = zip(*self.steps, strict=True)

        def same(value: Any) -> Constant[Any]:
            return Constant(value, len(self.steps))

        conflicts = self.conflicts
        links = [conflicts.get(subject, ()) for subject in subjects] if conflicts else same(())
        return [
            step_ids(receipts), subjects, same(self.now), same(_STAGE), whats, same("system"), receipts, submissions,
            links, details,
        ]  # fmt: skip


class _Read(NamedTuple):
    """A record, and the event in it."""

    place: int  # in the run
    record: Record
    receipt: str
    envelope: Envelope
    model: Model | None
    received: int


@dataclass(frozen=True, slots=True)
class _Admitted:
    """Events that are right, with the records that they came in."""

    read: Sequence[_Read]
    events: EventRun
    personal: Sequence[Personal | None]

    def take(self, places: Sequence[int]) -> _Admitted:
        """Those at `places`."""
        if len(places) == len(self.read):
            return self
        if not places:
            return _Admitted((), EventRun.of(()), ())
        return _Admitted(take(self.read, places), self.events.take(places), take(self.personal, places))

    def late(self, most: int) -> set[int]:
        """The places of events that happened more than `most` ms before their receipt, and are no history."""
        received, occurred = self.events.field("received_at"), self.events.field("occurred_at")
        ages = list(map(sub, received, occurred))
        if not ages or max(ages) <= most:
            return set()
        historical = self.events.field("historical")
        return {place for place, age in enumerate(ages) if age > most and not historical[place]}


def _without_repeats(admitted: _Admitted) -> Iterator[_Admitted]:
    """The same in parts, none of which has an event twice: what becomes of one decides what becomes of the next."""
    names = admitted.events.field("id")
    if len(set(names)) == len(names):
        yield admitted
        return
    part: dict[str, int] = {}
    for place, name in enumerate(names):
        if name in part:
            yield admitted.take(list(part.values()))
            part = {}
        part[name] = place
    yield admitted.take(list(part.values()))


@dataclass(slots=True)
class _Work:
    """A run while it is worked on."""

    run: Run
    topic: str  # without prefix
    result: Ingested
    admitted: list[_Admitted] = field(default_factory=list)
    # Of the part that is being worked on, which has no event twice.
    new: set[str] = field(default_factory=set)  # events that were never seen before
    refused: set[str] = field(default_factory=set)  # events that met a defect
    rules: dict[str, str] = field(default_factory=dict)  # by event, of the rules that it gave facts of: `"id","id",`


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
        result = Ingested(to_millis(self._clock.now()))
        work = _Work(run, run.topic.removeprefix(self._prefix), result)
        self._admit(self._read(work), work)
        for admitted in work.admitted:
            for part in _without_repeats(admitted):
                self._remember(part, work)
        result.outcomes.update([step.what for step in result.steps])
        for facts in result.runs:
            for partition, some in spread(facts, self._partitions).items():
                result.facts.setdefault(partition, []).append(some)
        if len(result.steps) > sum(map(len, result.events)):  # what was put aside, or known, was found first
            result.steps.sort(key=itemgetter(0))
            result.quarantine.sort(key=lambda row: row.offset)
        return result

    def _read(self, work: _Work) -> list[_Read]:
        """The records that are events by the contract; the others go to quarantine."""
        read: list[_Read] = []
        topic, now, run = work.topic, work.result.now, work.run
        place = f"{run.topic}/{run.partition}/"
        quick, unknown, latest = self._quick.decoder(topic), 0, now + FUTURE_MS
        for number, record in enumerate(run.records):
            envelope = read_envelope(record.headers) if record.headers else NO_ENVELOPE
            receipt = envelope.receipt
            if not receipt:
                receipt = f"{place}{record.offset}"
                unknown += 1
            received = envelope.received or record.timestamp
            if not 0 < received <= latest:  # -1: the producer gave no time; too much: it counts in another unit
                received = now
            value = record.value or b""
            plain = len(value) <= MAX_EVENT and envelope.content_type == "application/json" and not envelope.binary
            model = quick(value) if plain else None
            one = _of(_Read, (number, record, receipt, envelope, model, received))
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
            work.admitted.append(_Admitted(read, events, personal))

    def _remember(self, admitted: _Admitted, work: _Work) -> None:
        """Tell new events from duplicates, evaluate conditions, and write down what became of each."""
        work.new, work.refused, work.rules = set(), set(), {}
        fresh = admitted.take(self._fresh(admitted, work))
        late = fresh.late(self._max_age_ms)
        lately = fresh.take([place for place in range(len(fresh.read)) if place not in late]) if late else fresh
        started = self._clock.monotonic()
        found = self._facts(lately, self._matcher(), work)
        work.result.condition_seconds += self._clock.monotonic() - started
        if work.refused:
            names = fresh.events.field("id")
            kept = [place for place, name in enumerate(names) if name not in work.refused]
            fresh, late = fresh.take(kept), {new for new, place in enumerate(kept) if place in late}
        result, rules = work.result, work.rules
        result.runs += found
        if not fresh.read:
            return
        result.events.append(fresh.events)
        result.personal += [each for each in fresh.personal if each is not None]
        steps = result.steps
        for place, (one, name) in enumerate(zip(fresh.read, fresh.events.field("id"), strict=True)):
            # Rule ids are slugs: nothing in them has to be escaped.
            detail = f'{{"rules":[{rules[name][:-1]}]}}' if name in rules else ""
            what = "late" if place in late else "accepted"
            steps.append(_of(_Step, (one.place, name, what, one.receipt, one.envelope.submission, detail)))

    def _fresh(self, admitted: _Admitted, work: _Work) -> Sequence[int]:
        """The places of events that are to be worked: new ones, and the very records that were worked before."""
        names, contents = admitted.events.field("id"), admitted.events.field("content_hash")
        receipts = [one.receipt for one in admitted.read]
        everything = range(len(names))
        if self._seen.all_new(names, contents, receipts):
            work.new.update(names)
            return everything
        fresh: list[int] = []
        for place, sight in zip(everything, map(self._seen.see, names, contents, receipts), strict=True):
            one, name = admitted.read[place], names[place]
            if sight == "duplicate":
                work.result.steps.append(_Step(one.place, name, "duplicate", one.receipt, one.envelope.submission, ""))
            elif sight == "conflict":
                error = InputError("conflict", f"{name} was accepted before with other content", "id")
                work.result.conflicts[self._refuse(one, error, work)] = (name,)
            else:
                fresh.append(place)
                if sight == "new":
                    work.new.add(name)
        return fresh

    def _facts(self, admitted: _Admitted, matcher: FactMatcher, work: _Work) -> list[FactRun]:
        """The facts of these events. A defect costs the event that it shows in, which is found by halves."""
        count = len(admitted.read)
        if not count:
            return []
        try:
            found = matcher.facts_of(admitted.events)
        except Exception as error:  # noqa: BLE001 - each is kept and named
            if count > 1:
                first = self._facts(admitted.take(range(count // 2)), matcher, work)
                return first + self._facts(admitted.take(range(count // 2, count)), matcher, work)
            (one,), (name,) = admitted.read, admitted.events.field("id")
            if name in work.new:
                self._seen.forget(name, one.receipt)  # sent again after the defect is mended, it is no duplicate
            work.refused.add(name)
            self._refuse(one, error, work)
            return []
        names, rules = admitted.events.field("id"), work.rules
        for each in found:
            quoted = f'"{each.facts.rule}",'
            for name in take(names, each.places):
                rules[name] = rules.get(name, "") + quoted
        return [each.facts for each in found]

    def _refuse(self, one: _Read, error: Exception, work: _Work) -> str:
        """Put a record aside; its id in quarantine. A defect of ours must not stop the stream either: the record is
        kept and named."""
        record, receipt, envelope, run, result = one.record, one.receipt, one.envelope, work.run, work.result
        if not isinstance(error, InputError):
            log.error("a record could not be processed: %s", receipt, exc_info=error)
            error = InputError("internal-error", f"{type(error).__name__} while processing; this is a defect")
        result.unknown_bad += not envelope.receipt
        identifier = make_id("qu", receipt)
        raw, content_type = (record.value or b"")[:MAX_KEPT], envelope.content_type
        # A row in quarantine has no headers: a CloudEvent in binary mode is kept as the structured one that it equals.
        whole = structured(raw, record.headers) if envelope.binary else None
        if whole is not None:
            raw, content_type = whole, MEDIA_TYPE
        result.reasons[error.code] += 1
        result.quarantine.append(
            Quarantined(
                id=identifier,
                receipt=receipt,
                topic=run.topic.removeprefix(self._prefix),
                partition=run.partition,
                offset=record.offset,
                at=result.now,
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
        result.steps.append(_Step(one.place, identifier, "quarantined", receipt, envelope.submission, detail))
        return identifier


def spread(facts: FactRun, partitions: int) -> dict[int, FactRun]:
    """The facts by partition of the facts topic: those of one rule and key are together."""
    if partitions == 1:
        return {0: facts}
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, key in enumerate(facts.keys):
        places[partition_of(facts.rule + key, partitions)].append(place)
    return {partition: facts.take(some) for partition, some in places.items()}


def _decode(value: bytes, topic: str, envelope: Envelope, record: Record) -> Model:
    if len(value) > MAX_EVENT:
        kept = f"; the first {MAX_KEPT} are kept" if len(value) > MAX_KEPT else ""
        raise InputError("too-large", f"the record has {len(value)} bytes; at most {MAX_EVENT} are taken{kept}")
    return decode(value, topic, envelope.content_type, record.headers)


_of: Final = cast(Callable[[Any, Any], Any], tuple.__new__)  # half the time of _Read(...)
