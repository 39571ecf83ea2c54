"""Query parameters that a route does not have: a misspelt filter must not pass for one that everything meets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from fastapi import Request

from dashboards.problems import ProblemError

_LONGEST: Final = 64  # characters of a name that are repeated; values never are
_MOST: Final = 5


async def only_known_parameters(request: Request) -> None:
    """For reads. ProblemError, 422, names what is unknown and the nearest that is known."""
    if request.method == "GET" and request.query_params:
        known = [field.alias for field in request.scope["route"].dependant.query_params]
        refuse_unknown(request.query_params, known, 422)


def refuse_unknown(given: Iterable[str], known: Sequence[str], status: int) -> None:
    """ProblemError for those of the names `given` that are not `known`."""
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    if unknown:
        faults = [{"field": f"query.{_shown(name)}", "message": _message(name, known)} for name in unknown[:_MOST]]
        detail = "; ".join(f"{_shown(name)} {_message(name, known)}" for name in unknown[:_MOST])
        raise ProblemError(status, "unknown-parameter", detail, extra={"errors": faults})


def _message(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name[:_LONGEST], known, 1)
    return "is not a known parameter" + (f", did you mean {near[0]}?" if near else "")


def _shown(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name[:_LONGEST])
