"""explain, backtest, versions and approve: what is asked of the server, and what people see of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from dashboards.rule_shapes import explanation_view, history_view, report_view, warm_view
from jianguan.cli import main, rule_output
from jianguan.domain.hindsight import BacktestRequest
from tests.cli.conftest import Answer
from tests.dashboards.fakes import CLUSTER, DAY
from tests.dashboards.rule_fakes import NOW, FakeTools, explanation, report

EXPLANATION = explanation_view(explanation(CLUSTER, "ev-1")).model_dump(mode="json")
REPORT = report_view(report(BacktestRequest(CLUSTER, NOW - 28 * DAY, NOW))).model_dump(mode="json")
VERSIONS = history_view(FakeTools().history(CLUSTER)).model_dump(mode="json")


def run(*arguments: str, server: bool = True) -> Result:
    where = ["--server", "127.0.0.1:1"] if server else []
    return CliRunner().invoke(main, ["rules", *arguments, *where], env={"COLUMNS": "240", "TZ": "Asia/Shanghai"})


def test_an_explanation_is_shown_with_values_and_distances(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(200, json=EXPLANATION))
    result = run("explain", CLUSTER, "ev-1")
    assert result.exit_code == 0, result.output
    for text in ("below: the event counts", "lacks 2", "reached", "12 characters, hidden", "lacks severity",
                 "no value division by zero", "region.county = missing", "1 facts"):  # fmt: skip
        assert text in result.output, text
    assert json.loads(run("explain", CLUSTER, "ev-1", "--json").output) == EXPLANATION


def test_an_older_version_is_asked_for(serve: Callable[[Answer], None]) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(404, json={"code": "unknown-rule", "detail": "there is no version 7"})

    serve(answer)
    result = run("explain", CLUSTER, "ev-1", "--version", "7")
    assert result.exit_code == 4
    assert "there is no version 7" in result.output
    assert asked == [f"http://127.0.0.1:1/v1/rules/{CLUSTER}/explain/ev-1?version=7"]


def job(state: str, done: int, **more: Any) -> dict[str, Any]:
    return {"id": "cm-1", "rule": CLUSTER, "state": state, "done": done, "of": 10, "error": "", "report": None, **more}


def test_a_backtest_is_followed_and_drawn(serve: Callable[[Answer], None], tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text("id: draft", encoding="utf-8")
    answers = iter([job("waiting", 0), job("running", 5), job("done", 10, report=REPORT)])
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            bodies.append(json.loads(request.content))
        return httpx.Response(200, json=next(answers))

    serve(answer)
    result = run("backtest", str(draft), "--from", "2026-01-01", "--to", "2026-01-31", "--against", "2")
    assert result.exit_code == 0, result.output
    for text in ("5 alerts of 3 groups", "beside v2 with 4 alerts: 3 the same, 2 more, 1 fewer", "market-regulation",
                 "1.2", "hidden"):  # fmt: skip
        assert text in result.output, text
    (body,) = bodies
    assert (body["text"], body["rule"], body["against"]) == ("id: draft", "", 2)
    assert body["until"] - body["since"] == 31 * DAY


@pytest.mark.parametrize(
    ("last", "said"),
    [(job("failed", 5, error="the store is gone"), "the store is gone"), (job("cancelled", 5), "was cancelled")],
)
def test_a_backtest_that_ends_otherwise_says_so(serve: Callable[[Answer], None], last: Any, said: str) -> None:
    serve(lambda request: httpx.Response(200, json=last))
    result = run("backtest", CLUSTER)
    assert result.exit_code == 1
    assert said in result.output


def test_a_fault_in_a_rule_that_is_tried_is_told_with_its_file(serve: Callable[[Answer], None], tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text("id: draft", encoding="utf-8")
    detail = "1:1: the key on is missing\n8:38: there is no field x"
    serve(lambda request: httpx.Response(422, json={"code": "broken-rule", "detail": detail}))
    result = run("backtest", str(draft))
    assert result.exit_code == 4
    assert f"{draft}:1:1: the key on is missing\n{draft}:8:38: there is no field x" in result.output
    draft.write_bytes("id: 草稿".encode("gbk"))
    result = run("backtest", str(draft))
    assert result.exit_code == 4
    assert f"{draft}:1:1: not UTF-8" in result.output


def test_an_interrupted_backtest_is_cancelled(serve: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch) -> None:
    methods = []

    def answer(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        return httpx.Response(200, json=job("running", 5))

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    serve(answer)
    monkeypatch.setattr("jianguan.cli.rules.time.sleep", interrupted)
    assert run("backtest", CLUSTER).exit_code == 130
    assert methods == ["POST", "DELETE"]


def test_a_chart_has_a_line_for_each_stretch_of_time() -> None:
    lines = list(rule_output.chart(REPORT))
    assert len(lines) == 2
    assert lines[0] == f"2026-11-23 {'█' * 38}{'░' * 12} 3 (4)"
    assert lines[1].endswith(f"{'█' * 25} 2 (0)")
    empty = {**REPORT, "buckets": [{"start": "2026-01-01T00:00:00Z", "alerts": 0, "against": 0}], "against": None}
    assert [line.split()[-1] for line in rule_output.chart(empty)] == ["0"]


def test_what_history_has_for_a_rule_is_shown(serve: Callable[[Answer], None]) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json=warm_view(FakeTools().warm(CLUSTER)).model_dump(mode="json"))

    serve(answer)
    result = run("warm", CLUSTER)
    assert result.exit_code == 0, result.output
    assert asked == [f"/v1/rules/{CLUSTER}/warm"]
    for text in ("40 facts in 7 groups, of 1,200 events", "licence:1", "hidden"):
        assert text in result.output


def test_versions_are_listed_with_their_texts(serve: Callable[[Answer], None]) -> None:
    serve(lambda request: httpx.Response(200, json=VERSIONS))
    result = run("versions", CLUSTER, "--text")
    assert result.exit_code == 0, result.output
    for text in ("wang", "太多误报", "9f3c2a17d0b4e856", "version: 2"):
        assert text in result.output


def test_an_approval_is_sent_and_what_is_missing_told(serve: Callable[[Answer], None]) -> None:
    tools = FakeTools()
    tools.waiting = True
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        found = tools.approve(CLUSTER, bodies[-1]["actor"], bodies[-1]["note"])
        return httpx.Response(200, json=history_view(replace(found)).model_dump(mode="json"))

    serve(answer)
    result = run("approve", CLUSTER, "--person", "li", "--reason", "tried it")
    assert result.exit_code == 0, result.output
    assert bodies == [{"actor": "li", "note": "tried it"}]
    assert "version 3 waits: approved by li, 2 needed" in result.output


def test_wrong_calls_end_with_two(tmp_path: Path) -> None:
    assert run("backtest", CLUSTER, "--from", "soon").exit_code == 2
    assert run("backtest", str(tmp_path / "nowhere.yaml")).exit_code == 4
    assert run("approve", CLUSTER).exit_code == 2


def test_without_a_server_and_a_store_it_says_how_to_start_one(tmp_path: Path) -> None:
    result = run("explain", CLUSTER, "ev-1", "--data", str(tmp_path), server=False)
    assert result.exit_code == 5
    assert "jianguan up" in result.output
