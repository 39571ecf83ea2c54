"""Explanations, backtests and versions over the API and on pages, in both languages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any, cast

import httpx
import pytest

from dashboards import Limits, WaitingRule
from jianguan.errors import InputError
from tests.dashboards.conftest import Build, Site
from tests.dashboards.fakes import CLUSTER, DAY
from tests.dashboards.rule_fakes import NOW, FakeTools, explanation
from tests.dashboards.test_pages import check

EVENT = "ev-0123456789abcdef01234567"
BODY = {"rule": CLUSTER, "since": NOW - 28 * DAY, "until": NOW}


def tools(site: Site) -> FakeTools:
    return cast(FakeTools, site.deps.tools)


async def until(site: Site, identifier: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The backtest, once it is as wanted."""
    async with asyncio.timeout(5):
        while True:
            found: dict[str, Any] = (await site.client.get(f"/v1/backtests/{identifier}")).json()
            if wanted(found):
                return found
            await asyncio.sleep(0)


async def started(site: Site, **changes: Any) -> httpx.Response:
    return await site.client.post("/v1/backtests", json={**BODY, **changes})


async def test_an_explanation_tells_each_clause_and_the_distance_to_each_threshold(site: Site) -> None:
    answer = await site.client.get(f"/v1/rules/{CLUSTER}/explain/{EVENT}")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["verdict"], body["why"]) == ("below", "the event counts, and the thresholds are not reached")
    assert [(each["name"], each["lacking"]) for each in body["measures"]] == [("count", 2.0), ("distinct", 0.0)]
    assert body["clauses"][1] == {
        "text": "text", "depth": 1, "value": "12", "hidden": True, "missing": [], "error": "",
    }  # fmt: skip
    assert body["group"][0] == {"field": "enterprise", "value": "licence:1"}
    older = await site.client.get(f"/v1/rules/{CLUSTER}/explain/{EVENT}?version=1")
    assert older.json()["version"] == 1


async def test_what_history_has_for_a_rule_is_told(site: Site) -> None:
    body = (await site.client.get(f"/v1/rules/{CLUSTER}/warm")).json()
    assert (body["events"], body["facts"], body["groups"]) == (1_200, 40, 7)
    assert [(each["key"], each["facts"]) for each in body["fullest"]] == [("licence:1", 3), (None, 2)]
    assert body["rule"]["id"] == CLUSTER


@pytest.mark.parametrize("path", ["/v1/rules/nobody/explain/ev-1", f"/v1/rules/{CLUSTER}/explain/x",
                                  "/v1/rules/nobody/warm",
                                  "/v1/rules/nobody/versions", "/v1/backtests/cm-1"])  # fmt: skip
async def test_what_nobody_knows_is_not_found(site: Site, path: str) -> None:
    assert (await site.client.get(path)).status_code == 404


async def test_an_explanation_begins_its_labels_with_a_capital(site: Site) -> None:
    page = (await site.page(f"/explain?rule={CLUSTER}&event={EVENT}", "en")).text
    assert "<dt>Reporter</dt>" in page
    assert "<dt>reporter</dt>" not in page


async def test_an_explanation_names_the_enterprise_beside_its_code_where_a_name_is_known(
    filled: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = next(each.event for each in filled.world.events.values() if each.event.enterprise_name)
    assert event.enterprise is not None
    group = (("enterprise", event.enterprise),)
    monkeypatch.setattr(tools(filled), "explain", lambda rule, event, _: replace(explanation(rule, event), group=group))
    page = (await filled.page(f"/explain?rule={CLUSTER}&event={event.id}")).text
    assert f'>{event.enterprise_name}</a> <span class="id">{event.enterprise}</span></dd>' in page
    unknown = (await filled.page(f"/explain?rule={CLUSTER}&event={EVENT}")).text
    assert f">{event.enterprise}</a></dd>" in unknown


@pytest.mark.parametrize(
    ("language", "said"), [("zh", "本事件列在本规则的下列预警中"), ("en", "It is among the events of these alerts")]
)
async def test_an_explanation_of_an_event_below_the_thresholds_leads_to_the_alert_that_came_of_it(
    filled: Site, language: str, said: str
) -> None:
    alert = next(each for each in filled.world.alerts_.values() if each.rule == CLUSTER)
    page = (await filled.page(f"/explain?rule={CLUSTER}&event={alert.events[0]}", language)).text
    check(page)
    assert said in page
    assert f'href="/alerts/{alert.id}"' in page
    other = next(
        each for each in filled.world.events if not any(each in a.events for a in filled.world.alerts_.values())
    )
    assert said not in (await filled.page(f"/explain?rule={CLUSTER}&event={other}", language)).text


@pytest.mark.parametrize(("language", "said"), [("zh", "列在所产生的预警上"), ("en", "stand on the alerts")])
async def test_an_explanation_of_what_fired_without_a_measure_leads_to_the_alert(
    site: Site, monkeypatch: pytest.MonkeyPatch, language: str, said: str
) -> None:
    fired = replace(
        explanation(CLUSTER, EVENT),
        verdict="fired",
        measures=(),
        window_start=None,
        window=(),
        alerts=("al-0123456789abcdef01234567",),
    )
    monkeypatch.setattr(tools(site), "explain", lambda *_: fired)
    page = (await site.page(f"/explain?rule={CLUSTER}&event={EVENT}", language)).text
    check(page)
    assert said in page
    assert 'href="/alerts/al-0123456789abcdef01234567"' in page
    assert "不是此规则的事实" not in page
    assert "no fact of this rule" not in page


async def test_an_explanation_takes_any_name_of_one_event(filled: Site) -> None:
    event = next(each.event for each in filled.world.events.values() if each.event.number)
    for name in (event.id, event.number, event.source_id):
        page = await filled.page(f"/explain?rule={CLUSTER}&event={name}")
        assert page.status_code == 200, name
        assert f'href="/events/{event.id}"' in page.text
        assert f'name="event" value="{name}"' in page.text


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_what_cannot_be_explained_keeps_the_form_as_it_was_filled(filled: Site, language: str) -> None:
    for rule, event, said in (
        (CLUSTER, "no-such-event", {"zh": "没有找到事件“no-such-event”", "en": "No event is known as “no-such-event”"}),
        ("long-gone", EVENT, {"zh": "没有这条规则", "en": "There is no such rule"}),
    ):
        page = await filled.page(f"/explain?rule={rule}&event={event}", language)
        assert page.status_code == 404
        assert said[language] in page.text
        assert f'name="event" value="{event}"' in page.text
        assert re.search(rf'<option value="{rule}" selected>', page.text)
        check(page.text)


async def test_a_name_of_several_events_lets_one_be_chosen(filled: Site) -> None:
    enterprise = next(each.event.enterprise for each in filled.world.events.values() if each.event.enterprise)
    events = [each.event.id for each in filled.world.events.values() if each.event.enterprise == enterprise]
    page = (await filled.page(f"/explain?rule={CLUSTER}&event={enterprise}")).text
    assert "对应多个事件" in page
    for event in events:
        assert f'href="/explain?rule={CLUSTER}&amp;event={event}"' in page
    check(page)


@pytest.mark.parametrize("path", ["/explain", "/alerts"])
async def test_a_rule_is_picked_by_its_title(site: Site, path: str) -> None:
    assert f'<option value="{CLUSTER}">疑似食源性疾病聚集 · {CLUSTER}</option>' in (await site.page(path)).text
    assert f">Suspected food poisoning · {CLUSTER}<" in (await site.page(path, "en")).text


async def test_a_backtest_is_followed_to_its_end(site: Site) -> None:
    tools(site).go.clear()
    answer = await started(site)
    assert answer.status_code == 202
    running = await until(site, answer.json()["id"], lambda body: body["done"] == 500)
    assert (running["state"], running["of"], running["report"]) == ("running", 1000, None)
    assert (await site.client.get("/healthz")).status_code == 200  # the loop is not held up
    tools(site).go.set()
    done = await until(site, running["id"], lambda body: body["state"] == "done")
    report = done["report"]
    assert (report["alerts"], report["added_count"], report["removed_count"]) == (5, 2, 1)
    assert report["loads"][0]["per_week"] == 1.25


async def test_a_backtest_is_cancelled(site: Site) -> None:
    tools(site).go.clear()
    first, second = [(await started(site)).json()["id"] for _ in range(2)]
    await until(site, first, lambda body: body["done"] == 500)
    assert (await site.client.delete(f"/v1/backtests/{second}")).json()["state"] == "cancelled"
    await site.client.delete(f"/v1/backtests/{first}")
    await until(site, first, lambda body: body["state"] == "cancelled")
    tools(site).go.set()
    third = (await started(site)).json()["id"]
    await until(site, third, lambda body: body["state"] == "done")
    assert len(tools(site).asked) == 2


async def test_what_cannot_be_tried_is_refused_with_its_place(site: Site) -> None:
    broken = await started(site, text="broken")
    assert (broken.status_code, broken.json()["detail"]) == (422, "1:1: the key id is missing")
    assert (await started(site, rule="nobody")).status_code == 404
    assert (await started(site, since=0, until=4_000 * DAY)).status_code == 422
    assert (await started(site, since="soon")).status_code == 422


async def test_too_many_backtests_are_refused_and_ended_ones_forgotten(build: Build) -> None:
    site = build(limits=Limits(backtests_waiting=1, backtests_kept=2))
    tools(site).go.clear()
    ids = [(await started(site)).json()["id"] for _ in range(2)]
    assert (await started(site)).status_code == 503
    tools(site).go.set()
    await until(site, ids[1], lambda body: body["state"] == "done")
    for _ in range(3):
        last = (await started(site)).json()["id"]
        await until(site, last, lambda body: body["state"] == "done")
    assert (await site.client.get(f"/v1/backtests/{ids[0]}")).status_code == 404


async def test_versions_are_told_with_author_reason_and_text(site: Site) -> None:
    body = (await site.client.get(f"/v1/rules/{CLUSTER}/versions")).json()
    assert body["versions"][0]["author"] == "wang"
    assert body["versions"][0]["people"] == ["wang", "li"]
    assert body["versions"][0]["text"].startswith("id: food")


async def test_content_that_waits_is_approved(site: Site) -> None:
    path = f"/v1/rules/{CLUSTER}/approvals"
    said = {"actor": "li", "note": "checked with a backtest"}
    assert (await site.client.post(path, json=said)).status_code == 409
    tools(site).waiting = True
    body = (await site.client.post(path, json=said)).json()
    assert body["approvals"][0] | {"at": ""} == {"person": "li", "reason": "checked with a backtest", "at": ""}
    assert (await site.client.post(path, json={"actor": ""})).status_code == 422


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", ("尚未达到阈值", "12 字，已隐藏", "缺少 severity", "已登记，已隐藏")),
        ("en", ("the thresholds are not reached", "12 characters, hidden", "lacks severity", "On record, hidden")),
    ],
)
async def test_the_page_explains_in_both_languages(site: Site, language: str, words: tuple[str, ...]) -> None:
    page = await site.page(f"/explain?rule={CLUSTER}&event={EVENT}", language)
    assert page.status_code == 200
    check(page.text)
    for each in words:
        assert each in page.text
    empty = await site.page("/explain", language)
    check(empty.text)
    assert (await site.page("/explain?rule=nobody&event=ev-1", language)).status_code == 404


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_pages_try_a_rule_without_scripts(site: Site, language: str) -> None:
    form = await site.page(f"/rules/{CLUSTER}/backtest", language)
    check(form.text)
    assert "id: food" in form.text
    fields = {"since": "2026-10-01", "until": "2026-10-31", "against": "2", "text": "id: food\r\nversion: 3\r\n"}
    tools(site).go.clear()
    sent = await site.client.post(f"/rules/{CLUSTER}/backtest", data=fields)
    assert sent.status_code == 303
    place = sent.headers["location"]
    await until(site, place.rpartition("/")[2], lambda body: body["done"] == 500)
    running = await site.page(place, language)
    check(running.text)
    assert 'http-equiv="refresh"' in running.text
    tools(site).go.set()
    await until(site, place.rpartition("/")[2], lambda body: body["state"] == "done")
    done = await site.page(place, language)
    check(done.text)
    assert "refresh" not in done.text
    assert 'class="bars"' in done.text
    request = tools(site).asked[-1]
    assert (request.text, request.against) == ("id: food\nversion: 3\n", 2)
    assert request.until - request.since == 31 * DAY
    listed = await site.page(f"/rules/{CLUSTER}/backtest", language)
    assert place in listed.text
    same = await site.client.post(f"/rules/{CLUSTER}/backtest", data={**fields, "text": "id: food\nversion: 2"})
    await until(site, same.headers["location"].rpartition("/")[2], lambda body: body["state"] == "done")
    assert tools(site).asked[-1].text == ""
    wrong = await site.client.post(f"/rules/{CLUSTER}/backtest", data={**fields, "since": "soon"})
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    ("changed", "zh", "en"),
    [
        ({"text": "id: broken\r\nname: <b>"}, "不能试算：</p>", "cannot be tried:</p>"),
        ({"since": "soon"}, "日期请按 2026-01-31", "A day is written 2026-01-31"),
        ({"since": "1990-01-01"}, "至多覆盖 3,660 天", "at most 3,660 days"),
    ],
)
async def test_a_backtest_that_is_refused_gives_back_the_form_as_it_was_typed_and_says_why(
    site: Site, changed: dict[str, str], zh: str, en: str
) -> None:
    fields = {"since": "2026-10-01", "until": "2026-10-31", "against": "2", "text": "id: mine\r\n", **changed}
    for language, said in (("zh", zh), ("en", en)):
        headers = {"Accept": "text/html", "Accept-Language": language}
        page = await site.client.post(f"/rules/{CLUSTER}/backtest", data=fields, headers=headers)
        assert page.status_code == 422
        check(page.text)
        assert said in page.text
        assert "经办人" not in page.text.partition("<main")[2]
        assert "64" not in page.text[page.text.index('role="alert"') :].partition("</div>")[0]
        typed = page.text[page.text.index("<textarea") :].partition(">")[2].partition("</textarea>")[0]
        assert unescape(typed).removeprefix("\n") == fields["text"].replace("\r\n", "\n")
        assert f'name="since" value="{fields["since"]}"' in page.text
        assert '<option value="2" selected>' in page.text
    if "text" in changed:
        assert '<pre class="code" tabindex="0">1:1: the key id is missing</pre>' in page.text


async def test_what_is_refused_for_its_content_says_why_and_asks_for_no_name(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("bad-version", "version 3 looks at <alerts>")

    monkeypatch.setattr(tools(site), "explain", refuse)
    page = await site.page(f"/explain?rule={CLUSTER}&event={EVENT}")
    assert page.status_code == 422
    check(page.text)
    assert '<pre class="code" tabindex="0">version 3 looks at &lt;alerts&gt;</pre>' in page.text
    assert "经办人" not in page.text.partition("<main")[2]


async def test_a_backtest_that_has_to_wait_too_long_gives_back_what_was_typed(build: Build) -> None:
    site = build(limits=Limits(backtests_waiting=0))
    tools(site).go.clear()
    fields = {"since": "2026-10-01", "until": "2026-10-31", "text": "id: mine"}
    first = await site.client.post(f"/rules/{CLUSTER}/backtest", data=fields)
    assert first.status_code == 303
    page = await site.client.post(f"/rules/{CLUSTER}/backtest", data=fields, headers={"Accept": "text/html"})
    tools(site).go.set()
    assert (page.status_code, page.headers["retry-after"]) == (503, "30")
    assert "正在排队的试算太多" in page.text
    assert "id: mine" in page.text


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_page_of_versions_approves_what_waits(site: Site, language: str) -> None:
    tools(site).waiting = True
    page = await site.page(f"/rules/{CLUSTER}/versions", language)
    check(page.text)
    assert "太多误报" in page.text
    sent = await site.client.post(f"/rules/{CLUSTER}/approvals", data={"actor": "li", "note": "ok"})
    assert sent.headers["location"] == f"/rules/{CLUSTER}/versions"
    assert "<b>li</b>" in (await site.page(f"/rules/{CLUSTER}/versions", language)).text


async def test_the_pages_of_rules_events_and_alerts_lead_there(build: Build) -> None:
    plain = build(filled=True)
    info = plain.deps.rules_info()
    waiting = replace(info, waiting=(WaitingRule(CLUSTER, 3, ("li",), 2),))
    site = build(filled=True, rules_info=lambda: waiting)
    rules = (await site.page("/rules", "en")).text
    for path in (f"/explain?rule={CLUSTER}", f"/rules/{CLUSTER}/backtest", f"/rules/{CLUSTER}/versions"):
        assert path in rules
    assert f"{CLUSTER} v3 (1/2)" in rules
    alert = next(each for each in site.world.alerts_.values() if each.rule == CLUSTER)
    event = alert.events[-1]
    assert f"/explain?rule={CLUSTER}&amp;event={event}" in (await site.page(f"/events/{event}")).text
    shown = (await site.page(f"/alerts/{alert.id}")).text
    assert f"/explain?rule={CLUSTER}&amp;event={event}&amp;version={alert.version}" in shown
    assert f"/rules/{CLUSTER}/versions#{alert.rule_hash}" in shown
