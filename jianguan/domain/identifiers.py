"""Identifiers of enterprises: the unified social credit code (USCC, GB 32100-2015) and the organisation code in it.

Pure arithmetic on text. Must not know events, nor whether an enterprise exists.

A USCC is 18 characters: registration department, category, six digits of region, nine characters of organisation
code (GB 11714, its last is its own check), check character. Because 31 is a prime and the weights are different
powers of 3, every change of one character and every swap of two different neighbours is detected.
"""

from __future__ import annotations

from jianguan.errors import InputError

USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
USCC_LENGTH = 18
REGISTRATION_DEPARTMENTS = "123456789ANY"

_VALUE = {character: value for value, character in enumerate(USCC_ALPHABET)}
_WEIGHTS = tuple(pow(3, place, 31) for place in range(USCC_LENGTH - 1))
_ORGANISATION_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


def uscc_check_character(first17: str) -> str:
    """The 18th character for the first seventeen. InputError `bad-uscc` on a wrong length or character."""
    if len(first17) != USCC_LENGTH - 1:
        raise InputError("bad-uscc", f"17 characters are needed for the check character, not {len(first17)}")
    _check_alphabet(first17, "")
    return _check_character(first17)


def _check_character(first17: str) -> str:
    total = sum(_VALUE[character] * weight for character, weight in zip(first17, _WEIGHTS, strict=True))
    return USCC_ALPHABET[-total % 31]


def _check_alphabet(code: str, field: str) -> None:
    for place, character in enumerate(code, start=1):
        if character not in _VALUE:
            raise InputError(
                "bad-uscc",
                f"character {place} is {character!r}; a USCC has only 0-9 and A-Z without I, O, S, V, Z",
                field,
            )


def is_valid_uscc(code: str) -> bool:
    """Whether a code is a well-formed USCC with the right check character. Spaces and lower case are not forgiven."""
    return (
        len(code) == USCC_LENGTH
        and code[0] in REGISTRATION_DEPARTMENTS
        and all(character in _VALUE for character in code)
        and code[2:8].isdecimal()
        and _check_character(code[:-1]) == code[-1]
    )


def check_uscc(code: str, field: str = "") -> None:
    """InputError `bad-uscc` (form) or `bad-check-digit` that names what is wrong; nothing if the code is valid."""
    if len(code) != USCC_LENGTH:
        raise InputError("bad-uscc", f"a USCC has 18 characters, this has {len(code)}", field)
    _check_alphabet(code, field)
    if code[0] not in REGISTRATION_DEPARTMENTS:
        raise InputError("bad-uscc", f"character 1 is {code[0]!r}; no registration department has it", field)
    for place, character in enumerate(code[2:8], start=3):
        if not character.isdecimal():
            raise InputError("bad-uscc", f"character {place} is {character!r}; a region has digits only", field)
    expected = _check_character(code[:-1])
    if code[-1] != expected:
        raise InputError("bad-check-digit", f"check digit expected {expected}, found {code[-1]}", field)


def organisation_check_character(first8: str) -> str:
    """The ninth character of an organisation code, GB 11714 (mod 11). InputError `bad-organisation-code`."""
    if len(first8) != len(_ORGANISATION_WEIGHTS):
        raise InputError("bad-organisation-code", f"8 characters are needed, not {len(first8)}")
    total = 0
    for character, weight in zip(first8, _ORGANISATION_WEIGHTS, strict=True):
        value = _ORGANISATION_ALPHABET.find(character)
        if value < 0:
            raise InputError("bad-organisation-code", f"{character!r} is not in 0-9 A-Z")
        total += value * weight
    rest = -total % 11
    return "X" if rest == 10 else str(rest)


def make_uscc(registration_department: str, category: str, region6: str, organisation9: str) -> str:
    """A valid USCC from its parts, such as ("9", "1", "310115", "59169385X").

    InputError `bad-check-digit` if the organisation code's own check is wrong, `bad-uscc` on any other fault.
    """
    for name, value, length in (
        ("registration department", registration_department, 1),
        ("category", category, 1),
        ("region", region6, 6),
        ("organisation code", organisation9, 9),
    ):
        if len(value) != length:
            raise InputError("bad-uscc", f"the {name} has {length} characters, not {len(value)}")
    expected = organisation_check_character(organisation9[:8])
    if organisation9[8] != expected:
        found = organisation9[8]
        raise InputError("bad-check-digit", f"organisation code: check digit expected {expected}, found {found}")
    first17 = registration_department + category + region6 + organisation9
    code = first17 + uscc_check_character(first17)
    check_uscc(code)
    return code
