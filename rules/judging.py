"""What a rule needs that is judged over whole facts: its window, its trigger, and what its facts have to carry.

Rules that only count, tell apart or add up over a sliding or tumbling window do without: `windows.py` decides them
from a few bytes a fact. It must not know keys or alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from rules.calendar import Span, span_of
from rules.figures import Clause, Combined, Condition, grows
from rules.keys import FIRST_BIT, Value
from rules.model import RuleFile
from rules.model_base import milliseconds
from rules.model_pattern import Pattern
from rules.model_trigger import CLAUSES, Percentile, Rate, Ratio, Trigger
from rules.pattern_plan import PatternPlan, plan_of, where_texts

_PLAIN: Final = ("count", "distinct", "sum")
POINT: Final = ("latitude", "longitude")


@dataclass(frozen=True, slots=True)
class Level:
    """A severity and what has to hold for it."""

    severity: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Judging:
    """How the facts of a key are judged. Lengths are ms."""

    settled: bool  # decided by the clock, when nothing that counts can still come
    kind: str  # sliding, tumbling or session
    span: Span
    gap: int
    metres: int | None
    levels: tuple[Level, ...]  # the first one is the trigger itself
    carried: tuple[str, ...]  # fields whose values a fact carries
    extras: tuple[Any, ...]  # checked conditions: a fact's mask says which of them its event meets
    back: int  # how far before a moment its decision looks
    cooldown: int = 0
    pattern: PatternPlan | None = None  # instead of levels

    @property
    def delay(self) -> int:
        """How much later than its last fact a window may be over."""
        return 0 if self.kind in ("sliding", "pattern") else self.gap or self.span.size


def is_judged(file: RuleFile) -> bool:
    """Whether a rule is judged over whole facts."""
    window, trigger = file.window, file.trigger
    if window is None or trigger is None:
        return True
    plain = all(getattr(trigger, name) is None for name in Trigger.model_fields if name not in _PLAIN)
    more = file.escalate or file.cooldown or file.inhibited_by or file.rules
    return bool(more) or not plain or window.within_m is not None or window.kind == "session"


def extra_conditions(file: RuleFile) -> list[tuple[tuple[str | int, ...], str]]:
    """(place in the file, text) of the conditions beside the rule's own, in the order of a mask's bits."""
    if file.pattern is not None:
        return where_texts(file.pattern)
    found = []
    for place, trigger in triggers(file):
        if trigger.ratio is not None:
            found.append(((*place, "ratio", "of"), trigger.ratio.of))
            if trigger.ratio.to != "true":
                found.append(((*place, "ratio", "to"), trigger.ratio.to))
    return found


def triggers(file: RuleFile) -> list[tuple[tuple[str | int, ...], Trigger]]:
    """Every trigger of a rule with its place, those inside others too."""
    if file.trigger is None:
        return []
    further = [_inside(("escalate", number, "trigger"), each.trigger) for number, each in enumerate(file.escalate)]
    return [found for inside in (_inside(("trigger",), file.trigger), *further) for found in inside]


def _inside(place: tuple[str | int, ...], trigger: Trigger) -> list[tuple[tuple[str | int, ...], Trigger]]:
    found = [(place, trigger)]
    for name in ("all", "any"):
        for number, part in enumerate(getattr(trigger, name) or ()):
            found += _inside((*place, name, number), part)
    if trigger.not_ is not None:
        found += _inside((*place, "not"), trigger.not_)
    return found


@dataclass(frozen=True, slots=True)
class Extras:
    """What the checker found beside the condition: see `extra_conditions` and `related_conditions`."""

    conditions: tuple[Any, ...] = ()
    related: Mapping[str, Callable[[Mapping[str, Value]], bool]] = field(default_factory=dict)  # by the step's name
    fields: tuple[str, ...] = ()  # fields that those ask for
    within: Mapping[str, Callable[[str, str], bool]] = field(default_factory=dict)  # by `region` and `industry`


def judging_of(file: RuleFile, extras: Extras, calendar: Sequence[int]) -> Judging | None:
    """The judging of a rule file whose names have been checked; None for a rule that does without."""
    if not is_judged(file):
        return None
    if file.pattern is not None:
        return _of_pattern(file, file.pattern, extras, calendar)
    window = file.window
    assert window is not None
    assert file.trigger is not None
    span: Span = span_of(window.size, calendar)
    builder = _Builder(file)
    levels = [Level(file.severity, builder.condition(file.trigger))]
    levels += [Level(each.severity, builder.condition(each.trigger)) for each in file.escalate]
    cooldown = milliseconds(file.cooldown) if file.cooldown else 0
    growing = all(grows(level.condition) for level in levels)
    settled = not growing or bool(cooldown or file.inhibited_by)
    gap = milliseconds(window.gap) if window.gap else 0
    return Judging(
        settled=settled,
        kind=window.kind,
        span=span,
        gap=gap,
        metres=window.within_m,
        levels=tuple(levels),
        carried=builder.carried,
        extras=extras.conditions,
        # A session is decided when its gap has passed, and reaches back from its last fact.
        back=span.size * (1 + builder.periods) + cooldown + (gap if settled else 0),
        cooldown=cooldown,
    )


def _of_pattern(file: RuleFile, pattern: Pattern, extras: Extras, calendar: Sequence[int]) -> Judging:
    span = span_of(pattern.within, calendar)
    return Judging(
        settled=True,
        kind="pattern",
        span=span,
        gap=0,
        metres=None,
        levels=(),
        carried=extras.fields,
        extras=extras.conditions,
        back=span.size + (milliseconds(file.episode) if file.episode else span.size),
        pattern=plan_of(pattern, extras.related, file.limits.partial_matches),
    )


class _Builder:
    """Turns triggers into conditions and finds out what facts have to carry."""

    def __init__(self, file: RuleFile) -> None:
        self.carried: tuple[str, ...] = POINT if file.window is not None and file.window.within_m is not None else ()
        self.periods = 0
        self._bit = FIRST_BIT >> 1
        self._labels: set[str] = set()

    def condition(self, trigger: Trigger) -> Condition:
        """Order matters: it is that of `extra_conditions`."""
        parts: list[Condition] = [
            self._clause(name, found) for name in CLAUSES if (found := getattr(trigger, name)) is not None
        ]
        for how in ("all", "any"):
            inner = getattr(trigger, how)
            if inner is not None:
                parts.append(Combined("all" if how == "all" else "any", tuple(map(self.condition, inner))))
        if trigger.not_ is not None:
            parts.append(Combined("not", (self.condition(trigger.not_),)))
        return parts[0] if len(parts) == 1 else Combined("all", tuple(parts))

    def _clause(self, kind: str, given: Any) -> Clause:
        of = getattr(given, "of", None)
        ratio = isinstance(given, Ratio)
        clause = Clause(
            label=self._label(kind, of if isinstance(of, str) and not ratio else None),
            kind=kind,
            at_least=_exact(given.at_least),
            at_most=_exact(getattr(given, "at_most", None)),
            column=self._column("weight") if kind == "score" else -1 if ratio or of is None else self._column(of),
            bit=self._next_bit() if ratio else 0,
            of_bit=self._next_bit() if isinstance(given, Ratio) and given.to != "true" else 0,
            p=_exact(given.p) or Fraction(0) if isinstance(given, Percentile) else Fraction(0),
            periods=given.periods if isinstance(given, Rate) else 0,
            sample=given.sample if isinstance(given, Rate) else 0,
        )
        self.periods = max(self.periods, clause.periods)
        return clause

    def _column(self, field: str) -> int:
        if field not in self.carried:
            self.carried = (*self.carried, field)
        return self.carried.index(field)

    def _next_bit(self) -> int:
        self._bit <<= 1
        return self._bit

    def _label(self, kind: str, of: str | None) -> str:
        """`count`, `avg`, and from the second on `avg.penalty_fen`, `ratio.2`: no value hides another."""
        names = [kind, *([f"{kind}.{of}"] if of else [])]
        names += [f"{names[-1]}.{number}" for number in range(2, 1_000)]
        label = next(name for name in names if name not in self._labels)
        self._labels.add(label)
        return label


def _exact(number: float | None) -> Fraction | None:
    """The decimal number that was written, not the binary one nearest to it."""
    return None if number is None else Fraction(str(number))
