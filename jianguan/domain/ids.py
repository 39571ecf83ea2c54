"""Deterministic ids: the same thing gets the same id whoever names it, however often (DESIGN D3).

An id is a two-letter prefix that tells what it names, a dash, and 96 bits in hex: BLAKE2b over its parts. Those of a
fact are its event's under a mask that the rule and its version give, so that the ids of many facts are made at once and
a fact that names its event needs no id of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal, overload

from jianguan.domain.by_field import Column
from jianguan.errors import InputError

WIDTH: Final = 12  # bytes of an id's bits
SEPARATOR: Final = "\x1f"  # between the values of a key that a rule groups by
_LENGTH: Final = 3 + 2 * WIDTH

Prefix = Literal["ev", "ft", "al", "ca", "ta", "dl", "cm", "qu", "st"]

KINDS: Final[dict[str, str]] = {
    "ev": "event",
    "ft": "fact",
    "al": "alert",
    "ca": "case",
    "ta": "task",
    "dl": "delivery",
    "cm": "command",
    "qu": "quarantine",
    "st": "step",
}

_ID = re.compile(r"(ev|ft|al|ca|ta|dl|cm|qu|st)-[0-9a-f]{24}")
_BITS = re.compile(r"[0-9a-f]{24}")
_ASKED_FOR: Final = ("ca", "ta", "al", "ev", "qu", "dl", "ft")  # steps and commands: nobody has their numbers


def make_id(prefix: Prefix, *parts: str) -> str:
    """The id of the thing that `parts` name. Parts are length-prefixed, so ("a", "bc") is not ("ab", "c")."""
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return f"{prefix}-{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}"


def kind_of(identifier: str) -> str | None:
    """What a deterministic id names (`event`, `case`, …), or None for any other text."""
    return KINDS[identifier[:2]] if _ID.fullmatch(identifier) else None


def ids_without_prefix(text: str) -> list[str]:
    """The ids that `text` may be without their prefix; none if it has not the form of their bits. Things that are named
    by the same parts have the same bits: what people ask for most comes first."""
    return [f"{prefix}-{text}" for prefix in _ASKED_FOR] if _BITS.fullmatch(text) else []


def event_id(source: str, number: str) -> str:
    """The id of the event that `source` calls `number`."""
    return make_id("ev", source, number)


def event_ids(sources: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """`event_id` of many events, in half the time: most of them come from few sources."""
    begun = {
        source: blake2b(f"{len(source)}:{source}".encode("utf-8", "surrogatepass"), digest_size=12)
        for source in set(sources)
    }
    found: list[str] = []
    for source, number in zip(sources, numbers, strict=True):
        digest = begun[source].copy()
        digest.update(f"{len(number)}:{number}".encode("utf-8", "surrogatepass"))
        found.append("ev-" + digest.hexdigest())
    return found


def step_ids(receipts: Sequence[str]) -> list[str]:
    """The ids of the steps that say what became of the records with these receipts: `make_id("st", receipt)`."""
    return [
        "st-" + blake2b(f"{len(receipt)}:{receipt}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        for receipt in receipts
    ]


def fact_id(rule: str, version: int, event: str) -> str:
    """The id of the fact that `event`, an id, satisfied the condition of `rule` at `version`."""
    (found,) = unpacked("ft", fact_bits(rule, version, packed((event,))))
    return found


def fact_bits(rule: str, version: int, events: bytes) -> bytes:
    """The bits of the facts that events with these bits satisfied the condition of `rule` at `version`, WIDTH each.

    Two events of one rule never share a fact's id, since the mask is the same; those of two rules share one as seldom
    as hashes do.
    """
    mask = _mask(rule, version) * (len(events) // WIDTH)
    return (int.from_bytes(events, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(events), "big")


@lru_cache(maxsize=16_384)
def _mask(rule: str, version: int) -> bytes:
    number = str(version)
    text = f"{len(rule)}:{rule}{len(number)}:{number}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()


def packed(ids: Sequence[str]) -> bytes:
    """The bits of ids, WIDTH bytes each. InputError for anything that is not an id."""
    try:
        found = bytes.fromhex("".join([each[3:] for each in ids]))
    except ValueError:
        found = b""
    if len(found) != WIDTH * len(ids) or not set(map(len, ids)) <= {_LENGTH}:
        bad = next((each for each in ids if _ID.fullmatch(each) is None), "")
        raise InputError("bad-id", f"{bad[:40]!r} is not an id of jianguan.domain.ids")
    return found


class Ids(Column[str]):
    """Ids of one kind as their bits, WIDTH bytes each."""

    __slots__ = ("bits", "prefix")

    def __init__(self, prefix: Prefix, bits: bytes) -> None:
        self.prefix = prefix
        self.bits = bits

    def join(self, others: Sequence[Sequence[str]]) -> Sequence[str] | None:
        """As Column."""
        bits = [self.bits]
        for each in others:
            if not isinstance(each, Ids) or each.prefix != self.prefix:
                return None
            bits.append(each.bits)
        return Ids(self.prefix, b"".join(bits))

    def __len__(self) -> int:
        return len(self.bits) // WIDTH

    def __iter__(self) -> Iterator[str]:
        return iter(unpacked(self.prefix, self.bits))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return unpacked(self.prefix, self.bits)[index]


def unpacked(prefix: Prefix, bits: bytes) -> list[str]:
    """The ids with these bits, WIDTH bytes each."""
    text, head = bits.hex(), prefix + "-"
    return [head + text[at : at + 2 * WIDTH] for at in range(0, len(text), 2 * WIDTH)]


def alert_id(rule: str, key: str, episode: int) -> str:
    """The id of the alert of `rule` for group `key` in the episode that starts at `episode` (ms)."""
    return make_id("al", rule, key, str(episode))


def case_id(case_key: str, ordinal: int) -> str:
    """The id of the `ordinal`-th case (from 1) of `case_key`."""
    return make_id("ca", case_key, str(ordinal))


def task_id(case: str, department: str) -> str:
    """The id of the task that `case` gives to `department`."""
    return make_id("ta", case, department)


def partition_of(key: str, partitions: int) -> int:
    """The partition that `key` belongs to: the same in every process and every release."""
    return 0 if partitions == 1 else _spread(key, partitions)


@lru_cache(maxsize=65_536)
def _spread(key: str, partitions: int) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") % partitions
