"""How people write numbers, ids and names that they look for, and how those may be stored instead. Pure."""

from __future__ import annotations

import re
from typing import Final
from unicodedata import category, normalize

from jianguan.domain.ids import ids_without_prefix, kind_of

LONGEST: Final = 128  # characters of what is looked for
_AROUND: Final = " \"'`“”‘’„«»‹›「」『』《》〈〉【】[]<>,.;:!?、。·…#"
_SPACE: Final = re.compile(r"\s+")
_WIDE: Final = str.maketrans("()", "（）")


def asked_for(typed: str) -> str:
    """What somebody typed or pasted as one line, without characters that nobody sees."""
    seen = "".join(
        " " if category(each) == "Cc" else each for each in typed if category(each) not in ("Cf", "Cs", "Co")
    )
    return _SPACE.sub(" ", seen).strip()


def spellings(text: str) -> list[str]:
    """What `text` may stand for, as it is first: plain characters, nothing around it, no spaces, letters as in ids and
    numbers. A name's brackets are wide in most registers, whatever somebody types."""
    plain = normalize("NFKC", text).strip(_AROUND)
    joined = _SPACE.sub("", plain)
    small = joined.lower()
    bits = small if ids_without_prefix(small) else ""
    found = (text, plain, joined, bits, _cased(joined), plain.translate(_WIDE))
    return [each for each in dict.fromkeys(found) if each]


def _cased(text: str) -> str:
    """Our own ids have small letters; numbers and codes capitals, after a scheme that has small ones."""
    if kind_of(text.lower()):
        return text.lower()
    scheme, colon, number = text.rpartition(":")
    return scheme.lower() + colon + number.upper()
