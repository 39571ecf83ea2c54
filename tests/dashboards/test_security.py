"""What the guard lets through, and what browsers are told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any

import pytest

from dashboards import Limits
from tests.dashboards.conftest import Build, Site
from tests.dashboards.test_pages import check

TOKEN = "a token für tests"


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:9", "LOCALHOST"])
async def test_loopback_names_are_answered(site: Site, host: str) -> None:
    assert (await site.client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "a b"]
)
async def test_other_names_are_not(site: Site, host: str) -> None:
    answer = await site.client.get("/", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown-host")


async def test_further_names_may_be_allowed_and_the_check_is_for_loopback_only(build: Build) -> None:
    named = build(allowed_hosts=frozenset({"watch.example"}))
    public = build(loopback=False)
    assert (await named.client.get("/healthz", headers={"Host": "watch.example:80"})).status_code == 200
    assert (await public.client.get("/healthz", headers={"Host": "any.example"})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/alerts", "/v1/nothing", "/static/main.js", "/healthz", "/nothing"])
async def test_every_answer_binds_the_browser(site: Site, path: str) -> None:
    headers = (await site.client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:99"}, {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://[bad"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/events", "/v1/tasks/ta-1/accept", "/tasks/ta-1/accept"])
async def test_pages_of_other_sites_may_not_act(site: Site, headers: dict[str, str], path: str) -> None:
    answer = await site.client.post(path, json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross-origin")
    assert site.world.submitted == []


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}])
async def test_own_pages_and_programs_may(site: Site, headers: dict[str, str]) -> None:
    assert (await site.client.post("/v1/tasks/ta-1/accept", json={"actor": "a"}, headers=headers)).status_code == 404


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize("path", ["/", "/v1/alerts", "/metrics", "/static/main.js", "/v1/stream", "/openapi.json"])
async def test_with_a_token_everything_but_health_needs_it(build: Build, path: str) -> None:
    site = build(api_token=TOKEN)
    refused = await site.client.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer" if path.startswith("/v1/") else "Basic")
    assert (await site.client.get("/healthz")).status_code == 200
    assert (await site.client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("given", ["Bearer plain", "bearer plain", "Bearer  plain ", basic("plain")])
async def test_the_token_is_taken_as_bearer_and_as_password(build: Build, given: str) -> None:
    site = build(api_token="plain")
    assert (await site.client.get("/v1/alerts", headers={"Authorization": given})).status_code == 200


async def test_a_token_beyond_ascii_is_taken_as_password(build: Build) -> None:
    site = build(api_token=TOKEN)
    assert (await site.client.get("/v1/alerts", headers={"Authorization": basic(TOKEN)})).status_code == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer wrong", "bearer ", "Basic !!!", basic("wrong"), "Basic //79", "Digest x", TOKEN[:7]]
)
async def test_a_wrong_token_is_refused(build: Build, value: str) -> None:
    site = build(api_token="right")
    assert (await site.client.get("/v1/alerts", headers={"Authorization": value})).status_code == 401


async def test_small_requests_are_small(build: Build) -> None:
    site = build(limits=Limits(small_body_bytes=100))

    async def parts() -> Any:
        yield b'{"actor": "'
        for _ in range(20):
            yield b"a" * 50
        yield b'"}'

    said = await site.client.post("/v1/tasks/ta-1/accept", content=b"x" * 101)
    unsaid = await site.client.post(
        "/v1/tasks/ta-1/accept", content=parts(), headers={"Content-Type": "application/json"}
    )
    assert said.status_code == 413
    assert unsaid.status_code in (400, 413)


@pytest.mark.parametrize("path", ["/v1/tasks/ta-1/accept", "/tasks/ta-1/accept", "/v1/backtests"])
async def test_small_requests_must_arrive_in_time(build: Build, path: str) -> None:
    site = build(limits=Limits(body_seconds=0.05))

    async def parts() -> Any:
        yield b'{"actor": '
        await asyncio.sleep(2)
        yield b'"a"}'

    async with asyncio.timeout(1):
        answer = await site.client.post(path, content=parts(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) in ((408, "slow-body"), (400, "http-400"))


async def test_what_events_say_is_text_on_pages(site: Site) -> None:
    from tests.dashboards.sample import event

    evil = "<script>alert(1)</script>"
    for number in range(3):
        row = event(number, enterprise={"scheme": "licence", "id": "x\"'><b>", "name": evil}, product=evil)
        assert (await site.client.post("/v1/events", json=row)).status_code == 202
    alert = next(iter(site.world.alerts_.values()))
    for path in ("/", "/alerts", f"/alerts/{alert.id}", f"/events/{alert.events[0]}", "/cases", "/enterprises?q=x"):
        page = await site.page(path)
        assert page.status_code == 200
        assert evil not in page.text
        assert "&lt;script&gt;" in page.text
    found = await site.page("/search?q=%3Cscript%3Ealert(1)%3C/script%3E")
    assert evil not in found.text


REFUSED: list[tuple[str, str, dict[str, str], int, str, str]] = [
    ("GET", "/cases?state=open", {}, 401, "需要访问令牌", "A token is needed"),
    ("GET", "/", {"Host": "evil.example"}, 421, "本系统不使用这个网址", "This system has another address"),
    ("POST", "/tasks/ta-1/accept", {"Sec-Fetch-Site": "cross-site", "Authorization": basic("right")}, 403,
     "不接受从其他网站提交的内容", "Pages of other sites may not act here"),
    ("POST", "/tasks/ta-1/accept", {"Content-Length": "99999999", "Authorization": basic("right")}, 413,
     "提交的内容太大", "That is too large"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers", "status", "chinese", "english"), REFUSED)
async def test_a_refusal_is_a_page_for_browsers_and_a_problem_for_programs(
    build: Build, method: str, path: str, headers: dict[str, str], status: int, chinese: str, english: str
) -> None:
    site = build(filled=True, api_token="right")
    for language, said in (("zh", chinese), ("en", english)):
        wishes = {"Accept": "text/html,*/*;q=0.8", "Accept-Language": language, **headers}
        page = await site.client.request(method, path, headers=wishes)
        assert page.status_code == status
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["cache-control"] == "no-store"
        assert ("www-authenticate" in page.headers) == (status == 401)
        assert said in page.text
        check(page.text)
        # It has to look right although no other file of this server is to be had.
        assert not re.search(r"<(?:link|script|img)\b", page.text)
        style = re.search(r"<style>(.*)</style>", page.text, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}';" in page.headers["content-security-policy"]
    program = await site.client.request(method, path, headers=headers)
    assert program.headers["content-type"] == "application/problem+json"
    assert program.json()["status"] == status


async def test_what_the_api_refuses_is_a_problem_whatever_is_accepted(build: Build) -> None:
    answer = await build(api_token="right").client.get("/v1/alerts", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_the_page_of_a_refusal_repeats_nothing_that_could_be_markup(build: Build) -> None:
    evil = "/%22%3E%3Cscript%3E?x=%22%3E%3Cscript%3E&lang=en"
    page = await build(api_token="right").client.get(evil, headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert "<script" not in page.text
    assert "A token is needed" in page.text
    assert "set-cookie" not in page.headers
