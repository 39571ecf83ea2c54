"""What is done to the text of a cell until it is what a field wants: numbers, slugs, tables, money, dates.

Pure functions of text. Must not know rows or events.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Any, Final

from jianguan.mappings.model import Form, Value

_MAX_SLUG: Final = 64
_DATES_REMEMBERED: Final = 4096
_WORD: Final = re.compile(r"[^\W\d_]+('[^\W\d_]+)?")


class UnusableError(Exception):
    """A cell cannot be used for its field; caught where the field is filled."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


def whole_number(text: str) -> str | None:
    """`30790.0`, `1e3` or ` 7 ` as the text of a whole number; None for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 30:
        return str(int(text))
    try:
        number = Decimal(text)
        if number.is_finite() and abs(number) < Decimal(10) ** 30 and number == number.to_integral_value():
            return str(int(number))
    except DecimalException:
        return None
    return None


def slug_of(text: str) -> str:
    """`text` in small letters and digits with dashes, cut between words to 64 characters; "" if nothing remains."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower().replace("'", "")
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return slug if len(slug) <= _MAX_SLUG else slug[: _MAX_SLUG + 1].rpartition("-")[0] or slug[:_MAX_SLUG]


def shaper(value: Value) -> Callable[[str], str | None]:
    """The steps of `value`, in the order that `model.Value` names; None is missing."""
    column = ", ".join(each.name for each in value.columns())

    def shape(text: str) -> str | None:
        if value.strip:
            text = text.strip()
        if not text or text in value.missing:
            return None
        if value.number:
            number = whole_number(text)
            if number is None:
                raise UnusableError(column, "the cell is not a whole number")
            if number in value.missing:
                return None
            text = number
        if value.case is not None:
            text = _cased(text, value.case)
        if value.lookup is not None:
            found = value.lookup.find(text)
            if found is None:
                raise UnusableError(column, "the cell is not in the lookup table")
            text = found
        if value.slug:
            text = _slugged(text)
            if not text:
                raise UnusableError(column, "the cell has no Latin letter or digit to make a slug of")
        return text

    return shape


_slugged = lru_cache(maxsize=4096)(slug_of)


def _cased(text: str, case: str) -> str:
    if case == "title":
        return _WORD.sub(lambda match: match.group().capitalize(), text)
    return text.lower() if case == "lower" else text.upper()


def _integer(text: str) -> int | None:
    number = whole_number(text)
    return None if number is None else int(number)


def _fen_of_yuan(text: str) -> int | None:
    try:
        return _integer(str(Decimal(text.replace(",", "").removeprefix("¥").removeprefix("￥")) * 100))
    except DecimalException:
        return None


def _decimal(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _dates(value: Value) -> Callable[[str], str | None]:
    @lru_cache(maxsize=_DATES_REMEMBERED)
    def convert(text: str) -> str | None:
        for each in value.formats:
            try:
                moment = datetime.fromisoformat(text) if each == "iso" else datetime.strptime(text, each)  # noqa: DTZ007
                return (moment if moment.tzinfo else moment.replace(tzinfo=value.zone)).isoformat()
            except (ValueError, OverflowError):
                continue
        return None

    return convert


_CONVERTERS: Final[dict[str, Callable[[str], Any]]] = {"integer": _integer, "fen": _integer, "decimal": _decimal}
REASONS: Final[dict[str, str]] = {
    "integer": "the cell is not a whole number",
    "fen": "the cell is not an amount of money",
    "decimal": "the cell is not a number",
    "date": "the cell is not a date in any of the formats of the mapping",
}


def converter(value: Value, form: Form) -> Callable[[str], Any] | None:
    """What turns the shaped text of `value` into what a field of `form` wants (None: it is no such thing); None when
    the text is that already."""
    if form == "date":
        return _dates(value)
    return _fen_of_yuan if form == "fen" and value.unit == "yuan" else _CONVERTERS.get(form)
