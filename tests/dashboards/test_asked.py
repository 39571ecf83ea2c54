"""What a rule asks of whole facts, in words of both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from dashboards import RulesInfo
from dashboards.asked import Asker, Told
from dashboards.texts import Words
from jianguan.wiring.web import rule_info
from rules.model_trigger import CLAUSES
from rules.ruleset import RuleSet
from tests.dashboards.conftest import Build
from tests.dashboards.test_pages import check
from tests.rules.support import reference

ZH, EN = Asker(Words("zh"), str), Asker(Words("en"), str)
WINDOW = {"size": "24h"}


def said(told: list[Told], depth: int = 0) -> list[str]:
    """One line each, its condition in backticks, parts indented."""
    lines = []
    for each in told:
        lines.append("  " * depth + each.text + (f" `{each.code}`" if each.code else ""))
        lines += said(list(each.parts), depth + 1)
    return lines


CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {
            "window": {"size": "24h", "within_m": 500},
            "trigger": {"distinct": {"of": "reporter", "at_least": 5}},
            "escalate": [{"trigger": {"distinct": {"of": "reporter", "at_least": 20}}, "severity": "high"}],
        },
        ["1 天内、相距 500 米以内：不同投诉举报人 ≥ 5", "同时达到以下条件时，级别升为“高”：不同投诉举报人 ≥ 20"],
        [
            "Within 1 day and 500 m: different values of reporter ≥ 5",
            "Raised again as “High” when also: different values of reporter ≥ 20",
        ],
    ),
    (
        {
            "window": {"kind": "tumbling", "size": "7d"},
            "trigger": {"count": {"at_least": 12}, "rate": {"periods": 8, "sample": 16, "at_least": 4.0}},
            "cooldown": "28d",
            "inhibited_by": ["one", "two"],
        },
        [
            "每个 7 天的固定时段内：次数 ≥ 12 且 次数与往期之比（往期取前 8 个同长时段的中位数，合计至少 16 起） ≥ 4",
            "此前 28 天内条件一直没有成立，才会预警。",
            "同一分组已有以下规则的预警时，不再预警：one、two",
        ],
        [
            "In each fixed period of 7 days: count ≥ 12 and count compared with the usual (the median of the 8 periods "
            "before, with 16 events in all of them at least) ≥ 4",
            "Raised only if it has not held for 28 days before.",
            "Silent while the same group has an alert of: one, two",
        ],
    ),
    (
        {
            "window": {"kind": "session", "gap": "30m", "size": "7wd"},
            "trigger": {
                "any": [
                    {"count": {"at_least": 3}, "avg": {"of": "amount_fen", "at_least": 100_00, "at_most": 500_00}},
                    {
                        "all": [
                            {"ratio": {"of": "result == 'fail'", "to": "present(result)", "at_least": 0.125}},
                            {"percentile": {"of": "serious_count", "p": 90.0, "at_most": 2}},
                        ]
                    },
                ],
                "not": {"max": {"of": "critical_count", "at_least": 7}},
            },
        },
        [
            "相邻间隔不到 30 分钟的一连串事件中（至多 7 个工作日），同时满足：",
            "  满足其中一项：",
            "    次数 ≥ 3 且 涉及金额平均值 ≥ ¥100.00 且 涉及金额平均值 ≤ ¥500.00",
            "    同时满足：",
            "      占比 ≥ 12.5% 的事件符合 `result == 'fail'`",
            "        占比的范围是符合此条件的事件 `present(result)`",
            "      较重项的第 90 百分位数 ≤ 2",
            "  不满足：严重项最大值 ≥ 7",
        ],
        [
            "In a run of events less than 30 minutes apart, 7 working days at most, all of these:",
            "  one of these:",
            "    count ≥ 3 and average of amount ≥ ¥100.00 and average of amount ≤ ¥500.00",
            "    all of these:",
            "      share ≥ 12.5% of events that meet `result == 'fail'`",
            "        among the events that meet `present(result)`",
            "      percentile 90 of serious findings ≤ 2",
            "  not so: greatest critical findings ≥ 7",
        ],
    ),
    (
        {"window": WINDOW, "trigger": {"score": {"at_least": 100}}, "rules": {"one": 50, "two": 80}},
        ["1 天内：风险分值 ≥ 100", "计入以下规则的预警，各有分值：", "  one：50", "  two：80"],
        [
            "Within 1 day: risk score ≥ 100",
            "Counts the alerts of these rules, each with its score:",
            "  one: 50",
            "  two: 80",
        ],
    ),
    (
        {
            "pattern": {
                "within": "1wd",
                "steps": [
                    {"name": "a", "where": "x", "times": {"at_least": 2, "at_most": 4}},
                    {"name": "b", "where": "y", "absent": True},
                    {"any": [{"name": "c", "where": "u"}, {"name": "d", "where": "v"}], "next": True},
                    {"name": "e", "where": "z", "times": {"at_least": 3}},
                    {"name": "f", "where": "w", "related": "number == e.number", "absent": True},
                ],
            }
        },
        [
            "自第一起事件起 1 个工作日内，依次发生：",
            "  2 至 4 起事件 a `x`",
            "  其间没有事件 b `y`",
            "  紧接着：以下事件之一：",
            "    事件 c `u`",
            "    事件 d `v`",
            "  3 起事件 e `z`",
            "  此后直到期满没有事件 f `w`",
            "    与前面的事件相比 `number == e.number`",
        ],
        [
            "In this order, within 1 working day of the first event:",
            "  2 to 4 events a `x`",
            "  no event b in between `y`",
            "  as the very next: one of these events:",
            "    event c `u`",
            "    event d `v`",
            "  3 events e `z`",
            "  no event f until that time is up `w`",
            "    compared with those before `number == e.number`",
        ],
    ),
]


@pytest.mark.parametrize(("written", "chinese", "english"), CASES)
def test_what_a_rule_asks_is_told_in_words(written: dict[str, Any], chinese: list[str], english: list[str]) -> None:
    assert said(ZH.told(written)) == chinese
    assert said(EN.told(written)) == english


@pytest.mark.parametrize("clause", CLAUSES)
def test_every_clause_of_a_trigger_has_words(clause: str) -> None:
    given = {"of": "amount_fen", "p": 50.0, "periods": 2, "at_least": 1}
    for asker in (ZH, EN):
        (told,) = asker.told({"window": WINDOW, "trigger": {clause: given}})
        assert "≥" in told.text


def test_a_condition_alone_ends_its_sentence() -> None:
    (told,) = EN.told({"window": WINDOW, "trigger": {"ratio": {"of": "x", "at_least": 0.5}}})
    assert told == Told("Within 1 day: share ≥ 50% of events that meet", "x")


async def test_no_rule_of_the_library_is_shown_as_json(build: Build) -> None:
    infos = [rule_info(rule) for rule in RuleSet.load([RuleSet.library_path()], reference()).running]
    asked = [info for info in infos if info.written]
    assert len(asked) >= 5
    asked[0] = replace(asked[0], written={"window": WINDOW, "trigger": {"ratio": {"of": "<b>", "at_least": 1}}})
    site = build(rules_info=lambda: RulesInfo(asked))
    for language, word in (("zh", "风险分值 ≥ 100"), ("en", "risk score ≥ 100")):
        page = (await site.page("/rules", language)).text
        check(page)
        assert word in page
        assert not re.search(r"<d[dt]>[^<]*{&#34;", page)
        assert "<code>&lt;b&gt;</code>" in page


async def test_a_rule_that_alerts_at_each_match_does_not_claim_one_in_a_time(build: Build) -> None:
    rule = RuleSet.load([RuleSet.library_path()], reference()).by_id("complaint-not-handled")
    assert rule is not None
    site = build(rules_info=lambda: RulesInfo([rule_info(rule)]))
    page = (await site.page("/rules", "en")).text
    assert "An alert each time." in page
    assert "At most one alert" not in page
