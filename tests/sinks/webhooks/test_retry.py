"""When a webhook is tried again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.webhooks.retry import Outcome, OutcomeKind, RetryPolicy, kind_of_status, next_attempt, parse_retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STEADY = RetryPolicy(jitter=0)
RETRY = Outcome(OutcomeKind.RETRY, 500)


def after(attempt: int, outcome: Outcome, policy: RetryPolicy = STEADY) -> timedelta | None:
    again = next_attempt(attempt, outcome, NOW, random.Random(1), policy)
    return None if again is None else again - NOW


def test_the_default_delays_grow_and_span_about_three_days() -> None:
    policy = RetryPolicy()
    assert list(policy.delays) == sorted(policy.delays)
    assert sum(policy.delays, timedelta()) == timedelta(hours=72, minutes=12, seconds=35)
    assert policy.attempts == 11


def test_each_failed_attempt_is_followed_by_its_delay() -> None:
    assert [after(attempt, RETRY) for attempt in range(1, 11)] == list(STEADY.delays)


def test_after_the_last_attempt_comes_no_other() -> None:
    assert after(STEADY.attempts - 1, RETRY) is not None
    assert after(STEADY.attempts, RETRY) is None


@pytest.mark.parametrize("kind", [OutcomeKind.DELIVERED, OutcomeKind.GONE])
def test_what_is_delivered_or_gone_is_not_tried_again(kind: OutcomeKind) -> None:
    assert after(1, Outcome(kind, retry_after=timedelta(hours=1))) is None


def test_a_refused_address_is_tried_again_because_names_are_repaired() -> None:
    assert after(1, Outcome(OutcomeKind.REFUSED)) == timedelta(seconds=5)


@given(seed=st.integers(), attempt=st.integers(1, 10), jitter=st.floats(0, 0.99))
def test_jitter_stays_within_its_share_of_the_delay(seed: int, attempt: int, jitter: float) -> None:
    policy = RetryPolicy(jitter=jitter)
    again = next_attempt(attempt, RETRY, NOW, random.Random(seed), policy)
    assert again is not None
    delay = policy.delays[attempt - 1]
    slack = timedelta(microseconds=2)
    assert delay * (1 - jitter) - slack <= again - NOW <= delay * (1 + jitter) + slack


def test_jitter_spreads_receivers_that_failed_together() -> None:
    rng = random.Random(7)
    moments = {next_attempt(4, RETRY, NOW, rng, RetryPolicy()) for _ in range(50)}
    assert len(moments) > 40


def test_the_same_random_source_gives_the_same_schedule() -> None:
    one, two = random.Random(3), random.Random(3)
    policy = RetryPolicy()
    assert [next_attempt(n, RETRY, NOW, one, policy) for n in range(1, 11)] == [
        next_attempt(n, RETRY, NOW, two, policy) for n in range(1, 11)
    ]


def test_retry_after_lengthens_a_delay_but_never_shortens_it() -> None:
    asked = Outcome(OutcomeKind.RETRY, 429, retry_after=timedelta(minutes=7))
    assert after(1, asked) == timedelta(minutes=7)
    assert after(5, asked) == timedelta(hours=1)


def test_retry_after_is_cut_to_its_bound() -> None:
    asked = Outcome(OutcomeKind.RETRY, 503, retry_after=timedelta(days=400))
    assert after(1, asked) == STEADY.retry_after_max


def test_a_negative_retry_after_changes_nothing() -> None:
    assert after(1, Outcome(OutcomeKind.RETRY, 503, retry_after=timedelta(days=-1))) == timedelta(seconds=5)


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        after(0, RETRY)


@pytest.mark.parametrize(
    "bad",
    [
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"delays": (timedelta(0),)},
        {"delays": (timedelta(seconds=5), timedelta(0))},
        {"retry_after_max": timedelta(seconds=-1)},
    ],
)
def test_a_policy_that_would_hammer_a_receiver_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"jitter|delay"):
        RetryPolicy(**bad)  # type: ignore[arg-type]


def test_a_policy_may_give_nothing_on_what_receivers_ask_for() -> None:
    asked = Outcome(OutcomeKind.RETRY, 429, retry_after=timedelta(minutes=7))
    assert after(1, asked, RetryPolicy(jitter=0, retry_after_max=timedelta(0))) == timedelta(seconds=5)


def test_only_2xx_is_success_and_only_410_is_gone() -> None:
    kinds = {status: kind_of_status(status) for status in range(100, 600)}
    assert {status for status, kind in kinds.items() if kind is OutcomeKind.DELIVERED} == set(range(200, 300))
    assert {status for status, kind in kinds.items() if kind is OutcomeKind.GONE} == {410}
    assert all(kinds[status] is OutcomeKind.RETRY for status in (301, 400, 401, 404, 408, 425, 429, 500, 503))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("Sun, 01 Mar 2026 12:01:30 GMT", timedelta(seconds=90)),
        ("Sunday, 01-Mar-26 12:01:30 GMT", timedelta(seconds=90)),
        ("Sun Mar  1 12:01:30 2026", timedelta(seconds=90)),
        ("Sun, 01 Mar 2026 11:00:00 GMT", timedelta(0)),
        ("-5", None),
        ("1.5", None),
        ("１２", None),
        ("soon", None),
        ("", None),
        ("9" * 10, None),
        ("Sun, 99 Mar 2026 12:01:30 GMT", None),
        ("x" * 1000, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, expected: timedelta | None) -> None:
    assert parse_retry_after(value, NOW) == expected


def test_a_retry_after_date_counts_from_now_in_any_zone() -> None:
    shanghai = NOW.astimezone(timezone(timedelta(hours=8)))
    assert parse_retry_after("Sun, 01 Mar 2026 12:00:10 GMT", shanghai) == timedelta(seconds=10)


def test_a_retry_after_date_may_name_another_zone_than_gmt() -> None:
    assert parse_retry_after("Sun, 01 Mar 2026 20:01:30 +0800", NOW) == timedelta(seconds=90)


def test_a_retry_after_of_more_than_64_characters_is_not_read() -> None:
    date = "Sun, 01 Mar 2026 12:01:30 GMT "
    assert parse_retry_after(date.ljust(64, "x"), NOW) == timedelta(seconds=90)
    assert parse_retry_after(date.ljust(65, "x"), NOW) is None


@given(st.text(max_size=80))
def test_no_text_in_retry_after_breaks_the_reader(value: str) -> None:
    result = parse_retry_after(value, NOW)
    assert result is None or result >= timedelta(0)
