"""What people see and do, in a real browser."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Open, Server, free_port, serving

pytestmark = [pytest.mark.browser, pytest.mark.network, pytest.mark.asyncio(loop_scope="session")]

_numbers = count(900_000)


def complaint(shop: str) -> dict[str, Any]:
    """A complaint about food in `shop`; the third one raises an alert."""
    number = next(_numbers)
    return {
        "kind": "complaint",
        "source": "browser-test",
        "id": f"B{number}",
        "category": "food-safety",
        "occurred_at": "2026-11-20T09:00:00+08:00",
        "region": "310104",
        "enterprise": {"scheme": "licence", "id": f"shop-{shop}", "name": f"测试餐厅{shop}"},
    }


def open_case(server: Server, shop: str) -> str:
    """The id of a fresh case with three tasks."""
    server.send(*(complaint(shop) for _ in range(3)))
    cases = server.get("/v1/cases?state=open")["items"]
    return str(next(case["id"] for case in cases if case["enterprise"] == f"licence:shop-{shop}"))


def json_of(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


async def live(page: Page) -> None:
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def paths(server: Server) -> list[str]:
    alert = next(each for each in reversed(server.get("/v1/alerts")["items"]) if each["enterprise"])
    case = server.get("/v1/cases")["items"][-1]
    return [
        "/", "/alerts", f"/alerts/{alert['id']}", "/cases", f"/cases/{case['id']}", "/tasks", "/enterprises?q=licence",
        f"/enterprises/{alert['enterprise']}", f"/events/{alert['events'][0]}", "/quarantine", "/deliveries", "/rules",
        "/search",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/alerts", "/alerts?severity=high"])
async def test_an_alert_appears_without_a_reload(server: Server, open_page: Open, path: str) -> None:
    page = await open_page(server.url + path)
    await live(page)
    await page.evaluate("window.notReloaded = true")
    shop = f"live{next(_numbers)}"
    server.send(*(complaint(shop) for _ in range(3)))
    row = page.locator(".alerts:not(.pinned *) > li").first
    await expect(row).to_contain_text(f"测试餐厅{shop}")
    await expect(row).to_contain_text("疑似食源性疾病聚集")
    await expect(row).to_contain_text("徐汇区")
    await expect(page.locator("#announce")).to_contain_text("新预警")
    assert await page.evaluate("window.notReloaded")


async def test_an_alert_about_a_product_appears_with_its_product(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/alerts")
    await live(page)
    product = f"电热毯{next(_numbers)}"
    server.send({**complaint("recall"), "category": "recall", "product": product})
    row = page.locator("[data-alert-list] > li").first
    await expect(row.locator(".who")).to_have_text(product)
    await page.reload()
    await expect(row.locator(".who")).to_have_text(product)


async def test_a_critical_alert_stays_on_the_first_page_while_others_pass(server: Server, open_page: Open) -> None:
    page = await open_page(server.url)
    await live(page)
    grave, shop = f"grave{next(_numbers)}", f"passing{next(_numbers)}"
    server.send({**complaint(grave), "kind": "violation", "category": "hygiene", "result": "fail", "severity": 5})
    pinned, newest = page.locator(".pinned"), page.locator(".alerts:not(.pinned *)")
    await expect(pinned).to_contain_text(grave)
    server.send(*(complaint(f"{shop}-{number}") for number in range(21) for _ in range(3)))
    await expect(newest.locator("li", has_text=shop)).to_have_count(20)
    await expect(newest).not_to_contain_text(grave)
    await expect(pinned).to_contain_text(grave)
    await expect(pinned).not_to_contain_text(shop)


async def test_an_alert_that_a_filter_excludes_does_not_appear(server: Server, open_page: Open) -> None:
    critical = await open_page(f"{server.url}/alerts?severity=critical")
    everything = await open_page(f"{server.url}/alerts")
    await live(critical)
    await live(everything)
    shop = f"filtered{next(_numbers)}"
    server.send(*(complaint(shop) for _ in range(3)))
    await expect(everything.locator("[data-alert-list]")).to_contain_text(shop)
    await expect(critical.locator("[data-alert-list]")).not_to_contain_text(shop)


async def test_an_alert_of_a_region_appears_where_the_first_digits_of_it_are_asked_for(
    server: Server, open_page: Open
) -> None:
    near = await open_page(f"{server.url}/alerts?region=3101")
    far = await open_page(f"{server.url}/alerts?region=4401")
    everything = await open_page(f"{server.url}/alerts")
    for page in (near, far, everything):
        await live(page)
    shop = f"region{next(_numbers)}"
    server.send(*(complaint(shop) for _ in range(3)))
    await expect(near.locator("[data-alert-list]")).to_contain_text(shop)
    await expect(everything.locator("[data-alert-list]")).to_contain_text(shop)
    await expect(far.locator("[data-alert-list]")).not_to_contain_text(shop)


async def test_the_name_of_a_region_is_completed_and_filters_by_the_keyboard_alone(
    server: Server, open_page: Open
) -> None:
    page = await open_page(f"{server.url}/alerts")
    await live(page)
    field = page.locator("input[name=region]")
    await field.focus()
    await page.keyboard.type("xuhui", delay=30)
    option = page.locator("#region-names option")
    await expect(option).to_have_attribute("value", "上海市徐汇区")
    await field.fill(await option.get_attribute("value") or "")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/alerts?*region=*")
    await expect(page.locator("input[name=region]")).to_have_value("上海市徐汇区")
    await expect(page.locator("[data-alert-list]")).to_have_attribute("data-region-code", "cn:310104")
    await expect(page.locator(".alert-row .where").first).to_have_text("上海市徐汇区")


@pytest.mark.parametrize("width", [380, 1366])
async def test_a_refusal_has_the_look_of_the_site_without_any_of_its_files(
    server: Server, open_page: Open, width: int
) -> None:
    elsewhere = server.url.replace("127.0.0.1", "another.localhost")
    page = await open_page(f"{elsewhere}/alerts", forgive="421", width=width)
    await expect(page.get_by_role("alert")).to_contain_text("本系统不使用这个网址")
    colour = "getComputedStyle(document.querySelector('.side')).backgroundColor"
    assert await page.evaluate(colour) == "rgb(15, 44, 74)"
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.get_by_role("link", name="English").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("This system has another address")


async def test_tabs_that_nobody_sees_leave_connections_for_the_next_one_and_catch_up_when_seen(
    server: Server, open_page: Open
) -> None:
    first = await open_page(f"{server.url}/alerts")
    await live(first)
    see = """state => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    tabs = [first]
    for _ in range(5):
        tab = await first.context.new_page()
        await tab.goto(f"{server.url}/alerts")
        await live(tab)
        tabs.append(tab)
    for tab in tabs:
        await tab.evaluate(see, "hidden")
    seventh = await first.context.new_page()
    await seventh.goto(f"{server.url}/cases")
    await live(seventh)
    shop = f"hidden{next(_numbers)}"
    server.send(*(complaint(shop) for _ in range(3)))
    await expect(first.locator("[data-alert-list]")).not_to_contain_text(shop)
    await first.evaluate(see, "visible")
    await expect(first.locator("[data-alert-list]")).to_contain_text(shop)


async def test_the_first_event_replaces_the_welcome(empty_server: Server, open_page: Open) -> None:
    page = await open_page(empty_server.url)
    await live(page)
    await expect(page.get_by_text("还没有任何事件")).to_be_visible()
    empty_server.send(complaint("first"))
    await expect(page.get_by_text("还没有任何事件")).to_have_count(0)
    await expect(page.locator("[data-figure=events_total]")).to_have_text("1")


async def test_figures_move_while_the_page_is_open(server: Server, open_page: Open) -> None:
    page = await open_page(server.url)
    await live(page)
    total = page.locator("[data-figure=events_total]")
    before = int((await total.inner_text()).replace(",", ""))
    server.send(complaint("figures"), complaint("figures"))
    await expect(total).to_have_text(f"{before + 2:,}")


async def test_every_figure_of_the_overview_moves_and_its_charts_say_what_their_highest_point_is(
    empty_server: Server, open_page: Open
) -> None:
    page = await open_page(empty_server.url)
    await live(page)
    await expect(page.locator("[data-most=events_per_minute]")).to_have_text("0")
    open_case(empty_server, "figures")
    await expect(page.locator("[data-figure=open_cases]")).to_have_text("1")
    await expect(page.locator("[data-figure=open_tasks]")).to_have_text("3")
    await expect(page.locator("[data-most=events_per_minute]")).to_have_text("3")
    await expect(page.locator("[data-most=series]")).to_have_text("3")


async def test_the_regions_and_rules_with_most_alerts_move_unless_somebody_points_at_them(
    empty_server: Server, open_page: Open
) -> None:
    page = await open_page(empty_server.url, width=1920)
    await live(page)
    open_case(empty_server, "ranked")
    places, rules = (page.locator(f"[data-ranking=alerts_by_{each}] a") for each in ("region", "rule"))
    await expect(places).to_have_text(["上海市徐汇区1"])
    await expect(rules).to_have_text(["疑似食源性疾病聚集1"])
    await rules.hover()
    open_case(empty_server, "ranked2")
    await expect(places).to_have_text(["上海市徐汇区2"])
    await expect(rules).to_have_text(["疑似食源性疾病聚集1"])
    await page.mouse.move(0, 0)
    await expect(rules).to_have_text(["疑似食源性疾病聚集2"])
    await rules.click()
    await expect(page.locator(".alert-row")).to_have_count(2)


async def test_lists_of_notices_and_quarantined_records_follow_what_happens(
    empty_server: Server, open_page: Open
) -> None:
    notices = await open_page(f"{empty_server.url}/deliveries")
    refused = await open_page(f"{empty_server.url}/quarantine")
    for page, said in ((notices, "没有通知。"), (refused, "没有隔离的记录。")):
        await live(page)
        await page.evaluate("window.notReloaded = true")
        await expect(page.get_by_text(said)).to_be_visible()
    empty_server.send(*(complaint("notices") for _ in range(3)), {"kind": "complaint", "source": "bad", "id": "1"})
    await expect(notices.locator("tbody tr")).to_have_count(3)
    await expect(refused.locator("tbody tr")).to_have_count(1)
    empty_server.send(*(complaint("notices-2") for _ in range(3)), {"kind": "complaint", "source": "bad", "id": "2"})
    await expect(notices.locator("tbody tr")).to_have_count(6)
    await expect(refused.locator("tbody tr")).to_have_count(2)
    assert await notices.evaluate("window.notReloaded")


async def test_the_counts_and_events_of_a_case_follow_what_joins_it(server: Server, open_page: Open) -> None:
    shop = f"joined{next(_numbers)}"
    page = await open_page(f"{server.url}/cases/{open_case(server, shop)}")
    await live(page)
    head = page.locator("[data-region=timeline-head]")
    before = int(re.sub(r"\D", "", await head.inner_text()))
    assert await page.locator(".timeline .step").count() == before
    server.send(*(complaint(shop) for _ in range(3)))
    await expect(page.locator("[data-region=alerts-head]")).to_have_text("相关预警 2")
    await expect(page.locator("[data-region=events] tr")).to_have_count(6)
    await expect(page.locator("[data-region=deliveries] tr")).to_have_count(6)
    after = await page.locator(".timeline .step").count()
    assert after > before
    await expect(head).to_contain_text(f"{after} 个步骤")


async def test_the_language_is_switched_and_stays(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/alerts?severity=high")
    other = page.get_by_role("link", name="English")
    await expect(other).to_have_attribute("lang", "en")  # so that it is read out as English
    await other.click()
    await expect(page.locator("h1")).to_have_text("Alerts")
    assert "severity=high" in page.url
    await page.goto(f"{server.url}/cases")
    await expect(page.locator("h1")).to_have_text("Cases")
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await live(page)
    await expect(page.locator("#connection")).to_have_text("Live")


async def test_a_task_is_accepted_reported_on_and_closed(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, 'tasks')}")
    await live(page)
    await page.evaluate("window.notReloaded = true")
    task = page.locator(".task").first
    for action, confirm, state in (
        ("受理", "确认受理", "已受理"),
        ("反馈", "提交反馈", "已反馈"),
        ("办结", "确认办结", "已办结"),
    ):
        await task.locator("summary", has_text=action).click()
        panel = task.locator("details[open]")
        await expect(panel).to_contain_text("不能撤销")
        await panel.get_by_label("经办人").fill("李建国")
        await panel.locator("textarea").fill("现场已检查")
        await panel.get_by_role("button", name=confirm).click()
        await expect(task.locator(".task-head")).to_contain_text(state)
    await expect(page.locator(".timeline")).to_contain_text("任务办结")
    await expect(page.locator(".timeline")).to_contain_text("现场已检查")
    await expect(task.locator("summary")).to_have_count(0)
    assert await page.evaluate("window.notReloaded")


async def test_a_report_of_blanks_is_not_sent_and_asks_for_words(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, f'blank{next(_numbers)}')}")
    await live(page)
    task = page.locator(".task").first
    await task.locator("summary").click()
    await task.get_by_label("经办人").fill("李建国")
    await task.get_by_role("button", name="确认受理").click()
    await expect(task.locator(".task-head")).to_contain_text("已受理")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    await task.locator("summary", has_text="反馈").click()
    words = task.locator("details[open] textarea")
    await words.fill("  \n ")
    await task.get_by_role("button", name="提交反馈").click()
    await expect(words).to_be_focused()
    await expect(words).to_have_value("")
    assert sent == []
    await words.fill("现场已检查")
    await task.get_by_role("button", name="提交反馈").click()
    await expect(task.locator(".task-head")).to_contain_text("已反馈")


@pytest.mark.parametrize(("locale", "name"), [("zh-CN", "导出 JSON"), ("en-GB", "Export JSON")])
async def test_a_case_is_exported_with_all_its_steps_by_the_keyboard_alone(
    server: Server, open_page: Open, locale: str, name: str
) -> None:
    case = open_case(server, f"export{next(_numbers)}")
    page = await open_page(f"{server.url}/cases/{case}", locale=locale, width=400)
    async with page.expect_download() as started:
        await page.get_by_role("link", name=name).press("Enter")
    download = await started.value
    assert download.suggested_filename == f"{case}.json"
    exported = json_of(await download.path())
    assert exported == server.get(f"/v1/history/{case}")
    assert len(exported["steps"]) == await page.locator(".timeline .step").count()


async def test_a_long_report_is_seen_whole_on_a_phone_before_it_is_sent(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, 'long-report')}", width=400, height=850)
    await page.locator(".task summary").first.press("Enter")
    note = page.locator(".task [name=note]").first
    empty = await note.evaluate("each => each.clientHeight")
    await note.fill("\n".join(f"{number}. 已到现场检查，下架过期食品，拟立案。" for number in range(1, 10)))
    assert await note.evaluate("each => each.clientHeight") > empty
    assert await note.evaluate("each => each.scrollHeight - each.clientHeight") <= 0
    await note.fill("很长\n" * 200)
    assert await note.evaluate("each => each.offsetHeight <= innerHeight * 0.61")


async def test_what_somebody_else_does_shows_and_does_not_take_away_a_form(server: Server, open_page: Open) -> None:
    case = open_case(server, "two-people")
    mine, theirs = await open_page(f"{server.url}/cases/{case}"), await open_page(f"{server.url}/cases/{case}")
    await live(mine)
    await mine.locator(".task").nth(0).locator("summary").click()
    await mine.locator("details[open] [name=note]").fill("写了一半")
    other = theirs.locator(".task").nth(1)
    await other.locator("summary").click()
    await other.get_by_label("经办人").fill("王芳")
    await other.get_by_role("button", name="确认受理").click()
    await expect(mine.locator(".task").nth(1)).to_contain_text("已受理")
    await expect(mine.locator(".timeline")).to_contain_text("王芳")
    await expect(mine.locator("details[open] [name=note]")).to_have_value("写了一半")


async def test_who_comes_second_sees_the_present_state_and_keeps_what_was_written(
    server: Server, open_page: Open
) -> None:
    case = open_case(server, f"second{next(_numbers)}")
    mine = await open_page(f"{server.url}/cases/{case}", forgive="409")
    task = mine.locator(".task").first
    await task.locator("summary").click()
    await task.get_by_label("经办人").fill("李建国")
    await task.locator("textarea").fill("我去现场")
    theirs = await open_page(f"{server.url}/cases/{case}")
    other = theirs.locator(".task").first
    await other.locator("summary").click()
    await other.get_by_label("经办人").fill("王芳")
    await other.get_by_role("button", name="确认受理").click()
    await expect(other.locator(".task-head")).to_contain_text("已受理")
    await expect(task.locator(".task-head")).to_contain_text("待受理")
    await task.get_by_role("button", name="确认受理").click()
    await expect(task.locator(".task-head")).to_contain_text("已受理")
    await expect(task.locator("summary").first).to_have_text("反馈")
    await expect(mine.locator("#refused")).to_contain_text("已有其他人操作")
    await expect(mine.locator("#refused")).to_contain_text("我去现场")


async def test_rows_wait_while_somebody_points_at_the_list_and_come_when_asked_for_or_left(
    server: Server, open_page: Open
) -> None:
    open_case(server, f"held{next(_numbers)}")
    for path, rows in (("/alerts", ".alert-row"), ("/cases", ".cases .case-row")):
        page = await open_page(server.url + path)
        await live(page)
        first, held = page.locator(rows).first, page.locator(".held")
        for leave in (False, True):
            await first.hover()
            before = await first.inner_text()
            shop = f"held{next(_numbers)}"
            open_case(server, shop)
            await expect(held).to_contain_text("点击显示")
            assert before.split("\n")[:2] == (await first.inner_text()).split("\n")[:2]
            await (page.mouse.move(5, 5) if leave else held.get_by_role("button").click())
            await expect(first).to_contain_text(f"测试餐厅{shop}")
            await expect(held).to_have_count(0)


async def test_what_is_selected_stays_selected_while_a_list_is_brought_up_to_date(
    server: Server, open_page: Open
) -> None:
    shop = f"selected{next(_numbers)}"
    open_case(server, shop)
    page = await open_page(f"{server.url}/cases")
    await live(page)
    row = page.locator(".case-row", has_text=shop)
    # As a row is that stands here for a while: what says how long ago has moved on.
    await row.locator("time[data-relative]").evaluate("each => { each.textContent = '1 分钟前'; }")
    await row.locator(".headline").evaluate("each => getSelection().selectAllChildren(each)")
    other = f"selected{next(_numbers)}"
    open_case(server, other)
    await expect(page.locator(".cases .case-row").first).to_contain_text(other)
    assert await page.evaluate("getSelection().toString()") == await row.locator(".headline").inner_text()


async def test_the_focus_stays_on_a_link_whose_row_changes(server: Server, open_page: Open) -> None:
    case = open_case(server, f"focused{next(_numbers)}")
    page = await open_page(f"{server.url}/cases")
    await live(page)
    row = page.locator(f'.case-row[data-key="{case}"]')
    await row.locator(".headline").focus()
    task = next(each["id"] for each in server.get(f"/v1/cases/{case}")["tasks"])
    await page.evaluate(
        "id => fetch(`/v1/tasks/${id}/accept`, {method: 'POST', headers: {'Content-Type': 'application/json'},"
        ' body: \'{"actor": "李建国"}\'})',
        task,
    )
    await expect(row.locator(".pip-accepted")).to_have_count(1)
    await expect(row.locator(".headline")).to_be_focused()


async def test_who_acts_on_a_task_hears_it_and_goes_on_from_there(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, f'heard{next(_numbers)}')}")
    await live(page)
    task = page.locator(".task").first
    await task.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(task.get_by_label("经办人")).to_be_focused()
    await page.keyboard.type("李建国")
    await page.keyboard.press("Enter")
    await expect(task.locator(".task-head")).to_contain_text("已受理")
    await expect(page.locator("#announce")).to_have_text("已记录")
    await expect(task.locator("summary").first).to_be_focused()


async def test_an_action_that_does_not_reach_the_server_says_so_in_the_language_of_the_page(
    server: Server, open_page: Open
) -> None:
    case = open_case(server, f"offline{next(_numbers)}")
    page = await open_page(f"{server.url}/cases/{case}", locale="en-US", forgive="ERR_")
    await live(page)
    await page.route("**/v1/tasks/**", lambda route: route.abort())
    task = page.locator(".task").first
    await task.locator("summary").click()
    await task.get_by_label("Your name").fill("Li")
    await task.locator("textarea").fill("on the way")
    await task.get_by_role("button", name="Confirm: accept").click()
    await expect(task.locator(".result")).to_have_text(re.compile("It did not work: The server cannot be reached"))
    await expect(task.locator("textarea")).to_have_value("on the way")


@pytest.mark.parametrize("path", ["/tasks", "/cases", "/alerts"])
async def test_a_filter_says_what_is_shown_after_going_back(server: Server, open_page: Open, path: str) -> None:
    page = await open_page(server.url + path)
    await live(page)
    select = page.locator(".filters select").first
    await select.select_option(index=1)
    await page.get_by_role("button", name="筛选").click()
    await expect(select).not_to_have_value("")
    await page.go_back()
    await expect(select).to_have_value("")
    await select.select_option(index=1)
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await expect(select).to_have_value("")


async def test_a_store_that_goes_away_is_told_on_an_open_page_until_it_is_back(
    tmp_path: Path, server: Server, open_page: Open
) -> None:
    switch = tmp_path / "away"
    with serving("--away", str(switch)) as other:
        case = await open_page(f"{other.url}/cases/{open_case(other, 'away')}", forgive="503")
        overview = await open_page(other.url)
        await live(case)
        await live(overview)
        for page in (case, overview):
            await expect(page.locator("#stale")).to_be_hidden()
        switch.write_text("", "utf-8")
        for page in (case, overview):
            await expect(page.locator("#stale")).to_contain_text("数据存储暂时没有应答")
        await expect(case.locator(".task").first).to_be_visible()
        switch.unlink()
        for page in (case, overview):
            await expect(page.locator("#stale")).to_be_hidden()
            await page.close()


async def test_a_form_whose_effect_is_slow_says_so_and_goes_when_the_effect_is_there(
    tmp_path: Path, server: Server, open_page: Open
) -> None:
    switch = tmp_path / "away"
    with serving("--away", str(switch)) as other:
        mine = await open_page(f"{other.url}/cases/{open_case(other, 'slow')}")
        await live(mine)
        task = mine.locator(".task").first
        identifier = await task.get_attribute("data-key")
        switch.write_text("deaf", "utf-8")
        await task.locator("summary").click()
        await task.get_by_label("经办人").fill("李建国")
        await task.get_by_role("button", name="确认受理").click()
        await expect(task.locator(".result")).to_have_text("已提交，结果稍后显示。")
        switch.unlink()
        await mine.evaluate(
            "id => fetch(`/v1/tasks/${id}/accept`, {method: 'POST', headers: {'Content-Type': 'application/json'},"
            ' body: \'{"actor": "李建国"}\'})',
            identifier,
        )
        await expect(task.locator(".task-head")).to_contain_text("已受理")
        await expect(task.locator("details[open]")).to_have_count(0)
        await mine.close()


async def test_a_record_that_is_submitted_again_shows_what_became_of_it_once_that_is_stored(
    server: Server, open_page: Open
) -> None:
    server.send(complaint("good"), {**complaint("bad"), "occurred_at": "yesterday"})
    page = await open_page(f"{server.url}/quarantine")
    await live(page)
    identifier = await page.locator("tr[data-key]").first.get_attribute("data-key")
    row = page.locator(f'tr[data-key="{identifier}"]')
    stale, looks = await page.content(), [0]

    async def slowly(route: Route) -> None:
        # The store is behind: the page is still as it was, twice.
        looks[0] += 1
        await (route.fulfill(body=stale, content_type="text/html") if looks[0] <= 2 else route.continue_())

    await page.route("**/quarantine", slowly)
    await row.get_by_role("button", name="重新提交").click()
    await expect(row.locator(".result")).to_have_text("已提交，结果稍后显示。")
    await page.wait_for_timeout(1_500)
    assert looks[0] > 0
    await expect(row.locator(".result")).to_have_text("已提交，结果稍后显示。")  # and cannot be sent twice meanwhile
    await expect(row.get_by_role("button")).to_be_disabled()
    await expect(row).to_contain_text("再次被隔离 → qu-")
    await row.locator(".became a").click()
    await expect(page.locator("tr[data-key]")).to_have_count(1)
    assert await page.locator("tr[data-key]").get_attribute("data-key") != identifier


async def test_rules_are_narrowed_while_typing_and_a_hash_is_copied(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/rules", permissions=["clipboard-read", "clipboard-write"])
    await expect(page.locator(".rule-card:visible")).to_have_count(2)
    await page.get_by_label("筛选名称或编号").fill("聚集")
    await expect(page.locator(".rule-card:visible")).to_have_count(1)
    await expect(page.locator(".rule-field:visible")).to_have_count(1)
    button = page.locator(".rule-card:visible .copy")
    await button.click()
    await expect(button).to_have_text("已复制")
    assert await page.evaluate("navigator.clipboard.readText()") == "9f3c2a17d0b4e856"
    await page.get_by_label("筛选名称或编号").fill("没有这样的规则")
    await expect(page.get_by_text("没有符合条件的规则。")).to_be_visible()


async def test_a_task_is_accepted_without_scripts(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, 'plain')}", java_script_enabled=False)
    task = page.locator(".task").first
    await task.locator("summary").click()
    await task.locator("[name=actor]").fill("李建国")
    await task.get_by_role("button", name="确认受理").click()
    await expect(page.locator(".task").first).to_contain_text("已受理")


async def test_the_keyboard_goes_everywhere(server: Server, open_page: Open) -> None:
    page = await open_page(server.url)
    await live(page)
    await page.keyboard.press("g")
    await page.keyboard.press("c")
    await expect(page.locator("h1")).to_have_text("案件")
    await live(page)
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.keyboard.press("/")
    await expect(page.locator("#search")).to_be_focused()
    alert = server.get("/v1/alerts")["items"][-1]
    await page.keyboard.type(alert["id"])
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{server.url}/alerts/{alert['id']}")
    await live(page)
    await page.keyboard.press("g")
    await page.keyboard.press("o")
    await expect(page).to_have_url(f"{server.url}/")


@pytest.mark.parametrize("locale", ["zh-CN", "en-US"])
@pytest.mark.parametrize("width", [375, 768, 1366, 1920])
async def test_no_page_scrolls_sideways(server: Server, open_page: Open, width: int, locale: str) -> None:
    page = await open_page(server.url, width=width, locale=locale)
    for path in paths(server):
        await page.goto(server.url + path)
        over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{path} is {over} px too wide"


@pytest.mark.parametrize("width", [390, 1280, 1920])
async def test_short_words_and_moments_are_not_broken(server: Server, open_page: Open, width: int) -> None:
    page = await open_page(f"{server.url}/tasks", width=width)
    alert = server.get("/v1/alerts")["items"][-1]
    for path, short in (("/tasks", ".lead .sub"), ("/deliveries", "td.word"), (f"/alerts/{alert['id']}", ".moment")):
        await page.goto(server.url + path)
        broken = "all => all.filter(each => { const range = document.createRange(); range.selectNodeContents(each);"
        broken += " return new Set([...range.getClientRects()].map(line => Math.round(line.top))).size > 1; })"
        broken += ".map(each => each.textContent)"
        assert await page.locator(short).count() > 0
        assert await page.locator(short).evaluate_all(broken) == [], path


async def test_the_numbers_of_complaints_are_not_broken(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, 'numbers')}", width=1440)
    numbers = page.locator("td .number")
    assert await numbers.count() >= 3
    assert await numbers.evaluate_all("all => all.filter(each => each.offsetHeight > 30).length") == 0


async def test_columns_of_lists_have_heads_where_there_is_room(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/tasks", width=1280)
    for path, row in (("/tasks", ".task-row"), ("/cases", ".case-row")):
        await page.set_viewport_size({"width": 1280, "height": 720})
        await page.goto(server.url + path)
        lefts = "each => [...each.children].filter(child => !child.matches('.quiet')).map(child => child.offsetLeft)"
        head = await page.locator(f"{row}.row-head").evaluate(lefts)
        assert head[:-1] == (await page.locator(f"[data-region] > {row}").first.evaluate(lefts))[:-1]
        await page.set_viewport_size({"width": 390, "height": 844})
        await expect(page.locator(".row-head")).to_be_hidden()


async def test_the_overview_fills_a_wall_in_large_type_and_comes_back(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/?wall", width=1920, height=1080)
    await live(page)
    await expect(page.locator(".side")).to_be_hidden()
    assert await page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") > 20
    over = await page.evaluate("document.documentElement.scrollHeight - innerHeight")
    assert over <= 0
    for figure in ("open_cases", "rate", "alerts_by_severity.info"):
        await expect(page.locator(f'[data-figure="{figure}"]')).to_be_in_viewport()
    for last in await page.locator("[data-ranking] li:last-child").all():
        await expect(last).to_be_in_viewport(ratio=1)
    cut = "all => all.filter(each => each.scrollHeight > each.clientHeight + 1).length"
    assert await page.locator(".severities li a, .most li a").evaluate_all(cut) == 0
    long = "all => all.forEach(each => { each.textContent = '监'.repeat(40); })"
    await page.locator(".most li span").evaluate_all(long)
    right = "each => each.getBoundingClientRect().right"
    edge = await page.locator(".most").evaluate(right)
    assert await page.locator(".most li b").evaluate_all(f"all => Math.max(...all.map({right}))") < edge
    await page.get_by_role("button", name="退出大屏").click()
    await expect(page.locator(".side")).to_be_visible()
    await page.get_by_role("button", name="大屏显示").click()
    await expect(page.locator(".side")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_words_stand_out_from_what_is_behind_them(server: Server, open_page: Open, scheme: str) -> None:
    page = await open_page(server.url, color_scheme=scheme)
    for path in paths(server):
        await page.goto(server.url + path)
        assert await page.evaluate(_CONTRAST) == [], path
    await page.evaluate("document.querySelector('h1').style.color = getComputedStyle(document.body).backgroundColor")
    assert await page.evaluate(_CONTRAST) != [], "the measure itself does not see a weak text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_paper_has_dark_words_on_white_whole_moments_and_nothing_to_press(
    server: Server, open_page: Open, scheme: str
) -> None:
    page = await open_page(f"{server.url}/cases/{open_case(server, f'paper-{scheme}')}", color_scheme=scheme)
    await live(page)
    await page.locator("#printed").evaluate("each => each.textContent = ''")
    await page.emulate_media(media="print")
    assert await page.evaluate(_CONTRAST) == []
    assert await page.evaluate("getComputedStyle(document.querySelector('.task')).color") == "rgb(21, 32, 43)"
    for hidden in (".side", ".top", ".acts", ".button"):
        assert await page.locator(f"{hidden}:visible").count() == 0, hidden
    await expect(page.get_by_text("所有时间均为北京时间")).to_be_visible()
    await expect(page.locator(".printed")).to_contain_text("互联网+监管 事件流")
    await page.evaluate("dispatchEvent(new Event('beforeprint'))")
    await expect(page.locator("#printed")).to_have_text(re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\+8"))
    moment = page.locator("time[data-relative]").first
    assert await moment.evaluate("each => getComputedStyle(each).fontSize") == "0px"
    told = await moment.evaluate("each => getComputedStyle(each, '::after').content")
    assert told == f'"{await moment.get_attribute("title")}"'
    assert await page.locator(".track").first.evaluate("each => getComputedStyle(each).printColorAdjust") == "exact"
    await page.locator(".step").last.evaluate("each => each.classList.add('fresh')")
    assert await page.locator(".step").last.evaluate("each => getComputedStyle(each).animationName") == "none"
    sheets = "[...document.styleSheets].flatMap(sheet => [...sheet.cssRules])"
    numbered = f"{sheets}.filter(rule => rule instanceof CSSPageRule).map(rule => rule.cssText).join()"
    assert "counter(page)" in await page.evaluate(numbered)


async def test_a_printed_rule_has_all_of_its_text_and_no_line_is_cut(server: Server, open_page: Open) -> None:
    page = await open_page(f"{server.url}/rules/food-poisoning-cluster/versions", width=695)
    text = page.locator("details pre").first
    await text.evaluate("each => { each.textContent = 'x'.repeat(300); each.parentElement.open = false; }")
    assert await text.evaluate("each => each.checkVisibility({ contentVisibilityAuto: true })") is False
    await page.emulate_media(media="print")
    assert await text.evaluate("each => each.checkVisibility({ contentVisibilityAuto: true })") is True
    assert await text.evaluate("each => each.scrollWidth - each.clientWidth") <= 0
    await expect(page.locator("h1")).to_have_text("规则版本 · 疑似食源性疾病聚集 · food-poisoning-cluster")


async def test_a_server_that_goes_away_is_shown_and_the_page_recovers(open_page: Open) -> None:
    port = free_port()
    with serving("--empty", port=port) as first:
        page = await open_page(first.url, forgive="ERR_")
        await live(page)
    await expect(page.locator("#connection")).to_have_attribute("data-state", "broken")
    await expect(page.locator("#connection")).to_contain_text("连接中断")
    with serving("--empty", port=port) as second:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=30_000)
        second.send(complaint("back"))
        await expect(page.locator("[data-figure=events_total]")).to_have_text("1")


# Texts whose contrast with the nearest opaque background is below WCAG AA: 4.5, or 3 for large ones.
_CONTRAST = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const linear = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ({ r, g, b }) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { r: 255, g: 255, b: 255 };
  };
  const weak = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(".quiet, .sprite")) continue;
    const style = getComputedStyle(element);
    const [one, two] = [light(parse(style.color)), light(behind(element))].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < needed) weak.add(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...weak];
}"""
