"""Columns of Python values: taking some places of them, and those that have one value throughout. Pure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final, TypeVar, cast, overload

T = TypeVar("T")

_new: Final = cast(Callable[[Any, Any], Any], tuple.__new__)


def tuples_of(kind: type[T], rows: Iterable[tuple[Any, ...]]) -> list[T]:
    """Named tuples of `kind` of rows that have its fields, in about half of the time that calling it takes."""
    return list(map(_new, repeat(kind), rows))


class Column(Sequence[T]):
    """Values that are not written out one by one."""

    __slots__ = ()

    @abstractmethod
    def join(self, others: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        """These values and then those of `others`, if they can be told in the same way."""


class Constant(Column[T]):
    """The same value `size` times."""

    __slots__ = ("size", "value")

    def __init__(self, value: T, size: int) -> None:
        self.value = value
        self.size = size

    def join(self, others: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        """As Column."""
        if all(isinstance(each, Constant) and each.value is self.value for each in others):
            return Constant(self.value, self.size + sum(map(len, others)))
        return None

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[T]:
        values: Iterator[T] = repeat(self.value, self.size)
        return values

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Constant(self.value, len(range(self.size)[index]))
        return (self.value,)[0 if -self.size <= index < self.size else 1]


class Taken(Column[T]):
    """The values of another column at some places, not copied: who has that column in a form of its own can take them
    there."""

    __slots__ = ("places", "values")

    def __init__(self, values: Sequence[T], places: Sequence[int]) -> None:
        self.values = values
        self.places = places

    def join(self, others: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        """As Column."""
        columns: list[Taken[Any]] = [self]
        for each in others:
            if not isinstance(each, Taken) or each.values is not self.values:
                return None
            columns.append(each)
        return Taken(self.values, list(chain.from_iterable([each.places for each in columns])))

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[T]:
        return iter(take(self.values, self.places))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Taken(self.values, self.places[index])
        return self.values[self.places[index]]


def take(values: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """The values at `places`, at least one."""
    # Not isinstance: of a Sequence that costs more than all else here, and of many rules it is asked often.
    if type(values) is Constant:
        return Constant(values.value, len(places))
    if type(values) is Taken:
        return Taken(values.values, take(values.places, places))
    if len(places) == 1:
        return (values[places[0]],)
    found: Sequence[T] = itemgetter(*places)(values)
    return found


def joined(columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """One column after the other, at least one."""
    first, *others = columns
    if not others:
        return first
    found = first.join(others) if isinstance(first, Column) else None
    return list(chain.from_iterable(columns)) if found is None else found
