"""Regions by what people type: a name in Chinese or English, the letters of a Chinese one, or part of a code. Pure."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Final

from jianguan.domain.regions import Regions

_RANKS: Final = {level: rank for rank, level in enumerate(("country", "province", "city", "county"))}
_BETWEEN: Final = re.compile(r"[\s,，、·]+")


@cache
def packaged_spellings() -> Mapping[str, str]:
    """The letters of Chinese names by code; for finding, never to be shown."""
    text = (resources.files("jianguan.domain") / "data" / "region_spellings_cn.csv").read_text(encoding="utf-8")
    return {row["code"]: row["spelling"] for row in csv.DictReader(text.splitlines())}


class RegionSearch:
    """Finds regions of `regions`; on `today` those in force come before others of one name."""

    def __init__(self, regions: Regions, today: date) -> None:
        self._regions = regions
        self._called: dict[str, list[str]] = {}
        self._about: dict[str, tuple[tuple[str, ...], str]] = {}  # its own names, and all that a word may be part of
        spellings = packaged_spellings()
        self._present = frozenset(regions.codes(on=today))
        for code in regions.codes():
            row = regions.row(code)
            lineage = [each for each in reversed(regions.lineage(code)) if regions.parent(each) is not None]
            own = [row.name_zh, row.name_en, spellings.get(code, "")]
            whole = "".join(regions.name(each) for each in lineage)
            around = [regions.name(each, "en") for each in lineage] + [spellings.get(each, "") for each in lineage]
            names = tuple(dict.fromkeys(_plain(each) for each in own if each))
            further = map(_plain, (regions.place(code), regions.place(code, "en"), whole, code))
            for name in dict.fromkeys((*names, *further)):
                if name:
                    self._called.setdefault(name, []).append(code)
            words = " ".join((whole, regions.place(code), *around, *own, code)).casefold()
            self._about[code] = names, words

    def named(self, text: str) -> list[str]:
        """The codes that `text` is a whole name of: those in force if there are any, a single wider one before what
        lies in it."""
        found = self._called.get(_plain(text), [])
        found = [code for code in found if code in self._present] or found
        widest = [code for code in found if all(self._regions.within(other, code) for other in found)]
        return widest or found

    def like(self, text: str, most: int) -> list[str]:
        """At most `most` codes in force that every word of `text` is in the names of, the likeliest first."""
        words = [word for word in _BETWEEN.split(unicodedata.normalize("NFKC", text).casefold()) if word]
        if not words:
            return []
        found = []
        for code, (names, about) in self._about.items():
            if code in self._present and all(word in about for word in words):
                begins = any(name.startswith((words[0], words[-1])) for name in names)
                own = any(word in name for name in names for word in words)
                found.append((not begins, not own, _RANKS.get(self._regions.level(code), len(_RANKS)), code))
        return [code for *_, code in sorted(found)[:most]]


def _plain(text: str) -> str:
    return _BETWEEN.sub("", unicodedata.normalize("NFKC", text)).casefold()
