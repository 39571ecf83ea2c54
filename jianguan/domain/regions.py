"""Regions: China's administrative divisions (GB/T 2260), and the lists of other places.

Knows the spelling of Chinese codes; how a tree of codes works is in codes.py. Sources: data/SOURCES.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from jianguan.domain.codes import CodeTree, codes_from, packaged_codes

PACKAGED = ("regions_cn.csv", "regions_us_chi.csv", "regions_us_nyc.csv")
_SIX_DIGITS = re.compile(r"([0-9]{6})(0{3}|0{6})?")
_SHORT = re.compile(r"[0-9]{2}|[0-9]{4}")


class Regions(CodeTree):
    """Levels in `cn`: country, province, city, county; in `us-chi`: city, ward, community-area; in `us-nyc`: city,
    borough.

    Every Chinese county has a city above it: where it is under a municipality or directly under a province that is
    the grouping code of the standard (310100, 429000).
    """

    kind = "region"
    home = "cn"

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> Self:
        """The packaged lists, then the operator's own, whose rows replace packaged ones. ConfigurationError."""
        rows = [row for name in PACKAGED for row in packaged_codes(name)]
        rows.extend(row for path in extra for row in codes_from(path))
        return cls(rows)

    def _at_home(self, text: str) -> str:
        """Six digits; nine or twelve that end in zeros mean the same, and so do two or four that lack theirs."""
        digits = _SIX_DIGITS.fullmatch(text)
        if digits:
            return digits.group(1)
        return f"{text:0<6}" if _SHORT.fullmatch(text) else ""
