"""Errors as `application/problem+json` (RFC 9457). Knows statuses and codes, not what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi.responses import JSONResponse

from jianguan.errors import JianguanError, UnavailableError

TITLES: Final = {
    400: "The request cannot be read",
    401: "A token is needed",
    403: "Not allowed",
    404: "Nothing is known by that name",
    405: "The method is not allowed here",
    408: "The request took too long to arrive",
    409: "Not possible in the present state",
    413: "Too large",
    415: "Unknown content type or encoding",
    421: "Unknown host",
    422: "The content is not valid",
    429: "Too many requests",
    503: "Not available now",
}


class ProblemError(JianguanError):
    """An answer that is not the one asked for. `code` is a stable slug; `extra` are further members of the body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come back: whole seconds, at least one."""
    return {"Retry-After": str(max(1, int(-(-seconds // 1))))}


def unavailable(error: UnavailableError) -> ProblemError:
    """What is said while the broker or the store is away."""
    return ProblemError(503, "unavailable", str(error), headers=retry_after(5))


def defect() -> ProblemError:
    """What is said of an error that nobody foresaw."""
    return ProblemError(500, "defect", "an internal error; it is in the server's log")


def body_of(problem: ProblemError) -> dict[str, Any]:
    """The members of the problem document."""
    return {
        "type": f"urn:jianguan:problem:{problem.code}",
        "title": TITLES.get(problem.status, "The request failed"),
        "status": problem.status,
        "code": problem.code,
        "detail": str(problem),
        **problem.extra,
    }


def response_of(problem: ProblemError) -> JSONResponse:
    """The answer itself."""
    return JSONResponse(
        body_of(problem),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type="application/problem+json",
    )
