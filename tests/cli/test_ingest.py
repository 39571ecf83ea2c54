"""The command: which files it takes, what it prints, how it ends. The server is a stand-in behind the real client."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from jianguan.cli import main
from tests.cli.test_upload import Server

HEADER = "unique_key,created_date,agency,complaint_type,descriptor,incident_address,street_name,intersection_street_1,"
HEADER += "intersection_street_2,landmark,status,borough,open_data_channel_type,latitude,longitude\n"
ROW = '{},2024-04-16T03:03:15.000,DOT,Street Condition,"Pot\nhole",,,133 AVENUE,231 STREET,,Open,QUEENS,'
ROW += "ONLINE,40.6,-73.7\n"
EVENT = {"id": "1", "source": "s", "kind": "complaint", "category": "other", "occurred_at": "2026-01-01T00:00:00Z"}

JOINING = """
mapping: m
source: s
kind: complaint
csv: {encoding: gb18030}
joins: {names: {key: 编号}}
fields:
  id: {column: 编号}
  category: {constant: other}
  occurred_at: {constant: 2026-01-01T00:00:00Z, zone: Asia/Shanghai}
  address: {column: 地址, from: names}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    stand_in = Server()
    client = functools.partial(httpx.AsyncClient, transport=httpx.MockTransport(stand_in))
    monkeypatch.setattr(httpx, "AsyncClient", client)
    return stand_in


def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
    given = ["ingest", *map(str, arguments), "--submission", "s", "--server", "127.0.0.1:1"]
    return CliRunner().invoke(main, given, input=stdin)


def test_a_csv_file_is_mapped_sent_and_accounted_for(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROW.format(1) + ROW.format(2) + ROW.format(1)).encode()))
    result = run(path, "--mapping", "new-york-311", "--json", "--batch", "2")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) | {"seconds": 0} == {
        "submission": "s", "read": 3, "sent": 3, "accepted": 2, "duplicate": 1, "late": 0, "quarantined": 0,
        "missing": 0, "complete": True, "seconds": 0,
    }  # fmt: skip
    assert json.loads(server.received[0][0])["tags"] == ["street-condition", "pot-hole", "dot"]


def test_lines_of_json_come_from_standard_input_as_they_are(server: Server) -> None:
    text = json.dumps(EVENT).encode()
    result = run("-", stdin=text + b"\n\n  \nbad\r\n")
    assert result.exit_code == 0
    assert server.received == [[text, b"bad"]]
    assert "jianguan quarantine list" in result.stderr
    assert "quarantined" in result.stdout


def test_the_name_of_an_upload_is_a_line_of_its_own_which_no_table_folds(server: Server) -> None:
    assert run("-", stdin=json.dumps(EVENT).encode()).stdout.startswith("submission s\n")


def test_a_byte_order_mark_before_lines_of_json_is_no_part_of_the_first(tmp_path: Path, server: Server) -> None:
    text = json.dumps(EVENT).encode()
    path = tmp_path / "rows.ndjson.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text + b"\n"))
    assert run(path).exit_code == 0
    assert server.received == [[text]]


@pytest.mark.parametrize(
    ("text", "line", "guess"),
    [
        ("# A heading\n", 1, "indented JSON (`jq -c .`)"),
        (json.dumps(EVENT, indent=2), 1, "indented JSON (`jq -c .`)"),
        ("\n\n" + json.dumps([EVENT]), 3, "a JSON array (`jq -c '.[]'`)"),
        ("id,source\n1,s\n", 1, "CSV (--mapping)"),
        ("[" * 100_000, 1, "a JSON array"),
    ],
)
def test_a_file_that_does_not_begin_with_an_event_on_a_line_is_refused_and_nothing_is_sent(
    tmp_path: Path, server: Server, text: str, line: int, guess: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    result = run(path)
    assert result.exit_code == 4
    assert f"{path}: line {line} is not one event a line; is it CSV (--mapping) or " in result.stderr
    assert guess in result.stderr
    assert server.received == []


def test_a_first_line_that_is_not_utf_8_is_sent_for_the_server_to_judge(server: Server) -> None:
    line = json.dumps({**EVENT, "text": "字"}, ensure_ascii=False).encode("gbk")
    assert run("-", stdin=line).exit_code == 0
    assert server.received == [[line]]


def test_an_upload_of_which_every_row_was_quarantined_ends_with_4(server: Server) -> None:
    server.refuses = lambda line: True
    result = run("-", "--json", stdin=json.dumps(EVENT).encode())
    assert result.exit_code == 4
    assert json.loads(result.stdout)["quarantined"] == 1


def test_an_upload_is_named_once_also_when_it_fails(server: Server) -> None:
    assert run("-", stdin=json.dumps(EVENT).encode()).output.count("submission s") == 1
    server.faults = [lambda: httpx.Response(401, json={"detail": "no token"})]
    assert run("-", stdin=json.dumps(EVENT).encode()).output.count("submission s") == 1


def test_an_upload_without_rows_ends_with_0(server: Server) -> None:
    assert run("-", stdin=b"\n").exit_code == 0


def test_a_record_that_is_too_long_is_still_counted(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b'{"id": "' + b"x" * 3_000_000 + b'"}\n' + json.dumps(EVENT).encode())
    assert run(path).exit_code == 0
    (lines,) = server.received
    assert list(json.loads(lines[0])) == ["record: longer than 1000000 bytes"]
    assert json.loads(lines[1]) == EVENT


def test_rows_that_are_not_recorded_end_in_exit_code_6(tmp_path: Path, server: Server) -> None:
    server.delay = 10**9
    path = tmp_path / "rows.ndjson"
    path.write_text(json.dumps(EVENT))
    result = run(path, "--patience", "0")
    assert result.exit_code == 6
    assert "1 rows are not recorded yet" in result.stderr


def test_a_damaged_archive_is_an_error_after_what_could_be_read(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "rows.ndjson.gz"
    path.write_bytes(gzip.compress(b"x" * 100_000)[:-20])
    result = run(path)
    assert result.exit_code == 4
    assert "cannot be read after" in result.stderr


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rows.csv", [], "needs --mapping"),
        ("rows.ndjson", ["--mapping", "new-york-311"], "takes no --mapping"),
        ("rows.csv", ["--mapping", "new-york-311", "--join", "x=y"], "NAME=FILE"),
        ("rows.csv", ["--mapping", "new-york-311", "--submission", "No Slug"], "small letters"),
    ],
)
def test_a_wrong_call_is_explained(tmp_path: Path, name: str, options: list[str], message: str) -> None:
    (tmp_path / name).write_text("")
    result = CliRunner().invoke(main, ["ingest", str(tmp_path / name), *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_dry_run_says_what_would_be_quarantined_and_asks_no_server(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + ROW.format(1) + ROW.format(2).replace("2024-04-16T03:03:15.000", "yesterday"))
    result = CliRunner().invoke(main, ["ingest", str(path), "--mapping", "new-york-311", "--dry-run"])
    assert result.exit_code == 0
    assert "2 rows, 1 of them would be quarantined" in result.stdout
    assert "1 rows: column created_date: the cell is not a date" in result.stderr


def test_a_dry_run_checks_lines_of_json_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_text(json.dumps(EVENT) + "\n{}\n")
    result = CliRunner().invoke(main, ["ingest", str(path), "--dry-run", "--json"])
    assert json.loads(result.stdout)["refused"] == 1
    assert result.exit_code == 0
    path.write_text("{}\n")
    assert CliRunner().invoke(main, ["ingest", str(path), "--dry-run"]).exit_code == 4


def test_a_dry_run_takes_what_the_server_takes(tmp_path: Path) -> None:
    event = {name: value for name, value in EVENT.items() if name != "kind"}
    attributes = {"specversion": "1.0", "id": "2", "source": "s", "type": "cn.jianguan.violation.v1"}
    rows = [
        event,
        {**event, "kind": "violation", "result": "pass"},
        {**attributes, "data": {**event, "result": "pass"}},
        {**attributes, "data": event},
        {**event, "result": "pass"},
        {**event, "kind": "violaton"},
    ]
    path = tmp_path / "rows.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)))
    result = CliRunner().invoke(main, ["ingest", str(path), "--dry-run", "--json"])
    assert json.loads(result.stdout)["read"] == 6
    assert list(json.loads(result.stdout)["reasons"].values()) == [1, 1, 1]
    said = list(json.loads(result.stdout)["reasons"])
    assert said[0] == "result: is required"
    assert "set kind" in said[1]
    assert "violation" in said[2]


def test_a_second_file_is_joined(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("32,Inspection_ID\n1.0,7.0\n")
    header = "Inspection_ID,DBA_Name,License,Risk,Address,Inspection_Date,Inspection_Type,Results,Latitude,Longitude,"
    header += "Facility_Type_Clean,criticalCount,seriousCount,minorCount\n"
    (tmp_path / "rows.csv").write_text(header + "7,A,1.0,Risk 1,,2013-01-31,Canvass,Pass,,,Other,0,0,0\n")
    arguments = ["ingest", str(tmp_path / "rows.csv"), "--mapping", "chicago-food-inspections", "--dry-run"]
    joined = [*arguments, "--join", f"codes={tmp_path / 'codes.csv'}"]
    assert CliRunner().invoke(main, joined).exit_code == 0
    wrong = CliRunner().invoke(main, [*arguments, "--join", f"codes={tmp_path / 'rows.csv'}"])
    assert wrong.exit_code == 0
    (tmp_path / "codes.csv").write_text("a\n1\n")
    assert "no column Inspection_ID" in CliRunner().invoke(main, joined).stderr


def test_a_second_file_has_the_encoding_of_the_first(tmp_path: Path, server: Server) -> None:
    (tmp_path / "m.yaml").write_text(JOINING)
    (tmp_path / "rows.csv").write_bytes("编号\n1\n".encode("gb18030"))
    (tmp_path / "names.csv").write_bytes("编号,地址\n1,浦东新区\n".encode("gb18030"))
    joined = ["--join", f"names={tmp_path / 'names.csv'}"]
    assert run(tmp_path / "rows.csv", "--mapping", tmp_path / "m.yaml", *joined).exit_code == 0
    assert json.loads(server.received[0][0])["address"] == "浦东新区"


def test_a_second_file_that_is_cut_off_is_told_by_its_name(tmp_path: Path, server: Server) -> None:
    (tmp_path / "m.yaml").write_text(JOINING)
    (tmp_path / "rows.csv").write_bytes("编号\n1\n".encode("gb18030"))
    names = tmp_path / "names.csv.gz"
    names.write_bytes(gzip.compress("编号,地址\n1,浦东新区\n".encode("gb18030"))[:-9])
    result = run(tmp_path / "rows.csv", "--mapping", tmp_path / "m.yaml", "--join", f"names={names}")
    assert result.exit_code == 4
    assert f"{names} cannot be read: " in result.stderr
    assert server.received == []
