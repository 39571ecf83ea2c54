"""Every page, in both languages, whole without scripts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from html import unescape
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from dashboards import Limits
from dashboards.spelling import spellings
from jianguan.clock import to_millis
from jianguan.domain.case import place_of
from jianguan.domain.fact import Fact
from jianguan.domain.statutory import StatutoryClocks
from jianguan.ports import History
from tests.dashboards.conftest import Build, Site
from tests.dashboards.fakes import CLUSTER, GRAVE, RECALL
from tests.dashboards.sample import event, shop
from tests.dashboards.test_api import with_case

PAGES = ("/", "/alerts", "/cases", "/tasks", "/enterprises", "/quarantine", "/deliveries", "/rules", "/search")
VOID = {"meta", "link", "input", "br", "use", "path", "rect", "polyline", "line"}


class _Balanced(HTMLParser):
    """Finds tags that are not closed, and what the content policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.faults += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag == "script" and not dict(attrs).get("src"):
            self.faults.append("inline script")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def check(html: str) -> None:
    parser = _Balanced()
    parser.feed(html)
    assert (parser.faults, parser.open) == ([], [])


def all_pages(site: Site) -> list[str]:
    world = site.world
    alert = next(iter(world.alerts_.values()))
    return [
        *PAGES,
        f"/alerts/{alert.id}",
        f"/cases/{next(iter(world.cases_))}",
        f"/events/{alert.events[0]}",
        f"/enterprises/{alert.enterprise}",
        "/enterprises?q=licence",
        f"/search?q={next(iter(world.quarantine_))}",
        "/alerts?severity=critical&rule=grave-violation",
        "/cases?state=open&overdue=true&department=market-regulation",
        "/tasks?department=health-commission&state=assigned",
    ]


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_every_page_is_whole_in_both_languages(filled: Site, language: str) -> None:
    for path in all_pages(filled):
        page = await filled.page(path, language)
        assert page.status_code == 200, path
        check(page.text)
        assert page.headers["content-language"] == {"zh": "zh-CN", "en": "en"}[language]
        assert "腹泻" not in page.text
        assert "13800138000" not in page.text
        assert "王小明" not in page.text


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_has_something_to_say_when_there_is_nothing(site: Site, path: str) -> None:
    page = await site.page(path)
    assert page.status_code == 200
    check(page.text)


async def test_the_first_page_says_how_to_begin(site: Site) -> None:
    page = await site.page("/")
    assert "还没有任何事件" in page.text
    assert "http://localhost/v1/events" in page.text
    command = re.search(r"-d '(\{.*?\})'", page.text, re.DOTALL)
    assert command
    answer = await site.send(command[1])
    assert answer.status_code == 202, answer.text
    assert "还没有任何事件" not in (await site.page("/")).text


@pytest.mark.parametrize(
    ("language", "place", "rule"),
    [("zh", "上海市徐汇区", "疑似食源性疾病聚集"), ("en", "徐汇区, Shanghai", "Suspected food poisoning")],
)
async def test_the_first_page_says_where_and_by_which_rule_most_alerts_were_raised(
    filled: Site, language: str, place: str, rule: str
) -> None:
    page = (await filled.page("/", language)).text
    ranked = dict(re.findall(r'<a href="(/alerts\?[^"]+)"><span>([^<]+)</span>', page))
    by_rule = "/alerts?rule=food-poisoning-cluster"
    assert ranked[by_rule] == rule
    (by_region,) = (href for href, name in ranked.items() if place in name)
    for href in (by_rule, by_region):
        count = int(re.findall(re.escape(href) + r'"><span>[^<]+</span><b>(\d+)</b>', page)[0])
        assert (await filled.page(href)).text.count('<li class="alert-row" data-id') == count > 0


async def test_the_first_page_keeps_the_newest_critical_alerts_of_a_day_above_all_that_came_after(
    filled: Site,
) -> None:
    alerts, now = filled.world.alerts_, to_millis(filled.deps.clock.now())
    sample = next(iter(alerts.values()))
    alerts.clear()
    hour = 3_600_000
    for number, (severity, ago) in enumerate([("critical", 23), ("critical", 25), *[("medium", 1)] * 30]):
        made = sample._replace(id=f"al-{number}", severity=severity, raised_at=now - ago * hour)
        alerts[made.id] = made
    page = (await filled.page("/")).text
    pinned = page[page.index('class="pinned"') : page.index('data-region="alert-list"')]
    assert re.findall(r'data-id="(al-\d+)"', pinned) == ["al-0"]
    assert 'data-id="al-0"' not in page[page.index('data-region="alert-list"') :]


@pytest.mark.parametrize("path", [path for path in PAGES if path not in ("/rules", "/search", "/enterprises")])
async def test_a_store_that_is_down_gives_a_clear_page(site: Site, path: str) -> None:
    site.world.down = True
    page = await site.page(path)
    assert page.status_code == 503
    assert page.headers["retry-after"] == "5"
    assert "暂时无法查询" in page.text
    check(page.text)


@pytest.mark.parametrize(
    "path", ["/nothing", "/cases/ca-1", "/alerts/x", "/events/x", "/enterprises/x", "/cases/%00", "/search?q=zzz"]
)
async def test_what_is_not_there_is_a_404_page(filled: Site, path: str) -> None:
    page = await filled.page(path, "en")
    assert page.status_code == 404
    assert "<html" in page.text
    check(page.text)


async def test_the_language_is_switched_and_remembered(site: Site) -> None:
    assert "总览" in (await site.client.get("/", headers={"Accept": "text/html"})).text
    switched = await site.client.get("/?lang=en", headers={"Accept": "text/html"})
    assert "Overview" in switched.text
    assert "jianguan_lang=en" in switched.headers["set-cookie"]
    assert "Overview" in (await site.page("/", "zh")).text
    assert "总览" in (await site.page("/?lang=zh", "en")).text
    nonsense = await site.client.get("/?lang=%3Cb%3E", headers={"Accept": "text/html"})
    assert "set-cookie" not in nonsense.headers


async def test_the_switch_keeps_the_filters(filled: Site) -> None:
    page = await filled.page("/alerts?severity=high")
    assert 'href="?severity=high&amp;lang=en"' in page.text


async def test_search_leads_to_the_page_of_any_id(filled: Site) -> None:
    world = filled.world
    alert = next(iter(world.alerts_.values()))
    task = next(iter(world.tasks_.values()))
    event = world.events[alert.events[0]].event
    assert event.number
    assert alert.enterprise
    for asked, place in (
        (alert.id, f"/alerts/{alert.id}"),
        (alert.case_key and task.case, f"/cases/{task.case}"),
        (task.id, f"/cases/{task.case}#{task.id}"),
        (event.id, f"/events/{event.id}"),
        (event.number, f"/events/{event.id}"),
        (alert.id[3:], f"/alerts/{alert.id}"),
        (task.case[3:], f"/cases/{task.case}"),
        (event.id[3:], f"/events/{event.id}"),
        (task.id[3:], f"/cases/{task.case}#{task.id}"),
        (alert.enterprise, f"/enterprises/{alert.enterprise}"),
        (alert.enterprise.partition(":")[2], f"/enterprises/{alert.enterprise}"),
    ):
        answer = await filled.client.get("/search", params={"q": f" {asked} "})
        assert (answer.status_code, answer.headers["location"]) == (303, place)


async def test_a_name_leads_to_its_enterprise_or_to_a_choice_between_several(filled: Site) -> None:
    for name in ("上海徐汇老灶台餐饮有限公司", "老灶台", "licence:91310104MA1FR0XY2"):
        answer = await filled.client.get("/search", params={"q": name})
        assert answer.headers["location"] == "/enterprises/licence:91310104MA1FR0XY2U"
    several = await filled.page("/search?q=licence")
    assert several.status_code == 200
    assert "上海徐汇老灶台餐饮有限公司" in several.text
    assert "浦东鲜味生鲜超市" in several.text


async def test_search_takes_ids_and_numbers_as_people_write_them(filled: Site) -> None:
    world = filled.world
    case = next(iter(world.cases_))
    event = next(each.event for each in world.events.values() if each.event.enterprise == "licence:91310104MA1FR0XY2U")
    number = event.number
    assert number
    wide = "".join(chr(ord(each) + 0xFEE0) for each in number)
    shop = "/enterprises/licence:91310104MA1FR0XY2U"
    for asked, place in (
        (case.upper(), f"/cases/{case}"),
        (f"{case[:9]} {case[9:]}", f"/cases/{case}"),
        (f"“{case[3:15].upper()} {case[15:].upper()}”", f"/cases/{case}"),
        (f"\ufeff{case}\n", f"/cases/{case}"),
        (number.lower(), f"/events/{event.id}"),
        (wide, f"/events/{event.id}"),
        (f"“{number}”", f"/events/{event.id}"),
        (f"{number}，", f"/events/{event.id}"),
        (f"【{number}】。", f"/events/{event.id}"),
        ("91310104 MA1FR0XY2U", shop),
        ("91310104\u3000ma1fr0xy2u", shop),
        ("licence:91310104ma1fr0xy2u", shop),
        ("上海徐汇 老灶台餐饮有限公司", shop),
    ):
        answer = await filled.client.get("/search", params={"q": asked})
        assert (asked, answer.status_code, answer.headers.get("location")) == (asked, 303, place)
    assert "浦东鲜味生鲜超市" in (await filled.page("/enterprises?q=“鲜味生鲜”")).text


@pytest.mark.parametrize(("language", "said"), [("zh", "至多 128 字"), ("en", "at most 128 characters")])
async def test_a_text_that_is_too_long_to_look_for_is_told_so(filled: Site, language: str, said: str) -> None:
    for path in ("/search", "/enterprises"):
        page = await filled.page(f"{path}?q={'长' * 129}", language)
        assert said in page.text
        assert "长" * 129 not in page.text.partition("<main")[2]
        check(page.text)


def test_a_text_is_looked_for_as_it_is_before_any_other_spelling() -> None:
    assert spellings("a b") == ["a b", "ab", "AB"]
    assert spellings("CA-" + "0" * 24) == ["CA-" + "0" * 24, "ca-" + "0" * 24]
    assert spellings("A" * 24) == ["A" * 24, "a" * 24]
    assert spellings("a" * 24) == ["a" * 24, "A" * 24]
    assert spellings("某店(徐汇店)")[-1] == "某店（徐汇店）"
    assert spellings("“”") == ["“”"]


async def test_a_complaint_that_lies_in_quarantine_is_found_by_its_number_and_shows_nothing_of_itself(
    site: Site,
) -> None:
    refused = {**event(2, region="999999", text="腹泻"), "number": "GD-9"}
    await site.send(json.dumps([event(1), refused], ensure_ascii=False))
    (record,) = site.world.quarantine_
    for name in ("GD-9", "T000002"):
        page = await site.page(f"/search?q={name}")
        assert page.status_code == 200
        assert f"编号或工单号为“{name}”的记录无法使用" in page.text
        assert f'href="/search?q={record}"' in page.text
        assert "地区代码不存在" in page.text
        assert "腹泻" not in page.text
        check(page.text)


async def test_what_is_not_found_may_be_in_quarantine_and_the_page_says_how_much_is(filled: Site) -> None:
    count = len(filled.world.quarantine_)
    for language, said in (("zh", f"隔离区有 {count} 条"), ("en", f"Records in quarantine: {count}.")):
        page = await filled.page("/search?q=no-such-number", language)
        assert page.status_code == 404
        assert said in page.text
        assert 'href="/quarantine?state=quarantined"' in page.text
        check(page.text)


async def test_what_is_not_found_while_nothing_is_in_quarantine_is_just_not_found(site: Site) -> None:
    page = (await site.page("/search?q=no-such-number")).text
    assert "没有找到" in page
    assert "/quarantine?state" not in page


async def test_an_alert_says_why(filled: Site) -> None:
    alert = next(each for each in filled.world.alerts_.values() if each.rule == "food-poisoning-cluster")
    page = (await filled.page(f"/alerts/{alert.id}")).text
    for said in ("≥ 3", alert.rule_hash, "UTC+8", "封存可疑食品并抽样", "食品安全法", *alert.events, "21 字，已隐藏"):
        assert said in page
    assert "Seal suspicious food" in (await filled.page(f"/alerts/{alert.id}", "en")).text


async def test_an_alert_shows_bounds_from_above_and_of_what_must_not_hold(filled: Site) -> None:
    alert = next(each for each in filled.world.alerts_.values() if each.rule == "food-poisoning-cluster")
    filled.world.alerts_[alert.id] = alert._replace(
        values={"avg": 7_000.0, "ratio": 0.5, "count": 11.0, "max": 44.0},
        thresholds={
            "avg": 5_000.0,
            "avg.at_most": 9_000.0,
            "ratio.at_most": 0.5,
            "count.below": 12.0,
            "max.above": 33.0,
        },
    )
    page = (await filled.page(f"/alerts/{alert.id}")).text
    for said in ("≥ 5,000, ≤ 9,000", ">≤ 0.5<", "&lt; 12", "&gt; 33"):
        assert said in page


async def test_money_that_a_rule_adds_up_is_told_in_yuan(build: Build) -> None:
    site = build(filled=True)
    info = site.deps.rules_info()
    rule = replace(info.rules[0], measured=(("sum", "amount_fen"),))
    site = build(filled=True, rules_info=lambda: replace(info, rules=(rule,)))
    alert = next(each for each in site.world.alerts_.values() if each.rule == rule.id)
    site.world.alerts_[alert.id] = alert._replace(values={"sum": 21_345_600.0}, thresholds={"sum": 20_000_000.0})
    page = (await site.page(f"/alerts/{alert.id}")).text
    assert "合计 · 涉及金额" in page
    assert "<b>¥213,456.00</b>" in page
    assert "≥ ¥200,000.00" in page


async def test_rules_are_called_by_their_titles(filled: Site) -> None:
    alert = next(each for each in filled.world.alerts_.values() if each.rule == "food-poisoning-cluster")
    page = (await filled.page(f"/events/{alert.events[0]}")).text
    assert 'title="food-poisoning-cluster">疑似食源性疾病聚集</a>' in page
    page = (await filled.page(f"/alerts/{alert.id}", "en")).text
    assert "<dt>Rule</dt><dd>Suspected food poisoning · food-poisoning-cluster</dd>" in page


async def test_a_case_tells_every_step_in_words(filled: Site) -> None:
    task = next(each for each in filled.world.tasks_.values() if each.state == "reported")
    page = (await filled.page(f"/cases/{task.case}")).text
    for said in ("建立案件", "派发任务", "受理任务", "反馈办理情况", "李建国", "已到现场检查", "第十四条", "任务超期"):
        assert said in page
    assert page.index("<b>建立案件</b>") < page.index("<b>派发任务</b>")


@pytest.mark.parametrize(("language", "label"), [("zh", "工单号"), ("en", "Number")])
async def test_a_case_names_its_complaints_by_the_numbers_that_people_have_on_paper(
    filled: Site, language: str, label: str
) -> None:
    case = next(each for each in filled.world.cases_.values() if each.enterprise)
    alert = filled.world.alerts_[case.alerts[0]]
    event = filled.world.events[alert.events[0]].event
    for path in (f"/cases/{case.id}", f"/alerts/{alert.id}"):
        page = (await filled.page(path, language)).text
        assert f'<a class="number" href="/events/{event.id}">{event.number}</a>' in page
        steps = page[page.index('<ol class="timeline"') :]
        assert f"<div><dt>{label}</dt><dd>{event.number}</dd></div>" in steps


async def test_an_event_without_a_number_is_named_by_the_id_that_its_source_gave(site: Site) -> None:
    row = {name: value for name, value in {**event(7), **shop(0)}.items() if name != "number"}
    answer = (await site.send(json.dumps(row))).json()
    page = (await site.page(f"/enterprises/licence:{row['enterprise']['id']}")).text
    assert f'<a class="number" href="/events/{answer["results"][0]["id"]}">T000007</a>' in page


async def test_what_is_about_a_product_names_it_wherever_it_is_listed_and_on_its_own_page(filled: Site) -> None:
    world = filled.world
    alert = next(each for each in world.alerts_.values() if each.rule == RECALL)
    case = next(each for each in world.cases_.values() if alert.id in each.alerts)
    task = next(each for each in world.tasks_.values() if each.case == case.id)
    for path, start in (
        ("/", f'data-id="{alert.id}"'),
        ("/alerts", f'data-id="{alert.id}"'),
        ("/cases", f'data-key="{case.id}"'),
        ("/tasks", f'data-key="{task.id}"'),
    ):
        page = (await filled.page(path)).text
        assert "儿童座椅" in page[page.index(start) :].partition("</li>")[0], path
    for language, group, region in (
        ("zh", '分组</dt><dd><span class="dim">产品</span> 儿童座椅', "首条预警所在地区</dt>"),
        ("en", 'Group</dt><dd><span class="dim">Product</span> 儿童座椅', "Region of the first alert</dt>"),
    ):
        page = (await filled.page(f"/cases/{case.id}", language)).text
        assert group in page
        assert region in page
        assert group in (await filled.page(f"/alerts/{alert.id}", language)).text


async def test_a_case_about_an_enterprise_names_it_once_in_its_head(filled: Site) -> None:
    case = next(each for each in filled.world.cases_.values() if each.enterprise)
    page = (await filled.page(f"/cases/{case.id}")).text
    head = page[page.index('data-region="head"') :].partition("</header>")[0]
    assert head.count(case.enterprise_name or "?") == 1
    assert "分组" not in head


async def test_a_group_is_told_by_the_names_of_its_values(filled: Site) -> None:
    world = filled.world
    alert = next(each for each in world.alerts_.values() if each.rule == RECALL)
    for fields, values, told in (
        (
            "region.county+address",
            "cn:310104\x1f某小区3号楼",
            '区县</span> 上海市徐汇区 · <span class="dim">地点</span> 某小区3号楼',
        ),
        ("region.city+category", "cn:310100\x1ffood-safety", '上海市 · <span class="dim">类别</span> 食品安全'),
        ("reporter", "0123456789abcdef", "同一投诉举报人（已隐藏）"),
        ("industry", "cn:H6210", "正餐服务"),
    ):
        world.alerts_[alert.id] = alert._replace(key=values, case_key=f"market-regulation|{fields}|{values}")
        page = (await filled.page(f"/alerts/{alert.id}")).text
        assert told in page
        assert "0123456789abcdef" not in page


async def test_the_group_of_an_alert_without_a_case_is_told_by_its_rule_as_long_as_that_is_known(filled: Site) -> None:
    world = filled.world
    alert = next(each for each in world.alerts_.values() if each.rule == RECALL)
    rule = next(each for each in filled.deps.rules_info().rules if each.id == GRAVE)
    bare = alert._replace(case_key=None, key="licence:1\x1fcn:310104", rule=GRAVE, version=rule.version)
    world.alerts_[alert.id] = bare
    assert '<span class="dim">区县</span> 上海市徐汇区' in (await filled.page(f"/alerts/{alert.id}")).text
    world.alerts_[alert.id] = bare._replace(rule="long-gone")
    page = (await filled.page(f"/alerts/{alert.id}")).text
    assert "分组</dt><dd>licence:1 · cn:310104" in page
    check(page)


async def test_the_law_behind_a_deadline_is_named_in_the_language_of_the_page(filled: Site) -> None:
    world = filled.world
    case = next(each for each in world.cases_.values() if each.clock)
    law = StatutoryClocks.load().in_force("complaint-acceptance", date(2026, 11, 1)).source
    world.cases_[case.id] = case._replace(clock_source=law)
    for place, step in enumerate(world.steps):
        if step.subject == case.id and step.what == "opened":
            world.steps[place] = step._replace(detail=json.dumps({"source": law}))
    for language, said, other in (("zh", "第20号）第十四条", "SAMR"), ("en", "SAMR Order 20 art. 14", "第十四条")):
        page = (await filled.page(f"/cases/{case.id}", language)).text
        assert page.count(said) == 2, language  # in the head and in the timeline
        assert other not in page


async def test_a_case_that_was_stored_with_one_text_of_the_law_still_shows_it(filled: Site) -> None:
    world = filled.world
    case = next(each for each in world.cases_.values() if each.clock)
    world.cases_[case.id] = case._replace(clock_source="SAMR Order 20 art. 14")
    assert "SAMR Order 20 art. 14" in (await filled.page(f"/cases/{case.id}")).text


async def test_an_alert_counts_its_own_events_then_and_now(filled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled.world
    alert = next(each for each in world.alerts_.values() if each.rule == "food-poisoning-cluster")
    others = [each for each in world.events if each not in alert.events]
    blank = Fact("fa-1", alert.rule, alert.version, alert.key, alert.episode, others[0], 0, *(None,) * 6, "food-safety")
    facts = [
        blank,
        blank._replace(event=others[1], key="another group"),
        blank._replace(event=others[2], time=alert.episode_end),
    ]
    whole = world.history

    def history(identifier: str, limit: int = 1000) -> History | None:
        found = whole(identifier, limit)
        return replace(found, facts=facts, events=list(world.events.values())) if found else None

    monkeypatch.setattr(world, "history", history)
    page = (await filled.page(f"/alerts/{alert.id}")).text
    assert "触发时 3 起，本周期现有 4 起<" in page
    assert "3 when raised, 4 in this episode by now<" in (await filled.page(f"/alerts/{alert.id}", "en")).text
    table = page[page.index('<table class="cards">') :].partition("</table>")[0]
    assert {each for each in world.events if each in table} == {*alert.events, others[0]}


async def test_an_alert_whose_episode_did_not_grow_says_one_number(filled: Site) -> None:
    alert = next(each for each in filled.world.alerts_.values() if each.rule == "food-poisoning-cluster")
    assert "触发时 3 起<" in (await filled.page(f"/alerts/{alert.id}")).text


async def test_names_stand_where_slugs_are_in_the_data(filled: Site) -> None:
    alert = next(each for each in filled.world.alerts_.values() if each.clock)
    case = next(each for each in filled.world.cases_.values() if each.clock)
    for path in (f"/alerts/{alert.id}", f"/cases/{case.id}", f"/events/{alert.events[0]}"):
        page = (await filled.page(path)).text
        assert "食品安全" in page
        assert ">food-safety<" not in page
        assert "complaint-acceptance" not in page.replace('"clock":"complaint-acceptance"', "")
    assert "投诉：决定是否受理" in (await filled.page(f"/cases/{case.id}")).text
    assert "Complaint: decide on acceptance" in (await filled.page(f"/cases/{case.id}", "en")).text


async def test_the_quarantine_says_in_words_why_and_keeps_the_reason_as_it_was_given(filled: Site) -> None:
    record = next(each for each in filled.world.quarantine_.values() if each.code == "not-json")
    for language, said in (("zh", "不是 JSON"), ("en", "Not JSON")):
        page = (await filled.page("/quarantine", language)).text
        row = page[page.index(f'data-key="{record.id}"') :].partition("</tr>")[0]
        assert f">{said}<" in row
        assert "<code>not-json</code> the record is not JSON" in row
        assert f'<option value="not-json">{said}</option>' in page


async def test_the_channel_and_the_number_of_events_are_said_in_words(filled: Site) -> None:
    identifier, summary = next(iter(filled.world.events.items()))
    filled.world.events[identifier] = replace(summary, event=summary.event._replace(channel="wechat"))
    for language, channel, events in (("zh", "微信", "起<"), ("en", "WeChat", ">Events: ")):
        assert f"<dd>{channel}</dd>" in (await filled.page(f"/events/{identifier}", language)).text
        assert events in (await filled.page("/enterprises?q=licence", language)).text
    filled.world.events[identifier] = replace(summary, event=summary.event._replace(channel="pigeon"))
    assert "<dd>pigeon</dd>" in (await filled.page(f"/events/{identifier}")).text


async def test_tasks_say_what_they_are_about(filled: Site) -> None:
    task = next(each for each in filled.world.tasks_.values() if each.state == "assigned")
    case = filled.world.cases_[task.case]
    page = (await filled.page("/tasks?state=assigned")).text
    row = page[page.index(f'data-key="{task.id}"') :].partition("</li>")[0]
    for said in (case.title_zh, case.enterprise_name or "?", "牵头" if task.role == "lead" else "协同"):
        assert said in row


async def test_the_rules_page_says_what_triggers_who_acts_and_in_which_state(site: Site) -> None:
    page = (await site.page("/rules")).text
    for said in (
        "7 天内：次数 ≥ 3 且 不同投诉举报人 ≥ 2", "每个 365 天的固定时段内：次数 ≥ 2 且 严重项合计 ≥ 5", "试运行",
        "每 1 天至多预警一次", "迟到 2 天以内", "卫生健康委员会", "投诉：决定是否受理", "企业 + 区县", "美国公开数据",
        "9f3c2a17d0b4…", 'data-copy="9f3c2a17d0b4e856"', "1. 现场检查",
    ):  # fmt: skip
        assert said in page, said
    assert "1. Inspect" not in page
    english = (await site.page("/rules", "en")).text
    assert "Within 7 days: count ≥ 3 and different values of reporter ≥ 2" in english


async def test_rules_are_found_by_title_or_id(site: Site) -> None:
    page = (await site.page("/rules?q=GRAVE")).text
    assert 'id="grave-violation"' in page
    assert 'id="food-poisoning-cluster"' not in page
    nothing = (await site.page("/rules?q=nonsense")).text
    assert "没有符合条件的规则" in nothing
    check(nothing)


async def test_a_rule_that_did_not_load_is_a_banner(site: Site) -> None:
    page = (await site.page("/rules")).text
    assert "最近一次重新加载失败" in page
    assert "prepaid.yaml:12:14" in page


async def test_a_task_is_worked_on_without_scripts(site: Site) -> None:
    task, *_ = await with_case(site)
    case = site.world.tasks_[task].case
    assert f'action="/tasks/{task}/accept"' in (await site.page(f"/cases/{case}")).text
    answer = await site.client.post(f"/tasks/{task}/accept", data={"actor": "李建国", "note": "马上去"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{case}#{task}")
    assert site.world.tasks_[task].state == "accepted"
    page = (await site.page(f"/cases/{case}")).text
    assert "马上去" in page
    assert f'action="/tasks/{task}/report"' in page


async def test_a_note_of_several_lines_is_taken_without_scripts_and_its_ends_of_lines_count_once(site: Site) -> None:
    task, *_ = await with_case(site)
    note = "第一行\r\n" + "二" * 1996
    answer = await site.client.post(f"/tasks/{task}/accept", data={"actor": "李建国", "note": note})
    assert answer.status_code == 303
    assert site.world.tasks_[task].note == "第一行\n" + "二" * 1996


@pytest.mark.parametrize(
    "body", ["", "actor=", "actor=%ff", "actor=a%00", f"actor={'a' * 65}", "&".join("abcdefgh" * 9)]
)
async def test_a_bad_form_is_refused_with_a_page(site: Site, body: str) -> None:
    task, *_ = await with_case(site)
    answer = await site.client.post(
        f"/tasks/{task}/accept",
        content=body,
        headers={"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 422
    check(answer.text)
    assert site.world.tasks_[task].state == "assigned"


@pytest.mark.parametrize(
    ("language", "correct", "still_open", "all_closed"),
    [
        ("zh", "请再次反馈更正", "请由本案尚未办结的部门在反馈中说明", "将另建案件"),
        ("en", "to correct one, report again", "whose task is still open can say so", "opens a new one"),
    ],
)
async def test_a_task_says_how_a_mistake_is_corrected_before_and_after_it_is_closed(
    site: Site, language: str, correct: str, still_open: str, all_closed: str
) -> None:
    tasks = await with_case(site)
    case = f"/cases/{site.world.tasks_[tasks[0]].case}"
    for number, task in enumerate(tasks):
        await site.client.post(f"/tasks/{task}/accept", data={"actor": "李建国"})
        assert correct in (await site.page(case, language)).text
        await site.client.post(f"/tasks/{task}/close", data={"actor": "李建国"})
        page = (await site.page(case, language)).text
        last = number == len(tasks) - 1
        assert (still_open in page, all_closed in page) == (not last, last)
    due = {"zh": "期限", "en": "Due"}[language]
    assert page.count(f'<span class="due"><span class="dim">{due}</span> <time') == len(tasks)


async def test_a_form_that_comes_too_late_is_a_409_page(site: Site) -> None:
    task, *_ = await with_case(site)
    for _ in range(2):
        answer = await site.client.post(f"/tasks/{task}/accept", data={"actor": "a"}, headers={"Accept": "text/html"})
        site.clock.advance(timedelta(seconds=1))
    assert answer.status_code == 409
    assert "当前状态不允许此操作" in answer.text
    present = re.search(r'href="([^"]+)">查看任务的最新状态', answer.text)
    assert present is not None
    led = await site.client.get(present[1])
    assert led.headers["location"] == f"/cases/{site.world.tasks_[task].case}#{task}"


@pytest.mark.parametrize("note", ["", " \r\n "])
async def test_a_report_without_a_word_is_refused_with_a_page_that_leads_back_to_the_task(
    site: Site, note: str
) -> None:
    task, *_ = await with_case(site)
    await site.client.post(f"/tasks/{task}/accept", data={"actor": "李建国"})
    form = {"actor": "李建国", "note": note}
    answer = await site.client.post(f"/tasks/{task}/report", data=form, headers={"Accept": "text/html"})
    assert answer.status_code == 422
    check(answer.text)
    assert "反馈须写明办理情况" in answer.text
    assert f'href="/search?q={task}"' in answer.text
    assert site.world.tasks_[task].state == "accepted"


async def test_quarantine_and_deliveries_work_without_scripts(filled: Site) -> None:
    record = next(iter(filled.world.quarantine_.values()))
    dead = next(each for each in filled.world.deliveries_.values() if each.state == "dead")
    assert (await filled.client.post(f"/quarantine/{record.id}/retry")).status_code == 303
    assert (await filled.client.post(f"/deliveries/{dead.id}/redeliver")).status_code == 303
    assert filled.world.quarantine_[record.id].state == "retried"
    assert filled.world.deliveries_[dead.id].state == "pending"


async def test_a_notice_leads_to_all_its_attempts_from_the_list_and_from_its_case(filled: Site) -> None:
    notice = next(each for each in filled.world.deliveries_.values() if each.case)
    for path in ("/deliveries", f"/cases/{notice.case}"):
        assert f'<a href="/search?q={notice.id}" title="{notice.id}">' in (await filled.page(path)).text


async def test_a_record_that_was_submitted_again_says_what_became_of_it(filled: Site) -> None:
    world = filled.world
    record = next(each for each in world.quarantine_.values() if each.code == "not-json")
    known = set(world.quarantine_)
    await filled.client.post(f"/quarantine/{record.id}/retry")
    (again,) = set(world.quarantine_) - known
    page = (await filled.page("/quarantine")).text
    row = page[page.index(f'data-key="{record.id}"') :].partition("</tr>")[0]
    assert f'再次被隔离 → <a class="id" href="/search?q={again}">{again}</a>' in row
    history = (await filled.page(f"/search?q={record.id}", "en")).text
    assert history.count(f'In quarantine again → <a class="id" href="/search?q={again}">') == 2  # in row and timeline
    check(history)


async def test_a_record_that_is_accepted_the_second_time_leads_to_its_event(filled: Site) -> None:
    world = filled.world
    record = next(each for each in world.quarantine_.values() if each.code == "not-json")
    mended = record._replace(raw=json.dumps(event(777)).encode())  # as if a list of codes had been mended
    world.quarantine_[record.id] = mended
    known = set(world.events)
    await filled.client.post(f"/quarantine/{record.id}/retry")
    (accepted,) = set(world.events) - known
    assert f'已接收 → <a class="id" href="/events/{accepted}">' in (await filled.page("/quarantine")).text


async def test_a_record_whose_second_outcome_is_not_stored_yet_says_so(filled: Site) -> None:
    record = next(iter(filled.world.quarantine_.values()))
    filled.world.quarantine_[record.id] = record._replace(state="retried", revision=2)
    filled.world.tell(record.id, "operate", "retried", "r-not-yet")
    page = (await filled.page("/quarantine", "en")).text
    assert "<span data-pending>Its outcome will show soon</span>" in page
    check(page)


async def test_the_quarantine_says_why_records_are_not_shown(site: Site) -> None:
    assert "原文可能含个人信息" in (await site.page("/quarantine")).text


@pytest.mark.parametrize("query", ["before=abc", "before=-5", f"before={'9' * 40}", "severity=x&rule=&region=%00"])
async def test_absurd_filters_are_ignored(filled: Site, query: str) -> None:
    assert (await filled.page(f"/alerts?{query}")).status_code == 200


def _note(page: str, task: str) -> str:
    card = page[page.index(f'id="{task}"') :]
    return card[card.index('<p class="note">') :].partition("</p>")[0]


async def test_a_note_stands_under_the_name_of_who_wrote_it_and_says_on_what(site: Site) -> None:
    task, *_ = await with_case(site)
    case = site.world.tasks_[task].case
    for action, actor, note, said in (
        ("accept", "甲", "已派两人", "受理说明 · 甲</span>已派两人"),
        ("report", "乙", "抽样三份", "最近反馈 · 乙</span>抽样三份"),
        ("report", "丁", "", "最近反馈 · 乙</span>抽样三份"),
        ("close", "丙", "", "最近反馈 · 乙</span>抽样三份"),
    ):
        answer = await site.client.post(f"/v1/tasks/{task}/{action}", json={"actor": actor, "note": note})
        assert answer.status_code == 200
        site.clock.advance(timedelta(minutes=1))
        assert said in _note((await site.page(f"/cases/{case}")).text, task)
    assert "Last report · 乙</span>抽样三份" in _note((await site.page(f"/cases/{case}", "en")).text, task)


async def test_a_note_whose_step_is_not_shown_is_nobody_s(site: Site) -> None:
    task, *_ = await with_case(site)
    site.world.tasks_[task] = site.world.tasks_[task]._replace(actor="丙", note="抽样三份")
    page = (await site.page(f"/cases/{site.world.tasks_[task].case}")).text
    assert "最近说明</span>抽样三份" in _note(page, task)


async def _keys_of_all_pages(site: Site, path: str) -> list[list[str]]:
    """The rows of each page, following the link to the next one until there is none."""
    found: list[list[str]] = []
    following: str | None = path
    while following and len(found) < 20:
        page = (await site.page(following)).text
        check(page)
        found.append(re.findall(r'<(?:li|tr)[^>]* data-key="([^"]+)"', page))
        link = re.search(r'href="(\?[^"]+)" rel="next"', page)
        following = path.partition("?")[0] + unescape(link[1]) if link else None
    return found


async def test_a_long_list_of_tasks_goes_on_to_its_end_and_ends_with_those_without_a_deadline(build: Build) -> None:
    site = build(filled=True, limits=Limits(page_rows=4))
    world = site.world
    for task in list(world.tasks_.values())[:3]:
        world.tasks_[task.id] = task._replace(due_at=None, overdue=False)
    wanted = sorted(world.tasks_.values(), key=place_of)
    pages = await _keys_of_all_pages(site, "/tasks")
    assert [key for page in pages for key in page] == [task.id for task in wanted]
    assert {len(page) for page in pages[:-1]} == {4}
    late = await _keys_of_all_pages(site, "/tasks?overdue=true")
    assert [key for page in late for key in page] == [task.id for task in wanted if task.overdue]


async def test_long_lists_of_notices_and_quarantined_records_go_on_to_their_end(build: Build) -> None:
    site = build(filled=True, limits=Limits(page_rows=2))
    world = site.world
    pages = await _keys_of_all_pages(site, "/deliveries?state=dead")
    assert sorted(key for page in pages for key in page) == sorted(
        each.id for each in world.deliveries_.values() if each.state == "dead"
    )
    assert len(pages) > 1
    assert [len(page) for page in await _keys_of_all_pages(site, "/quarantine")] == [2, 1]
    world.listed_bytes = 1
    pages = await _keys_of_all_pages(site, "/quarantine?state=quarantined")
    assert [len(page) for page in pages] == [1] * 3
    assert {key for page in pages for key in page} == set(world.quarantine_)


@pytest.mark.parametrize("after", ["x", "1.2.3", "0.1.0.a.5.ta-1", f"0.1.0.{'9' * 40}.5.ta-1", "0.1.0.²3.5.ta-1"])
async def test_a_place_that_is_none_is_the_beginning_of_the_list(filled: Site, after: str) -> None:
    page = await filled.client.get("/tasks", params={"after": after}, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "回到第一页" not in page.text


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("310115", "cn:310115"), ("3101", "cn:3101"), ("cn:310115", "cn:310115"), ("３１０１１５", "cn:310115"),
        ("310100", "cn:3101"), ("310000", "cn:31"),
    ],
)  # fmt: skip
async def test_alerts_are_filtered_by_the_digits_of_a_region_or_the_first_of_them(
    filled: Site, region: str, code: str
) -> None:
    page = (await filled.client.get("/alerts", params={"region": region}, headers={"Accept": "text/html"})).text
    shown = set(re.findall(r'<li class="alert-row" data-id="([^"]+)"', page))
    assert shown == {each.id for each in filled.world.alerts_.values() if (each.region or "").startswith(code)} != set()
    assert f'data-region-code="{code}"' in page
    assert f'value="{code}"' in page


@pytest.mark.parametrize(
    ("language", "typed", "code", "shown"),
    [
        ("zh", "上海市徐汇区", "cn:310104", "上海市徐汇区"), ("zh", "徐汇", "cn:310104", "上海市徐汇区"),
        ("en", "Pudongxin", "cn:310115", "浦东新区, Shanghai"), ("en", "shanghai", "cn:31", "Shanghai"),
        ("zh", "广州市", "cn:4401", "广州市"), ("zh", "中国", "cn:", "中国"),
    ],
)  # fmt: skip
async def test_alerts_are_filtered_by_the_name_of_a_region(
    filled: Site, language: str, typed: str, code: str, shown: str
) -> None:
    page = (await filled.page(f"/alerts?region={quote(typed)}", language)).text
    rows = set(re.findall(r'<li class="alert-row" data-id="([^"]+)"', page))
    assert rows == {each.id for each in filled.world.alerts_.values() if (each.region or "").startswith(code)} != set()
    assert f'data-region-code="{code}"' in page
    assert re.search(rf'<input name="region" value="{shown}"', page)


async def test_a_page_about_one_thing_shows_the_newest_of_each_part_and_all_on_demand(build: Build) -> None:
    site = build(limits=Limits(part_rows=4))
    for number in range(9):
        assert (await site.send(json.dumps(event(number, **shop(0))))).status_code == 202
        site.clock.advance(timedelta(minutes=1))
    world = site.world
    alert = next(each for each in world.alerts_.values() if each.enterprise)
    case = next(each for each in world.cases_.values() if each.enterprise == alert.enterprise)
    for path in (f"/enterprises/{alert.enterprise}", f"/cases/{case.id}"):
        brief, whole = (await site.page(path, "en")).text, (await site.page(f"{path}?all=true", "en")).text
        check(brief)
        events, all_events = (re.findall(r'<tr data-key="(ev-[^"]+)"', page) for page in (brief, whole))
        assert len(all_events) > 4
        assert events == all_events[:4], "the newest first"
        assert f"The newest 4 of {len(all_events)}." in brief
        assert '<a href="?all=true">Show all</a>' in brief
        assert "Show all" not in whole
    steps, all_steps = (re.findall(r'<li class="step [^>]*data-key="([^"]+)"', page) for page in (brief, whole))
    assert steps == all_steps[-4:] != all_steps


def _title(html: str) -> str:
    return unescape(re.findall(r"<title>(.*?)</title>", html)[0])


async def test_a_tab_is_called_by_what_its_page_is_about_the_most_particular_first(filled: Site) -> None:
    world = filled.world
    alert = next(each for each in world.alerts_.values() if each.rule == CLUSTER and each.enterprise_name)
    case = next(each for each in world.cases_.values() if each.enterprise == alert.enterprise)
    history = world.history(alert.id, 100)
    assert history is not None
    event = history.events[0].event
    name = alert.enterprise_name
    titles = {
        f"/alerts/{alert.id}": f"{name} · {alert.title_zh} · 预警 · 监管",
        f"/cases/{case.id}": f"{name} · {case.title_zh} · 案件 · 监管",
        f"/enterprises/{alert.enterprise}": f"{name} · 企业 · 监管",
        f"/events/{event.id}": f"{event.number or event.source_id} · {event.enterprise_name} · 事件 · 监管",
        "/alerts": "预警 · 监管",
        f"/alerts?severity=high&region=310104&rule={CLUSTER}": "cn:310104 · 高 · 疑似食源性疾病聚集 · 预警 · 监管",
        "/cases?department=market-regulation&overdue=true": "市场监督管理局 · 超期 · 案件 · 监管",
        "/tasks?state=assigned": "待受理 · 部门任务 · 监管",
        "/enterprises?q=%E8%80%81%E7%81%B6": "老灶 · 企业 · 监管",
        "/deliveries?state=dead": "送达失败 · 通知送达 · 监管",
        f"/rules/{CLUSTER}/versions": "疑似食源性疾病聚集 · 规则版本 · 监管",
        f"/rules/{CLUSTER}/backtest": "疑似食源性疾病聚集 · 回溯试算 · 监管",
        "/search?q=nothing-known": "nothing-known · 查询 · 监管",
    }
    found = {path: _title((await filled.page(path)).text) for path in titles}
    assert found == titles


async def test_the_tab_of_a_case_without_an_enterprise_is_called_by_its_group(filled: Site) -> None:
    case = next(each for each in filled.world.cases_.values() if not each.enterprise)
    title = _title((await filled.page(f"/cases/{case.id}", "en")).text)
    assert not title.startswith(case.title_en)
    assert title.endswith(f" · {case.title_en} · Cases · Jianguan")


async def test_a_name_that_several_regions_have_is_to_be_chosen_from(filled: Site) -> None:
    page = (await filled.page(f"/alerts?severity=high&region={quote('和平区')}")).text
    assert "“和平区”可能指多个地区" in page
    assert '<a class="plain" href="?severity=high&amp;region=cn%3A210102">沈阳市和平区</a>' in page
    assert 'class="alert-row" data-id' not in page
    assert "data-alert-list" not in page, "what comes in is in none of them"


async def test_a_name_that_no_region_has_is_told_and_shows_nothing(filled: Site) -> None:
    page = (await filled.page("/alerts?region=%3Cb%3Enowhere", "en")).text
    assert "No region is called “&lt;b&gt;nowhere”." in page
    assert 'class="alert-row" data-id' not in page


@pytest.mark.parametrize(
    ("language", "typed", "value", "label"),
    [
        ("zh", "浦东", "上海市浦东新区", "cn:310115"), ("en", "pudong", "浦东新区, Shanghai", "cn:310115 · pudong"),
        ("zh", "310115", "上海市浦东新区", "cn:310115"), ("en", "Guangz", "Guangzhou", "cn:440100"),
    ],
)  # fmt: skip
async def test_names_of_regions_are_offered_while_one_types(
    filled: Site, language: str, typed: str, value: str, label: str
) -> None:
    offered = (await filled.client.get("/regions", params={"q": typed}, headers={"Accept-Language": language})).json()
    assert offered[0] == {"value": value, "label": label}
    assert all(typed.casefold() in f"{each['value']} {each['label']}".casefold() for each in offered)
    assert (await filled.client.get("/regions", params={"q": " "})).json() == []


async def test_what_is_pasted_into_a_search_box_is_not_cut_in_silence(site: Site) -> None:
    page = (await site.page("/enterprises")).text
    boxes = re.findall(r'<input[^>]* name="q"[^>]*>', page)
    assert len(boxes) == 2
    assert not [box for box in boxes if "maxlength" in box]


async def test_the_way_back_to_the_first_page_keeps_the_filters(build: Build) -> None:
    site = build(filled=True, limits=Limits(page_rows=1))
    for path in ("/tasks?state=assigned&overdue=true", "/deliveries?state=dead", "/cases?state=open"):
        first = (await site.page(path)).text
        link = re.search(r'href="(\?[^"]+)" rel="next"', first)
        assert link
        second = (await site.page(path.partition("?")[0] + unescape(link[1]) + "&lang=zh")).text
        back = re.search(r'<nav class="pager"><a class="button ghost" href="([^"]*)"', second)
        assert back
        assert unescape(back[1]) == "?" + path.partition("?")[2]


async def test_the_events_of_one_day_do_not_fill_the_chart_of_an_enterprise(site: Site) -> None:
    for number in range(3):
        await site.send(json.dumps(event(number, **shop(0))))
    code = next(iter(site.world.events.values())).event.enterprise
    page = (await site.page(f"/enterprises/{code}")).text
    assert len(re.findall("<rect ", page)) == 30
    assert "最高每日 <b>3</b>" in page
