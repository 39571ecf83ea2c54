"""What happens to a cluster, and when: a pure function of a seed.

Faults are drawn like cards from a shuffled deck, so that each kind happens about equally often and a run of a minute or
two has nearly all of them. They overlap: a worker may be killed while the link of another one is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

# Seconds between two faults, and how long each lasts: from, to.
GAP: Final = (2.0, 7.0)
LASTS: Final[dict[str, tuple[float, float]]] = {
    "kill-worker": (0.5, 8.0),
    "pause-worker": (8.0, 14.0),  # longer than the session, so that others take its partitions
    "kill-broker": (1.0, 8.0),
    "kill-store": (1.0, 10.0),
    "kill-receiver": (1.0, 8.0),
    "cut-store": (2.0, 12.0),
    "cut-broker": (2.0, 14.0),
    "fill-disk": (2.0, 8.0),
    "restart-all": (0.5, 3.0),
    "add-worker": (0.0, 0.0),
    "remove-worker": (20.0, 20.0),  # how long it may take to end
    "touch-rule": (0.0, 0.0),
    "add-rule": (0.0, 0.0),
}
MOST_RULES: Final = 8  # that are added in one run
SPARE: Final = 2  # workers beyond those that a run begins with


class Action(NamedTuple):
    """One thing that happens. `target` is a number that chooses among what there is of the kind then."""

    at: float  # seconds from the start
    kind: str
    target: int
    lasts: float  # seconds until it is undone, 0 when nothing is


def plan(seed: int, seconds: float, workers: int, kinds: Sequence[str] = tuple(LASTS)) -> tuple[Action, ...]:
    """What happens within `seconds`, in order of time. At least one worker stays, at most `SPARE` are added."""
    chance = Random(f"schedule {seed}")
    actions: list[Action] = []
    deck: list[str] = []
    wanted, added = workers, 0
    at = chance.uniform(*GAP)
    while at < seconds:
        if not deck:
            deck = list(kinds)
            chance.shuffle(deck)
        kind = deck.pop()
        if kind == "remove-worker" and wanted <= 1:
            kind = "add-worker"
        elif kind == "add-worker" and wanted >= workers + SPARE:
            kind = "remove-worker"
        if kind == "add-rule" and added >= MOST_RULES:
            kind = "touch-rule"
        wanted += (kind == "add-worker") - (kind == "remove-worker")
        added += kind == "add-rule"
        lasts = chance.uniform(*LASTS[kind])
        actions.append(Action(round(at, 2), kind, chance.randrange(1_000_000), round(lasts, 2)))
        at += chance.uniform(*GAP)
    return tuple(actions)


def moments(actions: Sequence[Action]) -> list[tuple[float, bool, Action]]:
    """When each action begins (True) and when it is undone (False), in order of time."""
    begun = [(action.at, True, action) for action in actions]
    ended = [(action.at + action.lasts, False, action) for action in actions if action.lasts]
    return sorted(begun + ended, key=lambda moment: (moment[0], not moment[1]))
