"""The keys of one rule that is judged over whole facts: a few awake, as objects, and all others asleep, as bytes.

A key with three facts takes about two kilobytes of objects and a tenth of that as bytes, and most keys wait for days.
It wakes when it is asked for; of those awake the one that woke first goes to sleep first. What a key is, awake or
asleep, is the same. It must not know what is decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import add, sub
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from jianguan.domain.by_field import tuples_of
from jianguan.domain.ids import Prefix, packed, unpacked
from jianguan.errors import InputError
from rules.keys import Kept, KeyState, Run, Value

AWAKE: Final = 4_096  # keys
MOST_ASLEEP: Final = 64  # facts of a key: to wake one with more would hold up the fact that woke it
_SAMPLE: Final = 100
_ENTRY_BYTES: Final = 250  # of a key beside its state: its text, its place in the dictionary and among those due
_FACT_BYTES: Final = 400  # of an object, roughly
_STATE_BYTES: Final = 750

_HEAD: Final = Struct("<qqI?")  # due, newest, number of facts, touched
_NEVER: Final = -(2**63)


class _Body(NamedTuple):
    """The fields of a state that only a decision asks for. Facts are there field by field, which is the quickest way to
    make and to read them, and what they have in common is there once."""

    times: list[int]
    delays: list[int]  # from then to its receipt
    masks: list[int]
    values: list[tuple[Value, ...]]
    places: list[int]  # in `abouts`; none when all are about the same
    ids: bytes  # the bits of theirs, and of their events'
    events: bytes
    kinds: list[Prefix]  # of what they are about; a single one stands for all
    abouts: list[tuple[str | None, str | None, str | None, str]]  # from a name to a category, as in Kept
    decided: int
    raised: dict[str, int]
    held: list[int]
    runs: dict[int, Run]
    history_from: int | None
    history_until: int
    silent: list[tuple[int, int, str]]


class KeyStates:
    """States by key. What `get` or `made` has returned may be changed until the next call of either, not later."""

    __slots__ = ("_all", "_most", "_queue")

    def __init__(self, awake: int = AWAKE) -> None:
        """`awake` is how many keys, beside large ones, may stay objects."""
        self._all: dict[str, KeyState | bytes] = {}
        self._queue: deque[str] = deque()  # keys in the order in which they woke; those gone since are passed over
        self._most = awake

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def is_new(self, key: str) -> bool:
        """Whether nothing is known of a key. Wakes nothing."""
        return key not in self._all

    def get(self, key: str) -> KeyState | None:
        """The state of a key that is known."""
        state = self._all.get(key)
        if isinstance(state, bytes):
            self._make_room()
            state = self._all[key] = woken(key, state)
            self._queue.append(key)
        return state

    def made(self, key: str) -> KeyState:
        """The state of a key, which is new if it is not known."""
        state = self.get(key)
        if state is None:
            self._make_room()
            state = self._all[key] = KeyState(key)
            self._queue.append(key)
        return state

    def due(self, key: str) -> int | None:
        """When the clock has to look at a key again, ms; None for a key that is not known too. Wakes nothing."""
        state = self._all.get(key)
        if state is None:
            return None
        if isinstance(state, KeyState):
            return state.due
        due: int = _HEAD.unpack_from(state)[0]
        return None if due == _NEVER else due

    def forget(self, keys: Sequence[str], horizon: int) -> tuple[int, int]:
        """Drop those of `keys` that wait for nothing, have nothing from `horizon` (ms) on, and were not touched since
        the last look: how many went, and how many facts of theirs. Wakes nothing."""
        dropped = facts = 0
        for key in keys:
            state = self._all.get(key)
            if state is None:
                continue
            if isinstance(state, KeyState):
                due, newest, count, touched = _head(state)
            else:
                due, newest, count, touched = _HEAD.unpack_from(state)
            if touched or due != _NEVER:
                if isinstance(state, KeyState):
                    state.touched = False
                elif touched:
                    self._all[key] = _HEAD.pack(due, newest, count, False) + state[_HEAD.size :]
            elif newest < horizon:
                del self._all[key]
                dropped, facts = dropped + 1, facts + count
        return dropped, facts

    def take(self, other: KeyStates) -> int:
        """Take over every key of `other`, in place of the own state of that key; how many more facts there are now.
        Wakes nothing."""
        more = 0
        for key, state in other._all.items():
            more += _facts(state) - _facts(self._all.get(key))
            self._all[key] = state
            if isinstance(state, KeyState):
                self._queue.append(key)
        return more

    def size_in_bytes(self) -> int:
        """An estimate, from the keys that are known longest."""
        sample = list(islice(self._all.values(), _SAMPLE))
        if not sample:
            return 0
        one = sum(map(_size, sample)) / len(sample)
        return int(one * len(self._all))

    def _make_room(self) -> None:
        """Let those that woke first sleep, for one more to wake. Large ones stay awake, so that two are looked at."""
        for _ in range(2):
            if len(self._queue) < max(self._most, 1):
                return
            key = self._queue.popleft()
            state = self._all.get(key)
            if isinstance(state, KeyState):
                sleeping = asleep(state)
                if sleeping is None:
                    self._queue.append(key)
                else:
                    self._all[key] = sleeping


def asleep(state: KeyState) -> bytes | None:
    """`state` as bytes, without its key; None for one that stays awake: it is large, or has a text or
    an id that is none."""
    if len(state.facts) > MOST_ASLEEP:
        return None
    times, names, events, received, masks, values, *about = zip(*state.facts, strict=True) if state.facts else _NO_FACTS
    abouts: dict[Any, int] = {}
    places = [abouts.setdefault(each, len(abouts)) for each in zip(*about, strict=True)]
    kinds = [event[:2] for event in events]
    try:
        body = _encode(
            (
                times, list(map(sub, received, times)), masks, values, places if len(abouts) > 1 else (),
                packed(names), packed(events), kinds[:1] if len(set(kinds)) == 1 else kinds, list(abouts),
                state.decided, state.raised, state.held, state.runs, state.history_from, state.history_until,
                state.silent,
            )
        )  # fmt: skip
    except (InputError, UnicodeEncodeError, OverflowError):
        return None
    return _HEAD.pack(*_head(state)) + body


def woken(key: str, sleeping: bytes) -> KeyState:
    """The state that `asleep` made bytes of."""
    due, _, _, touched = _HEAD.unpack_from(sleeping)
    body = _decode(memoryview(sleeping)[_HEAD.size :])
    times, count = body.times, len(body.times)
    if len(body.kinds) == 1:
        events = unpacked(body.kinds[0], body.events)
    else:
        events = [f"{kind}{event[2:]}" for kind, event in zip(body.kinds, unpacked("ev", body.events), strict=True)]
    abouts = [body.abouts[place] for place in body.places] if body.places else body.abouts * count
    columns = (
        times, unpacked("ft", body.ids), events, list(map(add, times, body.delays)), body.masks, body.values,
        *zip(*abouts, strict=True),
    )  # fmt: skip
    facts = tuples_of(Kept, zip(*columns, strict=True)) if count else []
    return KeyState(
        key, facts, body.decided, body.raised, body.held, body.runs, body.history_from, body.history_until,
        body.silent, None if due == _NEVER else due, touched,
    )  # fmt: skip


def _head(state: KeyState) -> tuple[int, int, int, bool]:
    """See _HEAD. The newest time is that of a fact, or the end of a silence."""
    newest = state.facts[-1].time if state.facts else 0
    if state.silent:
        newest = max(newest, *(end for _, end, _ in state.silent))
    return _NEVER if state.due is None else state.due, newest, len(state.facts), state.touched


def _facts(state: KeyState | bytes | None) -> int:
    if isinstance(state, bytes):
        count: int = _HEAD.unpack_from(state)[2]
        return count
    return 0 if state is None else len(state.facts)


def _size(state: KeyState | bytes) -> int:
    own = len(state) + 33 if isinstance(state, bytes) else _STATE_BYTES + _FACT_BYTES * len(state.facts)
    return own + _ENTRY_BYTES


_NO_FACTS: Final[tuple[Any, ...]] = ((),) * len(Kept._fields)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Body).decode
