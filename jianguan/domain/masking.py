"""Hiding personal data: what a page, a webhook or an export shows instead, and what two events may be matched by.

Pure functions of text. Must not know who may see what. Masked text never holds more of the secret than its function
says; when a value does not look as expected, nothing of it is shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from jianguan.domain.identifiers import is_valid_uscc
from jianguan.domain.ids import SEPARATOR
from jianguan.errors import ConfigurationError

STAR = "*"
HIDDEN = "***"
HASH_CHARACTERS = 32
_SHORTEST_KEY, LONGEST_KEY = 16, 64

Kind = Literal["email", "id-card", "phone", "number"]
_LABEL: Mapping[Kind, str] = {"email": "[邮箱]", "id-card": "[身份证号]", "phone": "[电话]", "number": "[号码]"}
_LABELS = re.compile("|".join(map(re.escape, _LABEL.values())))

# Unicode's dashes (category Pd) and the signs for minus; the ASCII one first, as a class of characters needs it.
_DASH = (
    r"\-\u058a\u05be\u1400\u1806\u2010-\u2015\u2043\u2212\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u2e5d\u301c\u3030\u30a0"
    r"\ufe31\ufe32\ufe58\ufe63\uff0d\U00010d6e\U00010ead"
)
_APART = rf" ._·・{_DASH}"
_GAP = rf"[{_APART}]{{0,2}}"
# What ends a line or a cell of a table: numbers on both sides are mostly two.
_BREAK = r"\t\n\v\f\r"
_ANY_GAP = rf"[{_APART}{_BREAK}]{{0,4}}"
# Shown as nothing, or around the character before: digits look whole with them in between.
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_EMAIL = re.compile(r"[a-z0-9._%+\-]{1,64}@[a-z0-9.\-]{1,255}", re.IGNORECASE | re.ASCII)
# Digits, possibly set apart; an X may stand last, as in an id-card number.
_NUMBER = re.compile(rf"\+?\(?[0-9](?:{_GAP}[()]?{_GAP}[0-9]){{6,}}(?:{_GAP}x(?![a-z0-9]))?", re.IGNORECASE)


def _digits(count: int, last: str = "[0-9]") -> str:
    return rf"(?:[0-9]{_GAP}){{{count - 1}}}{last}"


# A mobile number, an id card or a landline that goes on in another line, at the places where people set them apart.
_BROKEN = re.compile(
    rf"(?<![0-9])(?:1{_GAP}[3-9]{_GAP}[0-9]{_ANY_GAP}{_digits(4)}{_ANY_GAP}{_digits(4)}"
    rf"|[1-9]{_GAP}{_digits(5)}{_ANY_GAP}{_digits(8)}{_ANY_GAP}{_digits(4, '[0-9X]')}"
    rf"|\(?0[1-9][0-9]{{1,2}}\)?{_ANY_GAP}[2-9]{_GAP}(?:{_digits(6)}|{_digits(7)}))(?![0-9])",
    re.IGNORECASE,
)
_BREAKS = re.compile(rf"[{_BREAK}]+")
_MOBILE = re.compile(r"(?:0{0,2}86)?1[3-9][0-9]{9}")
_LANDLINE = re.compile(r"(?:0{0,2}86)?0[1-9][0-9]{8,10}")
_ID_CARD = re.compile(r"[1-9][0-9]{16}[0-9X]|[1-9][0-9]{14}")
_YEAR, _MONTH, _OF_MONTH = "(?:19|20)[0-9]{2}", "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])(?: [0-9]{1,2})?"
_DAY = re.compile(rf"{_YEAR}[.{_DASH}]?{_MONTH}[.{_DASH}]?{_OF_MONTH}")
_DAY_IN_PARTS = re.compile(rf"{_YEAR}[.{_DASH}]{_MONTH}[.{_DASH}]{_OF_MONTH}")
_ANNOUNCED = re.compile(r"(电话|手机|联系方式|微信|致电|tel|phone|call|mobile|qq)[^0-9]{0,8}$", re.IGNORECASE)
_USCC = re.compile(r"(?<![0-9A-Z])[0-9A-Z]{18}(?![0-9A-Z])")
_OF_ENTERPRISES = ("91", "92", "93")
_PHONE_LIKE = re.compile(rf"(?=[+(0-9])\(?\+?[0-9(){_APART}{_BREAK}]{{5,31}}")
_LONG_NUMBER = 10
_SHORTEST_PHONE = 7
_HASH_IN_KEY = re.compile(rf"(?<![^|{SEPARATOR}])[0-9a-f]{{{HASH_CHARACTERS}}}(?![^|{SEPARATOR}])")


def mask_name(name: str) -> str:
    """The first character and one or two stars: `张**`. One character alone is hidden."""
    text = name.strip()
    return text[0] + STAR * min(len(text) - 1, 2) if len(text) > 1 else STAR * len(text)


def mask_phone(phone: str) -> str:
    """`138****1234`: three first and four last of eleven digits or more, the last two of seven to ten, else nothing."""
    digits = _phone_digits(phone)
    if len(digits) >= 11:
        return f"{digits[:3]}****{digits[-4:]}"
    return f"****{digits[-2:]}" if len(digits) >= _SHORTEST_PHONE else HIDDEN if digits else ""


def mask_id_card(number: str) -> str:
    """The first three and last two of 15 or 18 characters, stars between; else nothing."""
    text = _plain(number).replace(" ", "").upper()
    if not _ID_CARD.fullmatch(text):
        return HIDDEN if text else ""
    return text[:3] + STAR * (len(text) - 5) + text[-2:]


def mask_address(address: str, region_names: Collection[str] = frozenset()) -> str:
    """At most three leading names of regions (province, city, district), then `***`; only `***` if it leads with none.

    `region_names` are the names that may be shown, such as `Regions.names_zh()`.
    """
    text = _plain(address).strip()
    if not text:
        return ""
    kept = 0
    for _ in range(3):
        ends = range(min(kept + 15, len(text)), kept + 1, -1)
        longest = next((end for end in ends if text[kept:end] in region_names), None)
        if longest is None:
            break
        kept = longest
    return text[:kept] + HIDDEN


def hidden_text(text: str, language: Literal["zh", "en"] = "zh") -> str:
    """What stands in the place of a free text that the reader may not see: only its length."""
    if not text:
        return ""
    return f"[已隐藏 {len(text)} 字]" if language == "zh" else f"[{len(text)} characters hidden]"


# What most short texts are made of, in which nothing has to be looked for: no digit of any script, no @, nothing
# invisible and nothing that is written in another width.
_HARMLESS = re.compile(r"[\u4e00-\u9fffA-Za-z ，。、！？；]*")


@dataclass(frozen=True, slots=True)
class Redaction:
    """A free text with its numbers taken out, and how many of each kind those were."""

    text: str
    counts: Mapping[Kind, int]


def redact(text: str) -> Redaction:
    """Replaces phone numbers, id-card numbers, e-mail addresses and digit runs like those of bank cards by labels.

    Finds them in full-width digits, set apart by spaces or dashes, or broken up by invisible characters too. One that
    goes on in the next line is found if it breaks where people set it apart; other lines are numbers of their own. The
    USCC of an enterprise stays. Names and addresses in free text are not found. Redacting twice is redacting once.
    """
    if _HARMLESS.fullmatch(text):
        return Redaction(text, {})
    plain = _plain(text)
    counts: Counter[Kind] = Counter()

    def replaced(kind: Kind) -> str:
        counts[kind] += 1
        return _LABEL[kind]

    def replaced_if_broken(found: re.Match[str]) -> str:
        kind = _kind_of_broken(found.group())
        return found.group() if kind is None else replaced(kind)

    plain = _EMAIL.sub(lambda _: replaced("email"), plain)
    plain = _BROKEN.sub(replaced_if_broken, plain)
    kept = [found.span() for found in _USCC.finditer(plain) if _names_an_enterprise(found.group())]
    parts: list[str] = []
    done = 0
    for found in _NUMBER.finditer(plain):
        start, end = found.span()
        if any(first <= start and end <= last for first, last in kept):
            continue
        kind = _kind_of(found.group(), plain[max(start - 20, 0) : start])
        if kind is not None:
            parts += plain[done:start], replaced(kind)
            done = end
    parts.append(plain[done:])
    return Redaction("".join(parts), dict(counts))


def _names_an_enterprise(code: str) -> bool:
    """Only codes that the market-regulation departments give; others begin like an id card."""
    return code[:2] in _OF_ENTERPRISES and is_valid_uscc(code) and not _is_id_card(code)


def _is_id_card(number: str) -> bool:
    """Whether 18 characters carry the check character of an id card (GB 11643, mod 11-2)."""
    if not _ID_CARD.fullmatch(number) or len(number) != 18:
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17]


def _kind_of(number: str, before: str) -> Kind | None:
    """What a run of digits is; None if it may stay, as a year, a price or a short order number may."""
    bare = "".join(character for character in number.upper() if character.isdigit() or character == "X")
    if _ID_CARD.fullmatch(bare):
        return "id-card"
    bare = bare.rstrip("X")  # only an id card has one
    if _MOBILE.fullmatch(bare) or _LANDLINE.fullmatch(bare):
        return "phone"
    # A label stands for digits, so that nothing is announced across it, nor by it.
    announced = _ANNOUNCED.search(_LABELS.sub("0", before)) is not None
    if (_DAY_IN_PARTS if announced else _DAY).fullmatch(number):
        return None
    if len(bare) >= _LONG_NUMBER:
        return "number"
    return "phone" if announced else None


def _kind_of_broken(number: str) -> Kind | None:
    """What goes on over a break of lines; None if nothing does, or if its lines may be different numbers."""
    lines = _BREAKS.split(number)
    if len(lines) == 1:
        return None
    bare = "".join(character for character in number.upper() if character.isdigit() or character == "X")
    if len(bare) == 18:
        return "id-card" if _is_id_card(bare) else None
    return None if any(_DAY.fullmatch(line.strip()) for line in lines) else "phone"


def match_hash(value: str, key: bytes) -> str:
    """Keyed BLAKE2b of a normalised value, 32 hexadecimal characters; "" for a value with nothing in it.

    Equal for spellings that mean the same: width, case, spaces, and for what looks like a phone number anything but
    its digits. ConfigurationError unless the key has 16 to 64 bytes.
    """
    if not _SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ConfigurationError(f"the key for matching must have {_SHORTEST_KEY} to {LONGEST_KEY} bytes")
    if value.isascii() and value.isdigit() and not value.startswith(("86", "0086")) and len(value) >= _SHORTEST_PHONE:
        # What nearly all phone numbers look like; nothing in it has to be normalised.
        return blake2b(value.encode(), key=key, digest_size=HASH_CHARACTERS // 2).hexdigest()
    text = _plain(unicodedata.normalize("NFKC", value)).strip()
    if _PHONE_LIKE.fullmatch(text) and len(_phone_digits(text)) >= _SHORTEST_PHONE:
        text = _phone_digits(text)
    text = "".join(text.casefold().split())
    return blake2b(text.encode(), key=key, digest_size=HASH_CHARACTERS // 2).hexdigest() if text else ""


def without_hashes(key: str) -> str:
    """`key`, the values that a rule groups by or a case's key, without the hashes of reporters."""
    return _HASH_IN_KEY.sub(HIDDEN, key)


def _phone_digits(phone: str) -> str:
    """The digits of a phone number without China's country code."""
    digits = "".join(character for character in _plain(phone) if character.isdigit())
    national = re.fullmatch(r"(?:00)?86(1[3-9][0-9]{9})", digits)
    return national.group(1) if national else digits


def _plain(text: str) -> str:
    """Invisible characters taken out, full-width letters and every script's decimal digits as ASCII."""
    return "".join(map(_plain_character, text))


@lru_cache(maxsize=8_192)
def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.category(character) in ("Cf", "Me") or _INVISIBLE.match(character):
        return ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if "\uff01" <= character <= "\uff5e":
        wide = chr(ord(character) - 0xFEE0)
        return wide if wide.isalnum() or wide in "@._%+-()" else character
    return " " if character.isspace() and character not in "\n\r\t" else character
