"""The region that a reader filters by: a code, the first of its digits, or a name as people write it. Asks no store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize

from dashboards.naming import Namer
from dashboards.texts import Language
from jianguan.domain.region_search import RegionSearch

OFFERED: Final = 12
_CODE: Final = re.compile(r"[a-z][a-z0-9-]*:\S*", re.IGNORECASE)
_WHOLE: Final = re.compile(r"(?<=^\d{2})0000$|(?<=^\d{4})00$")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a reader filters by. Without a `code` and with a `text` nothing is meant, or one of `choices`."""

    text: str = ""  # as the field shows it
    code: str | None = None  # how the codes begin
    choices: tuple[tuple[str, str], ...] = ()  # (code, name)

    @property
    def nowhere(self) -> bool:
        return bool(self.text) and self.code is None


def beginning(digits: str) -> str:
    """How the Chinese codes begin that are within a code, which may lack its last digits: `cn:4401` for 440100, which
    is a whole city."""
    return "cn:" if digits == "000000" else f"cn:{_WHOLE.sub('', digits)}"


class RegionFilter:
    """Reads what was typed. `search` takes a moment when it is first called."""

    def __init__(self, search: Callable[[], RegionSearch], namer: Namer) -> None:
        self._search = search
        self._namer = namer

    async def chosen(self, typed: str | None, language: Language) -> Chosen:
        """The region that `typed` means."""
        if not typed:
            return Chosen()
        text = normalize("NFKC", typed)
        if text.isascii() and text.isdigit():
            return Chosen(beginning(text), beginning(text))
        if _CODE.fullmatch(text):
            return Chosen(typed, typed)
        search = await asyncio.to_thread(self._search)
        found = search.named(text) or search.like(text, OFFERED)
        if len(found) == 1:
            tree, _, digits = found[0].partition(":")
            code = beginning(digits) if tree == "cn" else found[0]
            return Chosen(self._namer.region(found[0], language), code)
        return Chosen(typed, choices=tuple((code, self._namer.region(code, language)) for code in found))

    async def offered(self, typed: str, language: Language) -> list[dict[str, str]]:
        """What may be meant by what somebody is typing, as options of a list."""
        search = await asyncio.to_thread(self._search)
        options = []
        for code in search.like(typed, OFFERED):
            name = self._namer.region(code, language)
            value, label = (name, code) if search.named(name) == [code] else (code, name)
            if typed.casefold() not in f"{value} {label}".casefold():
                label = f"{label} · {typed}"  # browsers offer only what has in it what was typed
            options.append({"value": value, "label": label})
        return options
