"""The functions that rules have beside CEL's own: what they are called, what they take, what they do.

    present(field)                        whether a field has a value
    contains_any(text, ["…", …])          whether a text holds one of the words
    region_within(region, "cn:31")        whether a region lies in another, or is it
    industry_within(industry, "cn:H")     the same for industries
    working_days_between(from, to)        working days after the first moment's day, up to the second's
    distance_m(lat1, lon1, lat2, lon2)    metres over the earth's surface

The trees of codes and the calendar are passed in: this module knows no data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from jianguan.errors import JianguanError
from rules.cel.semantics import no_overload
from rules.cel.values import EvaluationError, Timestamp, Value

Within = Callable[[str, str], bool]
WorkingDays = Callable[[datetime, datetime], int]

EARTH_RADIUS_M = 6_371_008.8  # the mean radius of the International Union of Geodesy and Geophysics


@dataclass(frozen=True, slots=True)
class Extension:
    """One function of the rule language. Types are written as `string`, `list(string)`, `dyn`."""

    name: str
    parameters: tuple[str, ...]
    result: str
    implementation: Callable[..., Value]


def present(value: Value) -> bool:
    """What `present` is for a value that could be computed. The compiler answers for missing fields itself."""
    return value is not None


def contains_any(text: Value, words: Value) -> bool:
    """Whether the text holds one of the words."""
    if not isinstance(text, str) or not isinstance(words, list | tuple):
        raise no_overload("contains_any", text, words)
    return any(isinstance(word, str) and word in text for word in words)


def distance_m(latitude: Value, longitude: Value, other_latitude: Value, other_longitude: Value) -> float:
    """Great-circle distance in metres of two points in degrees, by the haversine formula."""
    degrees = (latitude, longitude, other_latitude, other_longitude)
    if not all(isinstance(each, float) for each in degrees):
        raise no_overload("distance_m", *degrees)
    if not all(map(math.isfinite, degrees)):
        raise EvaluationError("a coordinate is not a finite number")
    north, east, other_north, other_east = map(math.radians, degrees)
    half = (
        math.sin((other_north - north) / 2) ** 2
        + math.cos(north) * math.cos(other_north) * math.sin((other_east - east) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))


def _code_test(name: str, within: Within) -> Callable[[Value, Value], bool]:
    def tested(code: Value, ancestor: Value) -> bool:
        if not isinstance(code, str) or not isinstance(ancestor, str):
            raise no_overload(name, code, ancestor)
        return bool(_answered(name, within, code, ancestor))

    return tested


def _answered(name: str, ask: Callable[..., Value], *arguments: Value) -> Value:
    try:
        return ask(*arguments)
    except (JianguanError, LookupError, ValueError, ArithmeticError) as error:
        # A code or a year that the data lacks is an expression without a value, not a broken rule.
        raise EvaluationError(f"{name} has no answer: {error}") from error


def _working_days(ask: WorkingDays) -> Callable[[Value, Value], int]:
    def counted(first: Value, second: Value) -> int:
        if not isinstance(first, Timestamp) or not isinstance(second, Timestamp):
            raise no_overload("working_days_between", first, second)
        return int(_answered("working_days_between", ask, first.as_datetime(), second.as_datetime()))

    return counted


def extensions(
    region_within: Within | None = None,
    industry_within: Within | None = None,
    working_days_between: WorkingDays | None = None,
) -> tuple[Extension, ...]:
    """The functions for an environment. Those whose data is not given are left out.

    `region_within(code, ancestor)` and `industry_within(code, ancestor)` must always answer the same;
    `working_days_between(first, second)` takes aware UTC datetimes.
    """
    found = [
        Extension("present", ("dyn",), "bool", present),
        Extension("contains_any", ("string", "list(string)"), "bool", contains_any),
        Extension("distance_m", ("double", "double", "double", "double"), "double", distance_m),
    ]
    for name, within in (("region_within", region_within), ("industry_within", industry_within)):
        if within is not None:
            found.append(Extension(name, ("string", "string"), "bool", _code_test(name, within)))
    if working_days_between is not None:
        days = _working_days(working_days_between)
        found.append(Extension("working_days_between", ("timestamp", "timestamp"), "int", days))
    return tuple(found)


class CodesWithin(dict[str | None, bool | None]):
    """`codes[code]`: whether the code lies within one ancestor. None when there is no answer.

    Asked once a code, then remembered; emptied when it grows past any real tree, because codes come from outside.
    """

    __slots__ = ("_ancestor", "_ask")
    LIMIT = 100_000

    def __init__(self, ask: Callable[[Value, Value], bool], ancestor: str) -> None:
        super().__init__()
        self._ask = ask
        self._ancestor = ancestor

    def __missing__(self, code: str | None) -> bool | None:
        if len(self) >= self.LIMIT:
            self.clear()
        answer: bool | None = None
        if code is not None:
            try:
                answer = self._ask(code, self._ancestor)
            except EvaluationError:
                answer = None
        self[code] = answer
        return answer


class WordFinder:
    """Finds which of many words occur in a text, overlapping ones too, in one pass.

    The text last searched is remembered, so that all rules of one event share one pass.
    """

    __slots__ = ("_last", "_search")
    _FEW = 6

    def __init__(self, words: Iterable[str]) -> None:
        every = frozenset(words)
        # A few words are found faster one after another.
        self._search: _Each | _Alternation = _Each(every) if len(every) <= self._FEW else _Alternation(every)
        # One tuple, so that two threads never see one's text beside the other's words.
        self._last: tuple[str | None, frozenset[str]] = (None, frozenset())

    def __call__(self, text: str | None) -> frozenset[str]:
        """The words that the text holds; none for None."""
        last, found = self._last
        if text is last:
            return found
        if text is None:
            return frozenset()
        found = self._search(text)
        self._last = (text, found)
        return found


class _Each:
    __slots__ = ("_words",)

    def __init__(self, words: frozenset[str]) -> None:
        self._words = words

    def __call__(self, text: str) -> frozenset[str]:
        return frozenset([word for word in self._words if word in text])


class _Alternation:
    """One regular expression shaped as the tree of the words' characters.

    It consumes one character and looks ahead for the rest, so a word at one place hides none at the next. At each
    place it takes the longest word; the shorter ones that start there are its beginnings, known beforehand.
    """

    __slots__ = ("_always", "_beginnings", "_findall")

    def __init__(self, words: frozenset[str]) -> None:
        self._always = frozenset(word for word in words if not word)
        real = sorted(word for word in words if word)
        known = frozenset(real)
        self._beginnings: dict[str, list[str]] | None = {
            word: [word[:end] for end in range(1, len(word) + 1) if word[:end] in known] for word in real
        }
        firsts = "".join(re.escape(first) for first, _ in _by_first(real))
        if not self._always and all(len(each) == 1 for each in self._beginnings.values()):
            self._beginnings = None
        # The class in front lets the engine skip to a character that starts a word; then look at it again.
        pattern = f"[{firsts}](?<=(?=({_tree(real)}))(?s:.))"
        self._findall = re.compile(pattern).findall

    def __call__(self, text: str) -> frozenset[str]:
        longest = self._findall(text)
        if not longest:
            return self._always
        beginnings = self._beginnings
        if beginnings is None:
            return frozenset(longest)
        return self._always.union(*[beginnings[word] for word in set(longest)])


def _by_first(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The words, which are sorted and not empty, grouped by their first character, without it."""
    for first, group in groupby(words, key=lambda word: word[0]):
        yield first, [word[1:] for word in group]


def _tree(words: list[str]) -> str:
    """A pattern for the longest of the sorted words."""
    ends_here = words[0] == ""
    branches = [
        re.escape(first) + (_tree(rest) if rest != [""] else "")
        for first, rest in _by_first(words[1:] if ends_here else words)
    ]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 and not ends_here else f"(?:{'|'.join(branches)})"
    return f"{joined}?" if ends_here else joined
