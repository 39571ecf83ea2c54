"""Where the server is found, and what its answers become."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from jianguan.cli.server import Client, ServerAddress, client_options, find_server
from jianguan.errors import ConfigurationError, InputError, JianguanError, UnavailableError

ADDRESS = ServerAddress("http://127.0.0.1:8600", "--server")


def test_the_option_wins_over_the_environment_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"url": "http://127.0.0.1:3/", "pid": 4}')
    environ = {"JIANGUAN_SERVER": "http://127.0.0.1:2"}
    assert find_server(tmp_path, "127.0.0.1:1", environ) == ServerAddress("http://127.0.0.1:1", "--server")
    assert find_server(tmp_path, None, environ).url == "http://127.0.0.1:2"
    assert find_server(tmp_path, None).url == "http://127.0.0.1:3"
    assert find_server(None, None, {"JIANGUAN_DATA": str(tmp_path)}).found_in == str(tmp_path / "server.json")


def test_no_server_is_an_error_that_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="jianguan up") as caught:
        find_server(tmp_path, None)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("text", ["[]", "{", '{"pid": 1}', "null"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"server\.json"):
        find_server(tmp_path, None)


@pytest.mark.parametrize("text", ["ftp://x", "http://", "http://user:secret@x", "http://x:port", "http://x?a=1"])
def test_what_is_no_address_is_refused_without_repeating_a_password(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_server(None, text)
    assert "secret" not in str(caught.value)


def test_the_token_comes_from_the_environment_and_a_proxy_never_sees_loopback() -> None:
    options = client_options(ADDRESS, {"JIANGUAN_API_TOKEN": "t"})
    assert options["headers"]["Authorization"] == "Bearer t"
    assert options["trust_env"] is False
    remote = client_options(ServerAddress("https://example.org", ""), {})
    assert "Authorization" not in remote["headers"]
    assert remote["trust_env"] is True


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, ConfigurationError), (404, InputError), (400, InputError), (503, UnavailableError), (500, JianguanError)],
)
def test_an_answer_that_is_no_success_becomes_our_error(status: int, kind: type[JianguanError]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"code": "the-code", "detail": "the reason"})

    with Client(ADDRESS, {}, httpx.MockTransport(answer)) as client, pytest.raises(kind, match="the reason") as caught:
        client.get("/v1/history/x")
    assert type(caught.value) is kind


def test_a_server_that_is_gone_is_unavailable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with (
        Client(ADDRESS, {}, httpx.MockTransport(refuse)) as client,
        pytest.raises(UnavailableError, match="jianguan up"),
    ):
        client.get("/v1/history/x")


def test_an_answer_that_is_not_json_is_not_our_server() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>"))
    with Client(ADDRESS, {}, transport) as client, pytest.raises(UnavailableError, match="not a jianguan server"):
        client.get("/")
