"""The JSON API: reads, paging, masking, actions, errors."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from dashboards import Limits
from dashboards.paging import page_of
from jianguan.domain.case import TRANSITIONS
from jianguan.domain.casework import CaseDesk
from tests.dashboards.conftest import Build, Site
from tests.dashboards.sample import event, shop

READS = (
    "/v1/alerts", "/v1/cases", "/v1/tasks", "/v1/quarantine", "/v1/deliveries", "/v1/history/x", "/v1/alerts/x",
    "/v1/cases/x", "/v1/quarantine/x", "/v1/submissions/x",
)  # fmt: skip


@pytest.mark.parametrize("path", READS)
async def test_a_store_that_is_down_is_503_with_a_time_to_come_back(site: Site, path: str) -> None:
    site.world.down = True
    answer = await site.client.get(path)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["code"] == "unavailable"


@pytest.mark.parametrize("path", [path for path in READS if path.endswith("/x")])
async def test_an_unknown_id_is_404(site: Site, path: str) -> None:
    answer = await site.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/alerts/a/b/c"])
async def test_an_unknown_path_is_a_problem(site: Site, path: str) -> None:
    answer = await site.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_a_wrong_method_is_a_problem(site: Site) -> None:
    answer = await site.client.delete("/v1/alerts")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")


@pytest.mark.parametrize(
    ("path", "name", "near"),
    [
        ("/v1/tasks", "overdu", "overdue"),
        ("/v1/cases", "departement", "department"),
        ("/v1/alerts", "sevrity", "severity"),
        ("/v1/quarantine", "stat", "state"),
        ("/v1/deliveries", "reciever", "receiver"),
        ("/v1/rules/r/explain/e", "versoin", "version"),
    ],
)
async def test_a_misspelt_parameter_is_422_and_met_with_the_right_one(
    site: Site, path: str, name: str, near: str
) -> None:
    answer = await site.client.get(f"{path}?{name}=secret")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-parameter")
    assert answer.json()["detail"] == f"{name} is not a known parameter, did you mean {near}?"
    assert answer.json()["errors"][0]["field"] == f"query.{name}"
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/cases"])
async def test_a_department_that_there_is_not_is_422_and_met_with_those_that_there_are(site: Site, path: str) -> None:
    answer = await site.client.get(f"{path}?department=nosuch")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-department")
    assert answer.json()["errors"] == [{"field": "query.department", "message": answer.json()["detail"]}]
    assert all(name in answer.json()["detail"] for name in site.deps.departments)
    name = next(iter(site.deps.departments))
    assert (await site.client.get(f"{path}?department={name}")).status_code == 200


@pytest.mark.parametrize(
    "query", ["severity=grave", "limit=0", "limit=501", "before=-1", "before=x", f"rule={'r' * 200}", "limit=1e3"]
)
async def test_a_bad_parameter_is_422_and_is_not_repeated(site: Site, query: str) -> None:
    answer = await site.client.get(f"/v1/alerts?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "grave" not in answer.text.replace("'grave", "")


async def test_history_of_an_id_without_its_prefix_says_which_id_it_is_of(filled: Site) -> None:
    case = next(iter(filled.world.cases_))
    answer = await filled.client.get(f"/v1/history/{case[3:]}")
    assert answer.status_code == 200
    assert (answer.json()["kind"], answer.json()["asked"]) == ("case", case)
    assert answer.json() == (await filled.client.get(f"/v1/history/{case}")).json()


async def test_history_of_anything_leaves_out_what_is_personal(filled: Site) -> None:
    alert = next(iter(filled.world.alerts_.values()))
    for asked in (alert.id, alert.events[0], alert.enterprise, next(iter(filled.world.tasks_)), "T000001"):
        answer = await filled.client.get(f"/v1/history/{asked}")
        assert answer.status_code == 200
        assert "腹泻" not in answer.text
        assert "13800138000" not in answer.text
        assert "王小明" not in answer.text
        assert answer.json()["events"][0]["text_length"] in (0, 21)
        assert "reporter" not in answer.json()["events"][0]
        assert answer.json()["steps"]


async def test_the_hash_of_a_reporter_whose_alerts_a_rule_counts_is_not_shown(filled: Site) -> None:
    world, secret = filled.world, "0123456789abcdef" * 2
    case = next(iter(world.cases_.values()))
    alert = world.alerts_[case.alerts[0]]
    key = f"cn:310104\x1f{secret}"
    world.alerts_[alert.id] = alert._replace(key=key, case_key=None, rule="long-gone")
    world.cases_[case.id] = case._replace(case_key=f"market-regulation|region+reporter|{key}")
    for path in ("/v1/alerts", f"/v1/alerts/{alert.id}", "/v1/cases", f"/v1/cases/{case.id}", f"/v1/history/{case.id}"):
        assert secret not in (await filled.client.get(path)).text, path
    assert secret not in (await filled.page(f"/alerts/{alert.id}")).text
    assert (await filled.client.get(f"/v1/alerts/{alert.id}")).json()["key"] == "cn:310104\x1f***"


async def test_a_quarantined_record_is_described_but_not_shown(filled: Site) -> None:
    answer = await filled.client.get("/v1/quarantine")
    record = next(each for each in answer.json()["items"] if each["code"] == "not-json" and each["size"] == 8)
    assert "raw" not in record
    one = await filled.client.get(f"/v1/quarantine/{record['id']}")
    assert one.json() == record


async def test_alerts_are_filtered_and_paged_without_a_gap(filled: Site) -> None:
    everything = [alert.id for alert in filled.world.alerts(limit=1000)]
    seen: list[str] = []
    link: str | None = "/v1/alerts?limit=3"
    while link:
        answer = (await filled.client.get(link)).json()
        seen += [item["id"] for item in answer["items"]]
        link = answer["next"]
    assert sorted(seen) == sorted(everything)
    critical = (await filled.client.get("/v1/alerts?severity=critical")).json()["items"]
    assert {item["severity"] for item in critical} == {"critical"}


def test_rows_of_one_millisecond_stay_on_one_page() -> None:
    rows = [9, 8, 7, 7, 7, 6]
    assert page_of(rows, 4, lambda at: at, str) == ([9, 8], (8, None))
    assert page_of([at for at in rows if at < 8], 4, lambda at: at, str) == ([7, 7, 7, 6], None)


@pytest.mark.parametrize("of", ["alerts", "cases", "tasks", "deliveries", "quarantine"])
async def test_more_rows_of_one_millisecond_than_a_page_holds_are_all_told(filled: Site, of: str) -> None:
    """The clock settles many rules in one moment."""
    world = filled.world
    tables: dict[str, dict[str, Any]] = {
        "alerts": world.alerts_, "cases": world.cases_, "tasks": world.tasks_, "deliveries": world.deliveries_,
        "quarantine": world.quarantine_,
    }  # fmt: skip
    everything = tables[of]
    for number, each in enumerate(list(everything.values())[:1] * 9):
        copy = f"{each.id[:-2]}{number:02d}"
        everything[copy] = each._replace(id=copy)
    seen: list[str] = []
    link: str | None = f"/v1/{of}?limit=2"
    while link:
        answer = (await filled.client.get(link)).json()
        seen += [item["id"] for item in answer["items"]]
        link = answer["next"]
    assert sorted(seen) == sorted(everything)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tasks?overdue=true&department=health-commission&limit=1",
        "/v1/tasks?state=assigned&limit=1",
        "/v1/deliveries?state=dead&limit=1",
        "/v1/quarantine?code=not-json&limit=1",
    ],
)
async def test_the_next_page_is_of_the_same_list(filled: Site, path: str) -> None:
    whole = (await filled.client.get(path.replace("limit=1", "limit=500"))).json()
    assert whole["next"] is None
    seen: list[Any] = []
    link: str | None = path
    while link:
        answer = (await filled.client.get(link)).json()
        assert len(answer["items"]) == 1
        seen += answer["items"]
        link = answer["next"]
    assert seen == whole["items"]


async def test_a_page_that_large_records_make_short_is_followed_by_the_rest(filled: Site) -> None:
    everything = len(filled.world.quarantine_)
    assert everything > 1
    filled.world.listed_bytes = 1
    first = (await filled.client.get("/v1/quarantine?limit=50")).json()
    assert len(first["items"]) == 1
    link, seen = first["next"], 1
    while link:
        answer = (await filled.client.get(link)).json()
        link, seen = answer["next"], seen + len(answer["items"])
    assert seen == everything


@pytest.mark.parametrize("after", ["x", "1.2.3", "1.0.0.9.9", "a.b.c.d.e.f"])
async def test_a_place_in_the_tasks_that_is_none_is_refused(filled: Site, after: str) -> None:
    answer = await filled.client.get(f"/v1/tasks?after={after}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.after"


async def test_cases_come_with_their_tasks(filled: Site) -> None:
    items = (await filled.client.get("/v1/cases?state=open")).json()["items"]
    assert items
    assert all(len(item["tasks"]) == 3 for item in items)
    one = (await filled.client.get(f"/v1/cases/{items[0]['id']}")).json()
    assert {task["id"] for task in one["tasks"]} == {task["id"] for task in items[0]["tasks"]}
    assert one["tasks"][0]["role"] == "lead"


async def test_tasks_of_a_department(filled: Site) -> None:
    items = (await filled.client.get("/v1/tasks?department=health-commission&overdue=true")).json()["items"]
    assert items
    assert {(item["department"], item["overdue"]) for item in items} == {("health-commission", True)}


async def test_rules_come_with_the_error_of_the_last_reload(site: Site) -> None:
    answer = (await site.client.get("/v1/rules")).json()
    assert [rule["id"] for rule in answer["rules"]] == ["food-poisoning-cluster", "grave-violation"]
    assert "prepaid.yaml:12:14" in answer["error"]
    assert answer["loaded_at"].endswith("Z")


# actions


async def with_case(site: Site) -> list[str]:
    """Ids of the three tasks of one fresh case."""
    rows = [event(number, **shop(0)) for number in range(3)]
    await site.send("\n".join(map(json.dumps, rows)), "application/x-ndjson")
    return list(site.world.tasks_)


def act(site: Site, task: str, action: str, **fields: Any) -> Any:
    return site.client.post(f"/v1/tasks/{task}/{action}", json={"actor": "李建国", **fields})


async def test_a_task_is_accepted_reported_on_and_closed(site: Site) -> None:
    tasks = await with_case(site)
    for task in tasks:
        for action, state in (("accept", "accepted"), ("report", "reported"), ("close", "closed")):
            answer = await act(site, task, action, note="现场检查")
            assert answer.status_code == 200, answer.text
            assert (answer.json()["task"]["id"], answer.json()["task"]["state"]) == (task, state)
            assert answer.json()["command"].startswith("cm-")
    assert [case.state for case in site.world.cases_.values()] == ["closed"]


@pytest.mark.parametrize("action", ["report", "close"])
async def test_a_transition_that_is_not_allowed_is_409_and_names_those_that_are(site: Site, action: str) -> None:
    task, *_ = await with_case(site)
    assert ("assigned", action) not in TRANSITIONS
    answer = await act(site, task, action)
    assert (answer.status_code, answer.json()["code"]) == (409, "transition")
    assert answer.json()["allowed"] == ["accept"]


async def test_a_command_whose_outcome_is_slow_is_202(build: Build) -> None:
    site = build(limits=Limits(command_seconds=0.01))
    task, *_ = await with_case(site)
    site.world.deaf = True
    answer = await act(site, task, "accept")
    assert answer.status_code == 202
    assert answer.json()["task"] is None


async def test_the_owner_decides_although_the_store_is_behind(site: Site) -> None:
    task, *_ = await with_case(site)
    stale = site.world.tasks_[task]
    assert (await act(site, task, "accept")).status_code == 200
    site.world.tasks_[task] = stale  # what the store still says
    answer = await act(site, task, "report", note="现场检查")
    assert (answer.status_code, answer.json()["task"]["state"]) == (200, "reported")


async def test_a_command_that_the_owner_refuses_is_409_with_its_reason(site: Site) -> None:
    task, *_ = await with_case(site)
    stale = site.world.tasks_[task]
    await act(site, task, "accept")
    site.world.tasks_[task] = stale
    site.clock.advance(timedelta(seconds=1))
    answer = await act(site, task, "accept")
    assert (answer.status_code, answer.json()["code"]) == (409, "transition")
    assert answer.json()["reason"] == "accept-not-allowed-when-accepted"
    assert answer.json()["allowed"] == ["report", "close"]
    assert [step.what for step in site.world.steps if step.subject == task][-1] == "refused"


async def test_a_task_that_the_owner_does_not_know_is_409(site: Site) -> None:
    task, *_ = await with_case(site)
    site.world.desk = CaseDesk(lambda clock_id, start: (None, ""))
    answer = await act(site, task, "accept")
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (409, "refused", "unknown-task")


async def test_a_closed_task_is_409_without_a_command(site: Site) -> None:
    task, *_ = await with_case(site)
    for action in ("accept", "close"):
        await act(site, task, action)
    site.world.deaf = True
    answer = await act(site, task, "report", note="x")
    assert (answer.status_code, answer.json()["allowed"]) == (409, [])


@pytest.mark.parametrize(
    "body",
    [
        "{}", "[]", "", "null", "{", '{"actor": ""}', '{"actor": "   "}', '{"actor": 1}', '{"actor": "a\\u0000"}',
        json.dumps({"actor": "a" * 65}), json.dumps({"actor": "a", "note": "n" * 2001}),
        json.dumps({"actor": "a", "more": 1}),
    ],
)  # fmt: skip
async def test_a_bad_action_is_422(site: Site, body: str) -> None:
    task, *_ = await with_case(site)
    answer = await site.client.post(
        f"/v1/tasks/{task}/accept", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert site.world.tasks_[task].state == "assigned"


async def test_an_unknown_task_or_action_is_refused(site: Site) -> None:
    assert (await act(site, "ta-nothing", "accept")).status_code == 404
    assert (await act(site, "ta-nothing", "burn")).status_code == 422


async def test_a_quarantined_record_is_submitted_again_once(filled: Site) -> None:
    record = next(iter(filled.world.quarantine_.values()))
    first = await filled.client.post(f"/v1/quarantine/{record.id}/retry")
    assert (first.status_code, first.json()["id"]) == (202, record.id)
    assert filled.world.submitted[-1].value == record.raw
    assert filled.world.submitted[-1].topic == record.topic
    again = await filled.client.post(f"/v1/quarantine/{record.id}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "already-retried")
    assert (await filled.client.post("/v1/quarantine/qu-nothing/retry")).status_code == 404


async def test_a_delivery_is_queued_again(filled: Site) -> None:
    dead = (await filled.client.get("/v1/deliveries?state=dead")).json()["items"][0]
    answer = await filled.client.post(f"/v1/deliveries/{dead['id']}/redeliver")
    assert (answer.status_code, answer.json()) == (202, {"id": dead["id"], "queued": True})
    assert filled.world.deliveries_[dead["id"]].state == "pending"
    assert (await filled.client.post("/v1/deliveries/dl-nothing/redeliver")).status_code == 404


# reads are bounded


async def test_a_question_that_takes_too_long_is_503_and_keeps_its_place(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = build(limits=Limits(reads_at_once=1, read_seconds=0.05))
    free = threading.Event()
    monkeypatch.setattr(site.world, "deliveries", lambda **_: free.wait(10) and [])
    slow, behind = await asyncio.gather(site.client.get("/v1/deliveries"), site.client.get("/v1/tasks"))
    assert (slow.status_code, behind.status_code) == (503, 503)
    free.set()
    statuses = [(await site.client.get("/v1/tasks")).status_code for _ in range(20)]
    assert statuses[-1] == 200


async def test_too_many_questions_at_once_are_503(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    site = build(limits=Limits(reads_at_once=1, reads_waiting=1))
    free = threading.Event()
    monkeypatch.setattr(site.world, "deliveries", lambda **_: free.wait(10) and [])
    first = asyncio.create_task(site.client.get("/v1/deliveries"))
    second = asyncio.create_task(site.client.get("/v1/deliveries"))
    third = asyncio.create_task(site.client.get("/v1/deliveries"))
    done, _ = await asyncio.wait([first, second, third], return_when=asyncio.FIRST_COMPLETED)
    free.set()
    answers = await asyncio.gather(first, second, third)
    assert [each.result().status_code for each in done] == [503]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]


# operation


async def test_health_and_readiness(site: Site) -> None:
    assert (await site.client.get("/healthz")).json() == {"status": "alive"}
    assert (await site.client.get("/readyz")).json()["ready"] is True
    site.world.down = True
    answer = await site.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["store"]["ok"] is False


async def test_metrics_count_by_route_and_never_by_id(filled: Site) -> None:
    case = next(iter(filled.world.cases_))
    await filled.client.get(f"/v1/cases/{case}")
    await filled.client.get(f"/nothing/{case}")
    await filled.client.get("/static/base.css")
    text = (await filled.client.get("/metrics")).text
    assert 'jianguan_http_requests_total{method="GET",route="/v1/cases/{identifier}",status="200"} 1.0' in text
    assert 'route="none",status="404"} 1.0' in text
    assert 'route="/static"' in text
    assert "jianguan_live_clients 0.0" in text
    assert case not in text


async def test_a_defect_is_a_problem_without_its_details(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(site.world, "tasks", broken)
    answer = await site.client.get("/v1/tasks")
    assert (answer.status_code, answer.json()["code"]) == (500, "defect")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = await site.page("/tasks")
    assert page.status_code == 500
    assert "这是程序缺陷" in page.text
    assert "secret" not in answer.text
