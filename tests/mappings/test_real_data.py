"""The shipped mappings over all the real rows: every row becomes an event that is admitted, and the counts add up."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from jianguan.domain.contract import WIRE
from jianguan.domain.regions import Regions
from jianguan.mappings import bind, load_mapping, read_rows
from jianguan.mappings.apply import JoinedRows

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real input is not beside the checkout"),
]


def mapped(name: str, file: str, **joins: str) -> list[bytes]:
    mapping = load_mapping(name)
    joined = {}
    for join, path in joins.items():
        with gzip.open(DATA / path, "rt", encoding="utf-8", newline="") as lines:
            header, rows = read_rows(lines)
            joined[join] = JoinedRows.of(header, rows, mapping.joins[join].column)
    records = []
    with gzip.open(DATA / file, "rt", encoding="utf-8", newline="") as lines:
        header, rows = read_rows(lines)
        bound = bind(mapping, header, joined)
        for row in rows:
            result = bound.map(row)
            assert not result.problems, result.problems
            WIRE.validate_json(result.encoded)
            records.append(result.encoded)
    return records


@pytest.mark.slow
def test_all_sanitation_complaints_of_chicago_are_mapped() -> None:
    records = [
        json.loads(each) for each in mapped("chicago-sanitation-complaints", "chicago/sanitation_complaints.csv.gz")
    ]
    assert len(records) == 74_401
    assert sum(record["status"].endswith("-dup") for record in records) == 3_633
    assert sum("position" in record for record in records) == 74_377
    assert Counter(record["region"] for record in records)["us-chi:chicago"] == 7  # four blank, three of ward 0
    # 375 request numbers come again: most differ only in the day of completion, which is not mapped.
    contents: dict[str, set[str]] = defaultdict(set)
    for record in records:
        contents[record["id"]].add(json.dumps(record, sort_keys=True))
    assert len(records) - len(contents) == 375
    assert sum(len(different) > 1 for different in contents.values()) == 6
    check_regions({record["region"] for record in records})


@pytest.mark.slow
def test_all_food_inspections_of_chicago_are_mapped_with_their_codes_and_wards() -> None:
    records = [
        json.loads(each)
        for each in mapped(
            "chicago-food-inspections",
            "chicago/food_inspections.csv.gz",
            codes="chicago/violation_codes.csv.gz",
            licences="chicago/business_licences.csv.gz",
        )
    ]
    assert len(records) == len({record["id"] for record in records}) == 27_600
    assert len({record["enterprise"]["id"] for record in records}) == 12_367
    results = Counter(record["result"] for record in records)
    assert results == {"pass": 18_494, "fail": 5_455, "conditional": 3_651}
    assert records[0]["enterprise"] == {"scheme": "us-chi-licence", "id": "30790", "name": "SEVEN STAR"}
    assert {"code-32", "code-40"} <= set(records[0]["tags"])
    assert records[0]["region"] == "us-chi:ward-44"
    check_regions({record["region"] for record in records})


def test_all_requests_to_new_york_are_mapped() -> None:
    records = [json.loads(each) for each in mapped("new-york-311", "nyc311/service_requests.csv.gz")]
    assert len(records) == len({record["id"] for record in records}) == 1_000
    categories = Counter(record["category"] for record in records)
    assert (categories["housing"], categories["noise"], categories["street"]) == (370, 328, 241)
    assert categories["other"] < 50
    check_regions({record["region"] for record in records})


def check_regions(codes: set[str]) -> None:
    regions = Regions.load()
    for code in codes:
        assert regions.normalise(code) == code
