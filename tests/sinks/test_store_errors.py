"""What the store says when it cannot take rows now is told from what it says of rows that it will never take."""

from __future__ import annotations

import pytest

from jianguan.errors import UnavailableError
from sinks.store import NotAllowedError, StoreError, error_of


@pytest.mark.parametrize(
    "message",
    [
        "Code: 243. DB::Exception: Cannot reserve 1.72 MiB, not enough space. (NOT_ENOUGH_SPACE)",
        "Code: 75. DB::Exception: Cannot write to file /x, errno: 28, strerror: No space left on device.",
        "Code: 1001. DB::Exception: std::filesystem_error: No space left on device",
        "Code: 252. DB::Exception: Too many parts",
        "Code: 210. DB::NetException: Connection refused",
        "Code: 394. DB::Exception: Query was cancelled. (QUERY_WAS_CANCELLED)",
    ],
)
def test_a_store_without_room_or_rest_is_asked_again(message: str) -> None:
    assert isinstance(error_of(message), UnavailableError)


@pytest.mark.parametrize("message", ["Code: 62. DB::Exception: Syntax error", "Code: 6. Cannot parse", "what?", ""])
def test_a_store_that_refuses_is_not_asked_again(message: str) -> None:
    assert isinstance(error_of(message), StoreError)


@pytest.mark.parametrize("code", [192, 193, 194, 497, 516])
def test_a_store_that_refuses_its_user_is_asked_again_and_says_where_to_look(code: int) -> None:
    error = error_of("DB::Exception: me: Authentication failed: password is incorrect.\n\nmore", code)
    assert isinstance(error, NotAllowedError)
    assert isinstance(error, UnavailableError)
    assert "password is incorrect" in str(error)
    assert "JIANGUAN_STORE_PASSWORD_FILE" in str(error)
