"""What a rule asks of whole facts, in words: combined triggers, sessions, places, patterns, escalation. Pure.

It reads the rule as its author wrote it and must not know how it is judged. Conditions stay CEL, as everywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards import wording
from dashboards.texts import Words

Written = Mapping[str, Any]
_LENGTH: Final = re.compile(r"([0-9]+)(wd|s|m|h|d)")
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FIGURES: Final = ("avg", "min", "max", "median", "percentile")


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence, the condition that it ends in, and what it consists of."""

    text: str
    code: str = ""
    parts: tuple[Told, ...] = ()


class Asker:
    """Tells one rule. `title` is what another rule is called."""

    def __init__(self, words: Words, title: Callable[[str], str]) -> None:
        self._words = words
        self._title = title

    def told(self, written: Written) -> list[Told]:
        """`written` has what `RuleInfo.written` has."""
        found = [self._pattern(written["pattern"])] if "pattern" in written else []
        if "trigger" in written:
            found.append(self._headed(self._window(written["window"]), self._holding(written["trigger"])))
        return [*found, *self._more(written)]

    def _more(self, written: Written) -> Iterator[Told]:
        words, comma = self._words, self._words("comma")
        if weights := written.get("rules"):
            rules = (words("asked.weight", rule=self._title(rule), n=weight) for rule, weight in weights.items())
            yield Told(words("asked.rules"), parts=tuple(map(Told, rules)))
        for each in written.get("escalate", ()):
            severity = words.or_else(f"severity.{each['severity']}", each["severity"])
            yield self._headed(words("asked.escalate", severity=severity), self._holding(each["trigger"]))
        if length := written.get("cooldown"):
            yield Told(words("asked.cooldown", length=self._length(length)))
        if silencing := written.get("inhibited_by"):
            yield Told(words("asked.inhibited", rules=comma.join(map(self._title, silencing))))

    def _headed(self, head: str, parts: Sequence[Told]) -> Told:
        """In one sentence, if it needs no list."""
        if all(not part.code and not part.parts for part in parts):
            clauses = self._words("and").join(part.text for part in parts)
            return Told(self._words("trigger", within=head, clauses=clauses))
        if len(parts) == 1:
            return Told(self._words("trigger", within=head, clauses=parts[0].text), parts[0].code, parts[0].parts)
        return Told(self._words("asked.headed", head=head), parts=tuple(parts))

    def _window(self, window: Written) -> str:
        words, size = self._words, self._length(window["size"])
        match window.get("kind", "sliding"):
            case "session":
                within = words("asked.session", gap=self._length(window["gap"]), length=size)
            case "tumbling":
                within = words("trigger.fixed", length=size)
            case _:
                within = words("trigger.sliding", length=size)
        metres = window.get("within_m")
        return within + words("asked.metres", n=wording.number(metres)) if metres else within

    def _holding(self, trigger: Written) -> list[Told]:
        """What must hold, each for itself."""
        found = []
        for name, given in trigger.items():
            match name:
                case "all":
                    found += [told for each in given for told in self._holding(each)]
                case "any" if len(given) > 1:
                    found.append(Told(self._words("asked.any"), parts=tuple(map(self._one, given))))
                case "any":
                    found += self._holding(given[0])
                case "not":
                    found.append(self._headed(self._words("asked.not"), self._holding(given)))
                case _:
                    found += self._clause(name, given)
        return found

    def _one(self, trigger: Written) -> Told:
        """What must hold, as one of several ways."""
        held = self._holding(trigger)
        if all(not each.code and not each.parts for each in held):
            return Told(self._words("and").join(each.text for each in held))
        return held[0] if len(held) == 1 else Told(self._words("asked.all"), parts=tuple(held))

    def _clause(self, name: str, given: Written) -> Iterator[Told]:
        words, of = self._words, given.get("of")
        field = words.or_else(f"of.{of}", str(of))
        if name in _FIGURES:
            said, figure = words(f"asked.{name}", of=field, p=f"{given.get('p', 0):g}"), of
        elif name == "ratio":
            yield from self._ratio(given)
            return
        elif name == "rate":
            said, figure = words("asked.rate", periods=given["periods"], n=given.get("sample", 10)), None
        else:
            yield Told(words(f"clause.{name}", of=field, n=wording.figure(given["at_least"], of)))
            return
        for sign, bound in _bounds(given):
            yield Told(f"{said} {sign} {wording.figure(bound, figure)}")

    def _ratio(self, given: Written) -> Iterator[Told]:
        for sign, bound in _bounds(given):
            share = f"{sign} {bound * 100:.10g}%"
            among = given.get("to", "true")
            parts = () if among == "true" else (Told(self._words("asked.among"), among),)
            yield Told(self._words("asked.ratio", share=share), given["of"], parts)

    def _pattern(self, pattern: Written) -> Told:
        steps = pattern["steps"]
        parts = [self._step(step, step is steps[-1]) for step in steps]
        return Told(self._words("asked.pattern", length=self._length(pattern["within"])), parts=tuple(parts))

    def _step(self, step: Written, last: bool) -> Told:
        words = self._words
        after = words("asked.next") if step.get("next") else ""
        for way in ("all", "any"):
            if way in step:
                parts = [self._event(words("asked.event", name=each["name"]), each) for each in step[way]]
                return Told(after + words(f"asked.step.{way}"), parts=tuple(parts))
        if step.get("absent"):
            return self._event(words("asked.absent.last" if last else "asked.absent", name=step["name"]), step)
        times = step.get("times", {})
        least = times.get("at_least", 1)
        most = times.get("at_most", least)
        if most != least:
            said = words("asked.events.range", name=step["name"], n=least, most=most)
        elif least != 1:
            said = words("asked.events", name=step["name"], n=least)
        else:
            said = words("asked.event", name=step["name"])
        return self._event(after + said, step)

    def _event(self, said: str, step: Written) -> Told:
        related = step.get("related")
        return Told(said, step["where"], (Told(self._words("asked.related"), related),) if related else ())

    def _length(self, text: str) -> str:
        found = _LENGTH.fullmatch(text)
        if not found:
            return text
        number, unit = int(found[1]), found[2]
        if unit == "wd":
            return self._words("length.wd1" if number == 1 else "length.wd", n=number)
        return wording.length(number * _UNITS[unit], self._words)


def _bounds(given: Written) -> Iterator[tuple[str, float]]:
    for name, sign in (("at_least", "≥"), ("at_most", "≤")):
        if given.get(name) is not None:
            yield sign, given[name]
