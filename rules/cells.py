"""Squares of the map: a name for a place that places near it share. It must not know events."""

from __future__ import annotations

import math
from typing import Final

_METRES_A_DEGREE: Final = 111_320.0


def cell_of(latitude: float | None, longitude: float | None, side: int) -> str | None:
    """The square of about `side` metres that holds a point: `cell:500:6936:27011`. None without a point.

    Rows are `side` metres of latitude. Columns are as wide at the middle of their row, so that squares are square
    anywhere between the polar circles.
    """
    if latitude is None or longitude is None:
        return None
    row = math.floor(latitude * _METRES_A_DEGREE / side)
    middle = math.radians((row + 0.5) * side / _METRES_A_DEGREE)
    column = math.floor(longitude * _METRES_A_DEGREE * max(math.cos(middle), 0.01) / side)
    return f"cell:{side}:{row}:{column}"
