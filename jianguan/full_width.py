"""Characters that a Chinese keyboard gives in the place of ASCII ones: ， ： （ “ and the wide space."""

from __future__ import annotations

from typing import Final

_OTHERS: Final = {
    "“": '"', "”": '"', "‘": "'", "’": "'", "、": ",", "。": ".", "【": "[", "】": "]", "\u3000": " ", "\u00a0": " ",
}  # fmt: skip
_WIDE: Final = range(0xFF01, 0xFF5F)


def ascii_of(character: str) -> str:
    """The ASCII character that was meant; "" for a character that stands for itself."""
    if len(character) == 1 and ord(character) in _WIDE:
        return chr(ord(character) - 0xFF01 + ord("!"))
    return _OTHERS.get(character, "")


def told(character: str) -> tuple[str, str]:
    """(what is wrong, what to write) about a character that has an ASCII one."""
    meant = ascii_of(character)
    if meant == " ":
        return f"U+{ord(character):04X} is not the space that is meant", "write a plain space"
    return f"{character} is a full-width character", f"write the ASCII `{meant}`"


def hint_in(text: str) -> str:
    """What to write for the first character in a text that has an ASCII one; "" when there is none."""
    found = next((each for each in text if ascii_of(each)), "")
    return ": ".join(told(found)) if found else ""
