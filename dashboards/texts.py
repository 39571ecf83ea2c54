"""All words that people read, in Chinese and English, from one catalogue (`texts.json`: key -> [zh, en]). Pure."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final, Literal

from jianguan.errors import ConfigurationError

Language = Literal["zh", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
_FILE: Final = Path(__file__).with_name("texts.json")
# What the browser's own code says; the rest is rendered here.
BROWSER_PREFIXES: Final = (
    "rel.",
    "due.",
    "live.",
    "wall.",
    "act.sending",
    "act.done",
    "act.pending",
    "act.failed",
    "act.refused",
    "copied",
    "error.",
)


@cache
def catalogue() -> dict[str, tuple[str, str]]:
    """Key -> (zh, en)."""
    found = json.loads(_FILE.read_text("utf-8"))
    for key, words in found.items():
        if not (isinstance(words, list) and len(words) == 2 and all(isinstance(word, str) and word for word in words)):
            raise ConfigurationError(f"{_FILE.name}: {key} needs two texts, Chinese and English")
    return {key: (words[0], words[1]) for key, words in found.items()}


class Words:
    """The catalogue in one language. Calling it with a key that is not there is a defect: KeyError."""

    def __init__(self, language: Language) -> None:
        self.language: Final = language
        self._index = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        text = catalogue()[key][self._index]
        return text.format(**values) if values else text

    def or_else(self, key: str, fallback: str) -> str:
        """The text of a key that is made from data, or `fallback` for data that nobody foresaw."""
        words = catalogue().get(key)
        return words[self._index] if words else fallback

    def for_browser(self) -> dict[str, str]:
        """What the page's own code needs."""
        return {key: words[self._index] for key, words in catalogue().items() if key.startswith(BROWSER_PREFIXES)}


def choose(query: str | None, cookie: str | None, accept: str) -> Language:
    """The reader's language: what was asked for, what was asked for before, what the browser prefers, Chinese."""
    for wish in (query, cookie):
        if wish in LANGUAGES:
            return wish
    ranked: list[tuple[float, int, Language]] = []
    for position, part in enumerate(accept[:500].split(",")):
        tag, _, parameters = part.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if primary in LANGUAGES and quality > 0:
            ranked.append((-quality, position, primary))
    return min(ranked)[2] if ranked else "zh"


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
