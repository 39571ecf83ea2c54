"""A row gives exactly one record: an event that the contract takes, or one that it refuses with the column's name."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jianguan.domain.contract import WIRE
from jianguan.errors import InputError, SourceError
from jianguan.mappings import BadRow, Mapped, bind, library_names, load_mapping, parse_mapping, read_rows
from jianguan.mappings.apply import JoinedRows
from jianguan.mappings.shape import slug_of, whole_number

HEAD = "mapping: t\nsource: s\nkind: {kind}\nzone: {zone}\n{more}fields:\n"
BASE = {"id": "{column: Id}", "category": "{constant: other}", "occurred_at": "{constant: '2024-01-02T03:04:05'}"}


def mapped(
    row: dict[str, str], kind: str = "complaint", more: str = "", zone: str = "Asia/Shanghai", **fields: str
) -> Mapped:
    lines = "".join(f"  {name}: {text}\n" for name, text in {**BASE, **fields}.items())
    mapping = parse_mapping(HEAD.format(kind=kind, more=more, zone=zone) + lines, "m.yaml")
    row = {"Id": "7", **row}
    return bind(mapping, list(row)).map(list(row.values()))


def field(expression: str, cell: str, name: str = "address") -> Any:
    result = mapped({"C": cell}, **{name: expression})
    assert not result.problems, result.problems
    return result.record.get(name)


@pytest.mark.parametrize(
    ("expression", "cell", "value"),
    [
        ("{column: C}", "  a  b ", "a  b"),
        ("{column: C, case: title}", "JOE'S GRILL 2ND", "Joe's Grill 2Nd"),
        ("{column: C, case: lower}", "ABC", "abc"),
        ("{column: C, number: true}", "30790.0", "30790"),
        ("{column: C, number: true, missing: [0]}", "0.0", None),
        ("{column: C, missing: [N/A]}", "N/A", None),
        ("{column: C, missing: [N/A], default: none}", "N/A", "none"),
        ("{column: C}", "   ", None),
        ("{column: C, lookup: {A: x, b*: y, bb*: z, '*': w}}", "a", "x"),
        ("{column: C, lookup: {A: x, b*: y, bb*: z, '*': w}}", "Bc", "y"),
        ("{column: C, lookup: {A: x, b*: y, bb*: z, '*': w}}", "bbc", "z"),
        ("{column: C, lookup: {A: x, b*: y, bb*: z, '*': w}}", "q", "w"),
        ("{template: '{Id}-{C}'}", "9", "7-9"),
        ("{template: '{Id}-{C}', default: none}", "", "none"),
        ("{template: 'ward-{n}', with: {n: {column: C, number: true}}}", "20.0", "ward-20"),
        ("{first: [{column: C}, {column: Id}]}", "", "7"),
    ],
)
def test_a_value_is_shaped_step_by_step(expression: str, cell: str, value: str | None) -> None:
    assert field(expression, cell) == value


@pytest.mark.parametrize(
    ("form", "zone", "cell", "value"),
    [
        ("iso", "America/Chicago", "2013-01-31", "2013-01-31T00:00:00-06:00"),
        ("iso", "America/Chicago", "2013-07-31T10:00:00.000", "2013-07-31T10:00:00-05:00"),
        ('"%d/%m/%Y %H:%M"', "Asia/Shanghai", "31/12/2023 08:05", "2023-12-31T08:05:00+08:00"),
        ('["%Y/%m/%d", iso]', "Asia/Shanghai", "2023-12-31T08:05:00Z", "2023-12-31T08:05:00+00:00"),
        # In the hour that comes twice the first is meant.
        ("iso", "America/New_York", "2024-11-03T01:30:00", "2024-11-03T01:30:00-04:00"),
    ],
)
def test_a_date_gets_the_offset_of_its_zone_on_that_day(form: str, zone: str, cell: str, value: str) -> None:
    result = mapped({"C": cell}, zone=zone, occurred_at=f"{{column: C, date: {form}}}")
    assert result.record["occurred_at"] == value


def test_money_is_counted_in_fen() -> None:
    assert field("{column: C, unit: yuan}", "1,234.56", "amount_fen") == 123456
    assert field("{column: C}", "78.0", "amount_fen") == 78
    assert mapped({"C": "0.001"}, amount_fen="{column: C, unit: yuan}").problems


@pytest.mark.parametrize("cell", ["9e999999", "1e9999999", "-1e9999999", "1e99999999999999999999"])
def test_a_number_beyond_all_reckoning_is_refused_and_ends_nothing(cell: str) -> None:
    assert mapped({"C": cell}, amount_fen="{column: C, unit: yuan}").problems
    assert mapped({"C": cell}, amount_fen="{column: C}").problems
    assert mapped({"C": cell}, address="{column: C, number: true}").problems


def test_the_composed_fields_are_put_together() -> None:
    result = mapped(
        {"L": "30790.0", "N": "SEVEN STAR", "Y": "41.9", "X": "-87.6", "T": "Garbage in yard", "P": "13800000000"},
        enterprise="{scheme: us-chi-licence, id: {column: L, number: true}, name: {column: N}}",
        position="{latitude: {column: Y}, longitude: {column: X}}",
        reporter="{phone: {column: P}}",
        tags="[{column: T}, {constant: Garbage in yard}, {column: P}]",
        more="historical: true\n",
    )
    assert result.record["enterprise"] == {"scheme": "us-chi-licence", "id": "30790", "name": "SEVEN STAR"}
    assert result.record["position"] == {"latitude": 41.9, "longitude": -87.6}
    assert result.record["reporter"] == {"phone": "13800000000"}
    assert result.record["tags"] == ["garbage-in-yard", "13800000000"]
    assert result.record["historical"] is True


def test_a_name_without_an_id_is_no_enterprise() -> None:
    fields = {"enterprise": "{scheme: us-chi-licence, id: {column: L}, name: {column: N}}"}
    result = mapped({"L": "", "N": "SEVEN STAR"}, **fields)
    assert not result.problems
    assert "enterprise" not in result.record


@pytest.mark.parametrize(
    ("row", "fields", "column", "message"),
    [
        ({"Id": " "}, {}, "Id", "the cell is blank"),
        ({"C": "yesterday"}, {"occurred_at": "{column: C}"}, "C", "not a date"),
        ({"C": "x"}, {"address": "{column: C, lookup: {a: b}}"}, "C", "not in the lookup table"),
        ({"C": "x"}, {"address": "{column: C, number: true}"}, "C", "not a whole number"),
        ({"C": ""}, {"address": "{column: C, required: true}"}, "C", "blank"),
        ({"C": "餐馆"}, {"category": "{column: C}"}, "C", "no Latin letter"),
        ({"C": "x" * 301}, {"address": "{column: C}"}, "C", "at most 300"),
        ({"C": "a\x00b"}, {"address": "{column: C}"}, "C", "control characters"),
        ({"C": "a\udcffb"}, {"address": "{column: C}"}, "C", "not UTF-8"),
        ({"C": "91", "D": "1"}, {"position": "{latitude: {column: C}, longitude: {column: D}}"}, "C, D", "90"),
        ({"C": "1", "D": ""}, {"position": "{latitude: {column: C}, longitude: {column: D}}"}, "C, D", "missing"),
        ({"C": "nan", "D": "1"}, {"position": "{latitude: {column: C}, longitude: {column: D}}"}, "C", "number"),
    ],
)
def test_a_row_that_cannot_be_mapped_is_refused_in_the_name_of_its_column(
    row: dict[str, str], fields: dict[str, str], column: str, message: str
) -> None:
    result = mapped(row, **fields)
    assert result.problems[0].column == column
    assert message in result.problems[0].message
    with pytest.raises(ValidationError) as caught:
        WIRE.validate_json(result.encoded)
    assert any(f"column {column}: " in str(problem["loc"]) for problem in caught.value.errors()[:5])


@pytest.mark.parametrize("text", ["𠮷野家", "😀", r"C:\udir"])
def test_only_the_columns_whose_bytes_cannot_be_read_are_named(text: str) -> None:
    result = mapped({"A": text, "B": "b\udcff"}, address="{column: A}", product="{column: B}")
    assert [problem.column for problem in result.problems] == ["B"]


def test_a_refused_record_holds_the_row_as_it_was() -> None:
    result = mapped({"C": "yesterday"}, occurred_at="{column: C}")
    assert result.record["row"] == {"Id": "7", "C": "yesterday"}
    assert result.record["id"] == "7"


def test_a_refused_record_holds_the_cells_of_columns_without_a_name_of_their_own_too() -> None:
    text = HEAD.format(kind="complaint", zone="Asia/Shanghai", more="")
    mapping = parse_mapping(text + "".join(f"  {name}: {value}\n" for name, value in BASE.items()), "m.yaml")
    question = "Please say in your own words what happened, " * 3
    bound = bind(mapping, ["Id", "", "", f"{question} first", f"{question} then"])
    held = bound.map(BadRow("", list("abcdef"))).record["row"]
    assert list(held.values()) == list("abcdef")
    assert list(held)[:3] == ["Id", "cell 2", "cell 3"]


def test_a_row_that_is_not_wanted_is_refused_and_not_dropped() -> None:
    more = "refuse_when: [{column: C, is: [test], reason: it is a test record}]\n"
    result = mapped({"C": "test"}, more=more)
    assert result.problems[0].message == "it is a test record"
    assert not mapped({"C": "real"}, more=more).problems


def test_a_column_that_the_file_lacks_is_an_error_before_the_first_row() -> None:
    mapping = load_mapping("new-york-311")
    with pytest.raises(SourceError, match=r"has no column unique_key .*did you mean unique_keys") as caught:
        bind(mapping, ["unique_keys", "created_date"])
    assert caught.value.line > 1


def test_rows_of_a_second_file_are_joined_by_their_number() -> None:
    text = HEAD.format(kind="complaint", zone="Asia/Shanghai", more="joins: {codes: {key: Id, column: Nr}}\n")
    text += "".join(f"  {name}: {expression}\n" for name, expression in BASE.items())
    text += "  address: {column: Street, from: codes}\n  tags: [{flags: codes, value: '1.0', prefix: code-}]\n"
    mapping = parse_mapping(text, "m.yaml")
    rows: list[list[str] | BadRow] = [
        ["7.0", "Main", "1.0"],
        BadRow("", []),
        ["8", "No", "0"],
        ["7", "of two the first", "0"],
    ]
    joined = JoinedRows.of(["Nr", "Street", "32"], rows, "Nr")
    bound = bind(mapping, ["Id"], {"codes": joined})
    assert bound.map(["7"]).record["address"] == "Main"
    assert bound.map(["7"]).record["tags"] == ["code-32"]
    assert "tags" not in bound.map(["8"]).record
    assert "address" not in bound.map(["9"]).record
    assert "address" not in bind(mapping, ["Id"]).map(["7"]).record  # the second file was not given


def test_bad_rows_are_handed_on_and_blank_lines_are_no_rows() -> None:
    header, rows = read_rows(io.StringIO('\ufeffa,b\r\n1,"x\ny"\r\n\r\n1\r\n1,2,3\r\n', newline=""))
    assert header == ["a", "b"]
    found = list(rows)
    assert found[0] == ["1", "x\ny"]
    assert [isinstance(row, BadRow) for row in found] == [False, True, True]
    assert "1 cells and the header 2" in getattr(found[1], "message", "")


def test_a_cell_without_end_spoils_its_row_and_not_the_file() -> None:
    text = "a,b\n1," + "x" * 200_000 + "\n1,2\n"
    _, rows = read_rows(io.StringIO(text, newline=""))
    assert [isinstance(row, BadRow) for row in rows] == [True, False]


@pytest.mark.parametrize("below", [3, 20_000])  # the end of the file, or the longest cell, is reached first
def test_a_quote_that_is_never_closed_takes_no_other_row_with_it(below: int) -> None:
    others = [[str(number), 'say ""x""'] for number in range(below)]
    lines = ["a,b", '1,"fine, y"', '2,"open', *(",".join(cells) for cells in others)]
    _, rows = read_rows(io.StringIO("\r\n".join(lines), newline=""))
    fine, spoilt, *rest = rows
    assert fine == ["1", "fine, y"]
    assert isinstance(spoilt, BadRow)
    assert spoilt.cells == ["2", '"open']
    assert rest == others


def test_a_row_that_cannot_be_read_as_csv_is_kept_as_it_was() -> None:
    cell = "x" * 200_000
    _, rows = read_rows(io.StringIO(f"a;b\n1;{cell}\n", newline=""), ";")
    (spoilt,) = rows
    assert isinstance(spoilt, BadRow)
    assert spoilt.cells == ["1", cell]


@pytest.mark.parametrize("text", ["", "\n\n", "a,a\n", ",,\n"])
def test_a_file_without_a_usable_header_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_rows(io.StringIO(text, newline=""))


def test_a_slug_is_cut_between_words() -> None:
    assert slug_of("Café  d'Été & Co.") == "cafe-dete-co"
    assert slug_of("word " * 20) == "-".join(["word"] * 13)[:64].rstrip("-")
    assert len(slug_of("x" * 100)) == 64
    assert slug_of("——") == ""


@given(st.integers(-(10**29), 10**29))
def test_a_whole_number_is_read_with_or_without_a_point(number: int) -> None:
    assert whole_number(str(number)) == whole_number(f"{number}.0") == str(number)


ODD = ["", "0", "20.0", "1e999", "-1e-999", "nan", "inf", "2013-01-31", "0001-01-01", "9999-12-31T23:59:59", "Fail"]
CELLS = st.text(max_size=20) | st.sampled_from([*ODD, "\udcff", "BRONX"]) | st.floats().map(str)
HEADERS = {
    "chicago-food-inspections": "Inspection_ID,DBA_Name,License,Risk,Address,Inspection_Date,Inspection_Type,Results,"
    "Latitude,Longitude,Facility_Type_Clean,criticalCount,seriousCount,minorCount",
    "chicago-sanitation-complaints": "Creation_Date,Status,Service_Request_Number,Ward,Street_Address,Latitude,"
    "Longitude,What_is_the_Nature_of_this_Code_Violation",
    "new-york-311": "unique_key,created_date,agency,complaint_type,descriptor,incident_address,street_name,"
    "intersection_street_1,intersection_street_2,landmark,status,borough,open_data_channel_type,latitude,longitude",
}


@pytest.mark.parametrize("name", library_names())
@given(data=st.data())
def test_any_row_gives_one_record_that_the_contract_takes_or_refuses_as_announced(
    name: str, data: st.DataObject
) -> None:
    header = HEADERS[name].split(",")
    row = data.draw(st.lists(CELLS, min_size=len(header), max_size=len(header)))
    result = BOUND[name].map(row)
    assert b"\n" not in result.encoded
    assert json.loads(result.encoded) == result.record
    try:
        WIRE.validate_json(result.encoded)
        taken = True
    except ValidationError:
        taken = False
    assert taken == (not result.problems)


BOUND = {name: bind(load_mapping(name), header.split(",")) for name, header in HEADERS.items()}
