"""Words in both languages, and how times and figures are said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import pytest
import yaml

import dashboards
from dashboards import Clause, RuleInfo, wording
from dashboards.actions import ACTIONS
from dashboards.texts import LANGUAGES, Words, catalogue, choose
from jianguan.domain import admission, contract, identifiers
from jianguan.domain.admission import check, decode
from jianguan.domain.alert import SEVERITIES
from jianguan.domain.case import TaskState
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from jianguan.domain.trace import STAGES, Step
from jianguan.errors import InputError
from rules.fields import CATEGORIES
from rules.ruleset import RuleSet
from streams import ingest, record
from tests.dashboards.conftest import Site
from tests.dashboards.fakes import reference
from tests.dashboards.sample import event

HERE = Path(dashboards.__file__).parent
ZH, EN = Words("zh"), Words("en")


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_key_has_both_languages_with_the_same_places() -> None:
    assert LANGUAGES == ("zh", "en")
    for key, (chinese, english) in catalogue().items():
        assert _fields(chinese) == _fields(english), key
    chinese_letters = [key for key, (_, english) in catalogue().items() if re.search(r"[一-鿿]", english)]
    assert set(chinese_letters) == {"lang.other"}


def test_every_key_that_templates_name_exists_and_every_other_is_used() -> None:
    sources = [*HERE.glob("templates/*.html"), *HERE.glob("static/*.js"), *HERE.glob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r"""\b(?:t|text|words)\(['"]([a-z0-9_.-]+)['"]\s*[,)]""", text))
    assert named - set(catalogue()) == set()
    made = tuple(re.findall(r"""['"`]((?:[a-z]+\.)+)(?=['"`{$])""", text))
    unused = {key for key in catalogue() if key not in named and not key.startswith(made) and f'"{key}"' not in text}
    assert unused == set()


def test_every_shared_category_has_a_name_in_both_languages_and_another_is_its_slug() -> None:
    for slug in CATEGORIES:
        assert f"category.{slug}" in catalogue(), slug
        for words in (ZH, EN):
            assert wording.category(slug, words) == catalogue()[f"category.{slug}"][words is EN]
    assert wording.category("hygiene", EN) == "hygiene"


def test_every_field_that_shipped_rules_group_by_or_measure_has_a_name() -> None:
    rules = [yaml.safe_load(path.read_text("utf-8")) for path in RuleSet.library_path().rglob("*.yaml")]
    used = {name for rule in rules for name in _listed(rule.get("group_by"))}
    used |= {clause["of"] for rule in rules for clause in rule.get("trigger", {}).values() if "of" in clause}
    assert len(used) > 5
    assert {f"of.{name}" for name in used} <= set(catalogue())
    fields = {path.parent.name for path in RuleSet.library_path().rglob("*.yaml")}
    assert {f"field.{name}" for name in fields} <= set(catalogue())


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else names or []


def test_a_trigger_is_a_sentence() -> None:
    day = 86_400_000
    clauses = (Clause("count", None, 2), Clause("sum", "critical_count", 5))
    rule = RuleInfo("r", 1, "h", "high", "z", "e", window_ms=365 * day, clauses=clauses)
    assert wording.trigger(rule, ZH) == "365 天内：次数 ≥ 2 且 严重项合计 ≥ 5"
    assert wording.trigger(rule, EN) == "Within 365 days: count ≥ 2 and sum of critical findings ≥ 5"
    fixed = replace(rule, window_ms=day, fixed=True, clauses=(Clause("sum", "amount_fen", 1_000_000),))
    assert wording.trigger(fixed, ZH) == "每个 1 天的固定时段内：涉及金额合计 ≥ ¥10,000.00"
    assert wording.trigger(fixed, EN) == "In each fixed period of 1 day: sum of amount ≥ ¥10,000.00"
    other = replace(rule, window_ms=90 * 60_000, clauses=(Clause("distinct", "matter", 1_200),))
    assert wording.trigger(other, EN) == "Within 90 minutes: different values of matter ≥ 1,200"
    assert wording.trigger(replace(rule, clauses=()), EN) == "Within 365 days: any event"


@pytest.mark.parametrize(
    ("status", "detail", "said"),
    [
        (204, "answered 204", "204"), (0, "", ""), (503, "Service Unavailable", "503 Service Unavailable"),
        (301, "answered 301; redirects are not followed", "301 redirects are not followed"),
        (0, "the connection was refused", "the connection was refused"),
    ],
)  # fmt: skip
def test_an_answer_says_its_status_once(status: int, detail: str, said: str) -> None:
    assert wording.answer(status, detail) == said


def test_a_runbook_is_shown_in_the_reader_s_language() -> None:
    assert wording.runbook("1. 检查\n2. 抽样\n\n1. Inspect\n2. Sample", "zh") == "1. 检查\n2. 抽样"
    assert wording.runbook("1. 检查\n\n1. Inspect", "en") == "1. Inspect"
    assert wording.runbook("one text", "en") == "one text"


BAD: list[Any] = [
        b"", b"{", b"\xff", b"[]", b"[" * 5_000, b'"x"', {"id": 1}, {"id": ""}, {"id": "x" * 129}, {"id": "\x00"},
        {"occurred_at": "2026-11-20T09:00:00"}, {"occurred_at": 5}, {"occurred_at": "2026-99-99T09:00:00Z"},
        {"occurred_at": []}, {"occurred_at": "2026-11-20"}, {"occurred_at": "1969-01-01T00:00:00Z"},
        {"occurred_at": "2099-01-01T00:00:00Z"}, {"category": "No Slug"}, {"new": 1}, {"nature": "x"},
        {"historical": 1}, {"amount_fen": "1"}, {"amount_fen": -1}, {"amount_fen": 10**16}, {"amount_fen": 10**30},
        {"amount_fen": 1.5}, {"tags": "x"}, {"tags": ["x"] * 33}, {"reporter": 1}, {"region": "cn:999999"},
        {"industry": "Z9"}, {"position": {"latitude": "x", "longitude": 1}},
        {"position": {"latitude": 91, "longitude": 1}}, {"enterprise": {"id": "123"}}, {"text": "\ud800"},
        {"enterprise": {"id": "91310104MA1FR0XY2U"}}, {"specversion": "1.0"},
        {"specversion": "1.0", "type": "cn.jianguan.violation.v1", "data": {}}, {"specversion": "1.0", "data": 1},
    ]  # fmt: skip


def _codes_of(records: list[Any]) -> set[str]:
    found = set()
    for each in records:
        value = each if isinstance(each, bytes) else json.dumps({**event(1), **each}).encode()
        try:
            check(decode(value, "complaints"), reference(), 1_795_413_600_000)
        except InputError as error:
            found.add(error.code)
    return found


def test_every_reason_for_quarantine_is_told_in_words() -> None:
    sources = [admission, contract, identifiers, ingest, record]
    text = "\n".join(Path(str(module.__file__)).read_text("utf-8") for module in sources)
    codes = set(re.findall(r"""(?:InputError\(|PydanticCustomError\(|code=|return )\s*"([a-z0-9-]+)",""", text))
    codes |= {f"unknown-{kind}" for kind in (Regions.kind, Industries.kind)} | _codes_of(BAD)
    assert {"conflict", "store-refused", "timezone-aware", "too-deep", "unknown-region", "time-format"} <= codes
    assert len(codes) > 30
    assert {code for code in codes if f"quarantine.code.{code}" not in catalogue()} == set()


def test_why_an_action_was_refused_is_said_in_words(site: Site) -> None:
    from dashboards.naming import Namer

    assert wording.refusal("accept-not-allowed-when-accepted", ZH) == "任务已受理，不能受理"
    assert "“Closed”: Report" in wording.refusal("report-not-allowed-when-closed", EN)
    assert wording.refusal("unknown-task", ZH) == "没有这项任务"
    for state in get_args(TaskState):
        for action in ACTIONS:
            assert "-" not in wording.refusal(f"{action}-not-allowed-when-{state}", ZH)
    step = Step("st-1", "x", 0, 3, "refused", "a", "", "", (), '{"reason": "unknown-task", "code": "timezone-aware"}')
    assert wording.step_details(step, ZH, Namer(site.deps)) == [("原因", "没有这项任务"), ("原因", "时间没有时区")]
    assert wording.refusal("too many false alarms", EN) == "too many false alarms"


def test_every_severity_and_stage_has_a_word() -> None:
    for name in [f"severity.{each}" for each in SEVERITIES] + [f"stage.{each}" for each in STAGES.values()]:
        assert name in catalogue()


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "language"),
    [
        (None, None, "", "zh"), ("en", "zh", "zh", "en"), (None, "en", "zh", "en"), ("xx", "yy", "en-GB", "en"),
        (None, None, "en;q=0.5, zh-CN;q=0.9", "zh"), (None, None, "fr, en;q=0.1", "en"), (None, None, "en;q=0", "zh"),
        (None, None, "en;q=x", "zh"), (None, None, "," * 9999, "zh"), (None, None, "EN", "en"),
    ],
)  # fmt: skip
def test_the_language_is_what_was_asked_for_most_recently(
    query: str | None, cookie: str | None, accept: str, language: str
) -> None:
    assert choose(query, cookie, accept) == language


@pytest.mark.parametrize(
    ("ago", "said"),
    [(0, "刚刚"), (9_999, "刚刚"), (10_000, "10 秒前"), (60_000, "1 分钟前"), (7_200_000, "2 小时前"), (-5, "刚刚")],
)
def test_how_long_ago(ago: int, said: str) -> None:
    assert wording.relative(1_000_000_000 - ago, 1_000_000_000, ZH) == said


def test_how_long_until_it_is_due() -> None:
    day = 86_400_000
    assert wording.due(None, 0, ZH) == "无法定期限"
    assert wording.due(2 * day + 5, 0, EN) == "2 d left"
    assert wording.due(0, 3 * 3_600_000, EN) == "3 h overdue"
    assert wording.due(30_000, 0, EN) == "0 min left"


def test_times_are_in_shanghai_and_say_so() -> None:
    assert wording.full_time(0) == "1970-01-01 08:00:00 UTC+8"


def test_a_limit_at_midnight_is_told_as_the_end_of_the_last_day() -> None:
    midnight = 1_796_745_600_000  # 2026-12-09 00:00 in Shanghai
    assert wording.full_time(midnight) == "2026-12-09 00:00:00 UTC+8"
    assert wording.deadline(midnight) == "2026-12-08 24:00 UTC+8"
    assert wording.brief_deadline(midnight) == "12-08 24:00"
    assert wording.deadline(midnight + 3_600_000) == "2026-12-09 01:00:00 UTC+8"
    assert wording.brief_deadline(midnight + 3_600_000) == "12-09 01:00"


def test_spans_money_and_numbers() -> None:
    assert wording.span(7 * 86_400_000, ZH) == "7 天"
    assert wording.span(21, ZH) == "21 ms"
    assert wording.span(5_000, EN) == "5 s"
    assert wording.money(123_456) == "¥1,234.56"
    assert wording.money(None) == ""
    assert (wording.number(1234.0), wording.number(0.25)) == ("1,234", "0.2")


def test_a_text_by_language() -> None:
    assert wording.in_language('{"zh": "中", "en": ["a", "b"]}', "en") == "a\nb"
    assert wording.in_language('{"zh": "中"}', "en") == "中"
    assert wording.in_language("{broken", "en") == "{broken"
    assert wording.in_language("plain", "zh") == "plain"


def test_every_step_that_the_inspectors_guide_lists_has_words_and_no_other_has() -> None:
    root = HERE.parent
    guide = (root / "docs/inspector.md").read_text("utf-8").partition("## Read the steps")[2].partition("Each step")[0]
    listed = set(re.findall(r"`([a-z-]+)`", guide))
    assert {key.removeprefix("step.") for key in catalogue() if key.startswith("step.")} == listed
    sources = [path for room in ("jianguan", "streams", "sinks") for path in (root / room).rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    assert {name for name in listed if f'"{name}"' not in text} == set()
    styled = set(re.findall(r"\.what-([a-z-]+)", (HERE / "static/parts.css").read_text("utf-8")))
    assert styled - listed == set()


def test_a_notice_that_failed_says_what_came_back_and_when_it_is_tried_again(site: Site) -> None:
    from dashboards.naming import Namer

    detail = '{"receiver": "r", "attempt": 1, "status": 0, "detail": "refused", "ms": 3, "next": 1795413600000}'
    step = Step("st-1", "dl-1", 0, 4, "delivery-failed", "system", "", "", (), detail)
    told = [("接收方", "r"), ("第几次", "1"), ("应答", "refused"), ("下次发送", "2026-11-23 14:00:00 UTC+8")]
    assert wording.step_details(step, ZH, Namer(site.deps)) == told
    answered = step._replace(detail='{"status": 503, "detail": "answered 503"}')
    assert wording.step_details(answered, EN, Namer(site.deps)) == [("Answer", "503")]
    untold = step._replace(what="no-receiver", detail='{"department": "health", "kind": "alert.raised"}')
    assert wording.step_details(untold, EN, Namer(site.deps))[1] == ("Notice", "Alert raised")


def test_charts_fit_their_frame() -> None:
    assert wording.polyline([0, 5, 10], 100, 50) == "0.0,50.0 50.0,25.0 100.0,0.0"
    assert wording.polyline([1], 100, 50) == ""
    assert wording.bars([], 100, 50) == []
    assert all(y >= 0 and y + h <= 50 and x + w <= 100 for x, y, w, h in wording.bars([0, 1, 1000], 100, 50))


def test_a_step_that_nobody_foresaw_is_told_by_its_own_word_and_a_known_one_in_the_readers_language(site: Site) -> None:
    from dashboards.naming import Namer

    step = Step("st-1", "x", 0, 3, "teleported", "system", "", "", (), '{"note": "n", "unknown": 1}')
    assert wording.step_words(step, ZH) == "teleported"
    assert wording.step_details(step, ZH, Namer(site.deps)) == [("说明", "n")]
    closed = step._replace(what="task-closed", detail='{"in_time": false}')
    assert wording.step_details(closed, ZH, Namer(site.deps)) == [("按期办结", "否")]
    assert wording.step_details(closed, EN, Namer(site.deps)) == [("In time", "No")]
    for detail in ("", "[]", "{broken", "null"):
        assert wording.step_details(step._replace(detail=detail), ZH, Namer(site.deps)) == []
