"""trace and quarantine: what people see of the server's answers, and what they never see."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from jianguan.cli import main
from jianguan.cli.render import cell, grid, in_english, moment
from tests.cli.conftest import Answer

HISTORY = {
    "asked": "al-1",
    "kind": "alert",
    "steps": [
        {"id": "st-1", "subject": "ev-1", "at": 1767225600000, "stage": 1, "what": "accepted", "actor": "system",
         "links": ["ft-1"], "detail": '{"by": "rule"}'},
        {"id": "st-2", "subject": "al-1", "at": "2026-01-01T00:00:01Z", "stage": 2, "what": "raised",
         "actor": "system", "links": [], "detail": "{}"},
    ],
    "events": [{"event": {"id": "ev-1", "kind": "complaint", "category": "food-safety", "occurred_at": 1767225600000,
                          "enterprise_name": "[red]好味餐饮[/red]\u001b[2J", "region": "cn:310115",
                          "text": "我吃坏了", "reporter": "hash", "demand": "电话 13812345678"},
                "text_length": 4, "rules": ["food-poisoning-cluster"]}],
    "alerts": [{"id": "al-1", "severity": "critical", "title_zh": "聚集性食物中毒", "rule": "food-poisoning-cluster",
                "version": 1, "values": {"count": 6.0}, "event_count": 6, "raised_at": 1767225601000}],
    "cases": [{"id": "ca-1", "state": "open", "title_zh": "案", "lead": "samr", "opened_at": 1, "due_at": None}],
    "tasks": [{"id": "ta-1", "department": "health", "role": "assist", "state": "assigned", "overdue": True}],
    "deliveries": [{"id": "dl-1", "receiver": "r", "kind": "alert.raised", "state": "pending", "attempt": 2}],
    "quarantine": [],
    "truncated": True,
}  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--server", "127.0.0.1:1"], env={"COLUMNS": "240"})


def test_an_id_without_its_prefix_is_shown_with_it(serve: Callable[[Answer], None]) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={**HISTORY, "kind": "case", "asked": "ca-" + "5" * 24})

    serve(answer)
    result = run("trace", "5" * 24)
    assert asked == ["/v1/history/" + "5" * 24]
    assert result.output.startswith("case ca-" + "5" * 24)


def test_a_history_is_shown_as_a_timeline(serve: Callable[[Answer], None]) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json=HISTORY)

    serve(answer)
    result = run("trace", "uscc:91/1?x")
    assert result.exit_code == 0, result.output
    assert asked == [b"/v1/history/uscc:91%2F1%3Fx"]
    assert result.output.index("accepted") < result.output.index("raised", result.output.index("steps"))
    for text in ("聚集性食物中毒", "count 6", "overdue", "[red]好味餐饮[/red]", "There is more"):
        assert text in result.output


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_personal_data_and_control_characters_are_not_shown(
    serve: Callable[[Answer], None], options: list[str]
) -> None:
    serve(lambda request: httpx.Response(200, json=HISTORY))
    output = run("trace", "al-1", *options).output
    assert "我吃坏了" not in output
    assert "\x1b[2J" not in output


def test_a_history_as_json_can_be_read_by_a_program(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(200, json=HISTORY))
    body = json.loads(run("trace", "al-1", "--json").output)
    assert body["alerts"] == HISTORY["alerts"]
    assert "text" not in body["events"][0]["event"]
    assert "13812345678" not in body["events"][0]["event"]["demand"]


def test_an_id_that_nobody_knows_is_exit_code_4(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(404, json={"code": "unknown-id", "detail": "nothing is known by that name"}))
    result = run("trace", "al-9")
    assert result.exit_code == 4
    assert "nothing is known by that name" in result.stderr


RECORD: dict[str, Any] = {"id": "qu-1", "at": 1767225600000, "code": "missing", "field": "occurred_at", "size": 9}
RECORD |= {"message": "column Date: the cell is blank", "state": "quarantined", "raw": "secret", "topic": "complaints"}


def test_quarantined_records_are_listed_by_reason(serve: Callable[[Answer], None]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"code": "missing", "limit": "100"}
        return httpx.Response(200, json={"items": [RECORD]})

    serve(answer)
    result = run("quarantine", "list", "--code", "missing")
    assert "column Date: the cell is blank" in result.output
    assert json.loads(run("quarantine", "list", "--code", "missing", "--json").output)[0]["id"] == "qu-1"


def test_an_empty_quarantine_says_so(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(200, json={"items": []}))
    assert "nothing is quarantined" in run("quarantine", "list").output


def test_one_record_is_shown_without_its_content(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(200, json=RECORD))
    output = run("quarantine", "show", "qu-1").output
    assert "occurred_at" in output
    assert "secret" not in output


def test_every_record_is_retried_and_a_failure_is_told(serve: Callable[[Answer], None]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        if "qu-2" in request.url.path:
            return httpx.Response(409, json={"detail": "it was retried before"})
        return httpx.Response(202, json={"id": request.url.path.split("/")[3], "receipt": "r1"})

    serve(answer)
    result = run("quarantine", "retry", "qu-1", "qu-2", "qu-3")
    assert result.exit_code == 4
    assert result.output.count("submitted again") == 2
    assert "it was retried before" in result.output


IDENTIFIERS = ("qu-00112233445566778899aabb", "bad-check-digit", "ingest-5c0e4b1a9d37")
LONG = RECORD | dict(zip(("id", "code", "submission"), IDENTIFIERS, strict=True)) | {"message": "very " * 30 + "long"}


def test_in_a_pipe_every_record_is_one_line_however_narrow_the_terminal(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(200, json={"items": [LONG]}))
    arguments = ["quarantine", "list", "--server", "127.0.0.1:1"]
    output = CliRunner().invoke(main, arguments, env={"COLUMNS": "80"}).output
    (line,) = [line for line in output.splitlines() if "qu-" in line]
    for text in (*IDENTIFIERS, LONG["message"], moment(LONG["at"])):
        assert text in line


@pytest.mark.parametrize("width", [60, 80, 120, 300])
def test_ids_times_codes_and_hashes_are_in_one_piece_at_any_width(width: int) -> None:
    columns = ("time", "id", "code", "message", "submission", "content")
    values = (moment(LONG["at"]), *IDENTIFIERS[:2], LONG["message"], IDENTIFIERS[2], "0123456789abcdef" * 2)
    console = Console(width=width, file=io.StringIO())
    console.print(grid("quarantine", columns, [[cell(value) for value in values]]))
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    for name, value in zip(columns, values, strict=True):
        if name != "message":
            assert value in output, name
    assert output.count("very") == 30
    assert max(map(len, output.splitlines())) <= width


def test_times_are_read_in_both_spellings() -> None:
    assert moment(1767225600000, UTC) == moment("2026-01-01T00:00:00Z", UTC) == "2026-01-01 00:00:00 +0000"
    assert moment(None) == ""
    assert moment("soon") == "soon"
    assert moment(10**30) == str(10**30)


def test_a_law_that_is_named_in_two_languages_is_shown_in_english() -> None:
    assert in_english('{"zh": "第十四条", "en": "art. 14"}') == "art. 14"
    for text in ("art. 14", "{broken", '{"zh": "第十四条"}', None):
        assert in_english(text) == text


def test_a_cell_is_plain_text() -> None:
    assert str(cell(["a", 1, "\x07"])) == "a, 1, \N{REPLACEMENT CHARACTER}"
    assert str(cell(None)) == ""
