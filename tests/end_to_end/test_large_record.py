"""A record that is too large for an event is not lost: it is in quarantine, whole."""

from __future__ import annotations

import json

from jianguan.clock import SystemClock
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually


def test_texts_of_a_megabyte_are_quarantined_whole_and_those_beside_them_are_taken(make: Make) -> None:
    system = make().start()
    at = SystemClock().now().isoformat()
    large = [json.dumps({**complaint(number, at), "text": "x" * 1_047_000}).encode() for number in range(5)]
    assert all(1_047_000 < len(each) <= 1024 * 1024 for each in large)
    response = system.post(b"\n".join([*large, json.dumps(complaint(9, at)).encode()]), "large")
    assert response.status_code == 202
    assert [row["code"] for row in response.json()["results"]] == ["too-large"] * 5 + [None]
    assert system.settled("large", 6, within=60) == {"accepted": 1, "quarantined": 5}
    kept = [each for each in system.items("/v1/quarantine", code="too-large") if each["submission"] == "large"]
    assert sorted(each["size"] for each in kept) == sorted(map(len, large))
    for each in kept:
        assert "at most 262144 are taken" in each["message"]
    again = system.http.post(f"{system.url}/v1/quarantine/{kept[0]['id']}/retry")
    assert again.status_code == 202
    receipt = again.json()["receipt"]

    def sizes() -> list[int]:
        items = system.items("/v1/quarantine", code="too-large")
        return [each["size"] for each in items if each["receipt"] == receipt]

    assert eventually(sizes, 30, "the record that was submitted again") == [kept[0]["size"]]
    assert system.stop() == 0
