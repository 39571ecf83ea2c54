"""Which worker gets which partitions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.assignor import Claim, TogetherAssignor, share

TOPICS = ("alerts", "commands", "complaints", "facts", "records")


def members(*claims: Claim) -> dict[str, Claim]:
    return {f"m{place}": claim for place, claim in enumerate(claims)}


CLAIMS = st.lists(
    st.builds(Claim, st.integers(0, 3), st.sets(st.integers(0, 20), max_size=12).map(sorted).map(tuple)),
    min_size=1,
    max_size=6,
)


@given(st.integers(0, 16), CLAIMS)
def test_every_number_has_one_owner_and_shares_are_even(count: int, claims: list[Claim]) -> None:
    shares = share(count, members(*claims))
    assert sorted(number for numbers in shares.values() for number in numbers) == list(range(count))
    sizes = [len(numbers) for numbers in shares.values()]
    assert max(sizes) - min(sizes) <= 1


def test_a_worker_that_joins_takes_only_its_share_and_the_others_keep_the_rest() -> None:
    before = share(8, members(Claim(), Claim()))
    claims = {member: Claim(1, tuple(sorted(numbers))) for member, numbers in before.items()}
    after = share(8, {**claims, "new": Claim()})
    assert all(after[member] < before[member] for member in before)
    assert len(after["new"]) == 2


def test_when_a_worker_leaves_the_others_keep_what_they_have() -> None:
    before = share(9, members(Claim(), Claim(), Claim()))
    claims = {member: Claim(4, tuple(sorted(numbers))) for member, numbers in before.items() if member != "m1"}
    after = share(9, claims)
    assert all(after[member] > before[member] for member in after)


def test_one_that_was_away_does_not_get_back_what_others_have_got_since() -> None:
    away, since = Claim(3, (0, 1, 2, 3)), Claim(5, (0, 1, 2, 3, 4, 5, 6, 7))
    assert share(8, {"away": away, "since": since})["since"] == {0, 1, 2, 3}


def shared_out(assignors: list[TogetherAssignor], width: int = 8) -> list[dict[str, tuple[int, ...]]]:
    """One rebalance of a group: what each gets of each topic."""
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda topic: set(range(width)))
    told = {f"m{place}": each.metadata(TOPICS) for place, each in enumerate(assignors)}
    given = assignors[0].assign(cluster, told)
    for place, each in enumerate(assignors):
        each.on_assignment(given[f"m{place}"])
    return [{topic: tuple(numbers) for topic, numbers in given[f"m{place}"].assignment} for place in range(len(told))]


def test_every_topic_is_shared_out_alike_whatever_the_number_of_workers() -> None:
    for workers in range(1, 8):
        for got in shared_out([TogetherAssignor() for _ in range(workers)]):
            assert len(set(got.values())) == 1, f"{workers} workers: {got}"
            assert set(got) == set(TOPICS)


def test_a_group_that_grows_and_shrinks_moves_no_more_than_it_must() -> None:
    group = [TogetherAssignor(), TogetherAssignor()]
    first = shared_out(group)
    group.append(TogetherAssignor())
    second = shared_out(group)
    for place in range(2):
        assert set(second[place]["facts"]) < set(first[place]["facts"])
    third = shared_out(group[:2])
    for place in range(2):
        assert set(third[place]["facts"]) > set(second[place]["facts"])
