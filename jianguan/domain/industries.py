"""Industries: China's classification (GB/T 4754-2017), and the open lists of other places.

Knows the form of Chinese codes: a section letter and up to four digits. The packaged list has every section and
division, and the groups and classes of the trades that market supervision meets most; a deeper code that it lacks
is inside the longest prefix that it has. Sources: data/SOURCES.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from jianguan.domain.codes import Code, CodeTree, codes_from, packaged_codes

PACKAGED = ("industries_cn.csv", "industries_us_chi.csv")
_DEEPER = re.compile(r"cn:[A-T][0-9]{3,4}")
_HAS_DEEPER = re.compile(r"cn:[A-T][0-9]{2,3}")
_WRITTEN = re.compile(r"([A-T]?)([0-9]{2,4})|([A-T])")


class Industries(CodeTree):
    """Levels in `cn`: all, section, division, group, class. `us-chi` is open: facility types and licence codes."""

    kind = "industry"
    home = "cn"

    def __init__(self, rows: Iterable[Code]) -> None:
        super().__init__(rows)
        self._section = {code[4:6]: code[3] for code in self._rows if re.fullmatch(r"cn:[A-T][0-9]{2}", code)}

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> Self:
        """The packaged lists, then the operator's own, whose rows replace packaged ones. ConfigurationError."""
        rows = [row for name in PACKAGED for row in packaged_codes(name)]
        rows.extend(row for path in extra for row in codes_from(path))
        return cls(rows)

    def _at_home(self, text: str) -> str:
        """`F52`, `52` and `5212` are full codes; the section of bare digits is that of their division."""
        written = _WRITTEN.fullmatch(text)
        if not written:
            return ""
        letter, digits, section = written.groups()
        return section or (letter or self._section.get(digits[:2], "")) + digits

    def _unlisted(self, code: str) -> Code | None:
        """A well-formed group or class of a known division has its prefix for a parent, and its name."""
        if not _DEEPER.fullmatch(code):
            return super()._unlisted(code)
        above = self._row_of(code[:-1])
        return above and Code(
            code, above.code, "group" if above.level == "division" else "class", above.name_zh, above.name_en
        )

    def inside(self, ancestor: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """As for every tree; groups and classes that no list has begin like what they are in."""
        listed, opened = super().inside(ancestor)
        return listed, (*opened, *(code for code in listed if _HAS_DEEPER.fullmatch(code)))
