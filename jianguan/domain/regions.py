"""Regions: China's administrative divisions (GB/T 2260), and the lists of other places.

Knows the spelling of Chinese codes; how a tree of codes works is in codes.py. Sources: data/SOURCES.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from jianguan.domain.codes import CodeTree, Language, codes_from, packaged_codes

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

    def place(self, code: str, language: Language = "zh") -> str:
        """The name with that of its city, as addresses have it: 沈阳市和平区, since Tianjin has a 和平区 as well.

        Where the city is only a grouping code, the municipality or province stands for it: 上海市徐汇区, 湖北省仙桃市.
        """
        around = self.parent(code)
        if around is None or self.level(around) != "city":
            return self.name(around, language) if around and self._is_grouping(code) else self.name(code, language)
        city = self.name((self.parent(around) or around) if self._is_grouping(around) else around, language)
        name = self.name(code, language)
        return f"{name}, {city}" if language == "en" and city.isascii() else city + name

    def _is_grouping(self, code: str) -> bool:
        """Whether a code stands for no city, but for what a municipality or province has without one: 上海市市辖区."""
        around = self.parent(code)
        return self.level(code) == "city" and around is not None and self.name(code).startswith(self.name(around))

    def _at_home(self, text: str) -> str:
        """Six digits; nine or twelve that end in zeros mean the same, and so do two or four that lack theirs."""
        digits = _SIX_DIGITS.fullmatch(text)
        if digits:
            return digits.group(1)
        return f"{text:0<6}" if _SHORT.fullmatch(text) else ""
