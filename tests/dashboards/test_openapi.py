"""The committed description of the API is the one that the code gives."""

from __future__ import annotations

from dashboards.openapi import describe, main


def test_the_committed_description_is_current() -> None:
    assert main(["--check"]) == 0


def test_pages_are_not_part_of_it_and_every_route_has_a_summary() -> None:
    paths = describe()["paths"]
    assert all(path.startswith(("/v1/", "/healthz", "/readyz", "/metrics")) for path in paths)
    assert all(operation.get("summary") for methods in paths.values() for operation in methods.values())
