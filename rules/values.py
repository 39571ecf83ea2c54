"""What the fields of an event may hold: which kinds have a field, the texts that the contract allows, known codes.

Read off the models of the contract, so that there is no second list. It must not know rules or tests of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from jianguan.domain.alert import SEVERITIES
from jianguan.domain.codes import CodeTree
from jianguan.domain.contract import MODELS
from rules.loader import nearest
from rules.reference import Reference, spelled

_PARTY: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*:\S+")


@cache
def kinds_with(field: str) -> tuple[str, ...]:
    """The kinds of event that have a field; all of them for what admission adds, such as received_at."""
    having = tuple(kind for kind, model in MODELS.items() if field in model.model_fields)
    return having or tuple(MODELS)


@cache
def choices(kinds: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
    """The texts that events of some kinds may have, by field that has a list of them."""
    found: dict[str, list[str]] = {}
    for kind in kinds:
        for name, field in MODELS[kind].model_fields.items():
            texts = found.setdefault(name, [])
            texts.extend(text for text in _literals(field.annotation) if text not in texts)
    return MappingProxyType({name: texts for name, texts in found.items() if texts})


def alert_choices(rules: tuple[str, ...] = ()) -> Mapping[str, Sequence[str]]:
    """The same for alerts, of some rules or of any."""
    return {"severity": SEVERITIES, **({"rule": rules} if rules else {})}


def fault(field: str, value: str, allowed: Mapping[str, Sequence[str]], reference: Reference) -> tuple[str, str] | None:
    """(what is wrong, what to write) of a text that a field can never hold; None when it can. `allowed`: by field."""
    if field in allowed:
        if value in allowed[field]:
            return None
        return f"{field} is never {value!r}", nearest(value, allowed[field])
    tree = _tree(field, reference)
    if tree is not None and not tree.known(value):
        known = spelled(tree, value)
        return f"{value!r} is no known {tree.kind}", f"write {known}" if known else nearest(value, tree.codes())
    if field == "enterprise" and not _PARTY.fullmatch(value):
        return f"{value!r} is no enterprise", f"write uscc:{value}" if value.isalnum() else "write scheme:id"
    return None


def beginning_fault(field: str, value: str, reference: Reference) -> tuple[str, str] | None:
    """The same of a text that no code of a region or an industry begins with."""
    tree = _tree(field, reference)
    if tree is None or ":" in value or any(code.startswith(value) for code in tree.codes()):
        return None
    return f"no {field} begins with {value!r}", f"write {tree.home}:{value}"


def _tree(field: str, reference: Reference) -> CodeTree | None:
    return {"region": reference.regions, "industry": reference.industries}.get(field)


def _literals(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    for part in get_args(annotation):
        yield from _literals(part)
