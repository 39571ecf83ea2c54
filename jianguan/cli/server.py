"""Finds the running server and asks it. Commands go through its API, because the embedded store has one owner.

Knows addresses, tokens and how an answer becomes one of our errors; must not know what is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from jianguan.errors import ConfigurationError, InputError, JianguanError, UnavailableError

DEFAULT_DATA: Final = Path("data/embedded")
SERVER_FILE: Final = "server.json"
_START: Final = "start one with `jianguan up`, or name one with --server or JIANGUAN_SERVER"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is, without a slash at the end, and how we know."""

    url: str
    found_in: str  # --server, JIANGUAN_SERVER or the path of the file

    @property
    def loopback(self) -> bool:
        host = httpx.URL(self.url).host
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False


def find_server(data: Path | None, server: str | None, environ: Mapping[str, str] | None = None) -> ServerAddress:
    """The address from `server`, JIANGUAN_SERVER, or server.json in the data folder (`data`, JIANGUAN_DATA,
    data/embedded), in that order. UnavailableError when there is none, ConfigurationError when it is no address."""
    environ = environ or {}
    for text, found_in in ((server, "--server"), (environ.get("JIANGUAN_SERVER"), "JIANGUAN_SERVER")):
        if text:
            return _address(text, found_in)
    path = (data or Path(environ.get("JIANGUAN_DATA") or DEFAULT_DATA)) / SERVER_FILE
    try:
        url = json.loads(path.read_text("utf-8"))["url"]
    except FileNotFoundError:
        raise UnavailableError(f"no server is running here ({path} is not there): {_START}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} cannot be read as the address of a server: {_START}") from None
    return _address(str(url), str(path))


def _address(text: str, found_in: str) -> ServerAddress:
    try:
        url = httpx.URL(text if "://" in text else f"http://{text}")
    except (httpx.InvalidURL, ValueError):
        raise ConfigurationError(f"{found_in}: {text!r} is no address; write http://127.0.0.1:8600") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigurationError(f"{found_in}: an address is written http://127.0.0.1:8600")
    return ServerAddress(str(url).rstrip("/"), found_in)


def client_options(address: ServerAddress, environ: Mapping[str, str], seconds: float = 30.0) -> dict[str, Any]:
    """Arguments of an httpx client: base address, token from JIANGUAN_API_TOKEN, bounded waits, no redirects.

    A proxy of the environment is used only for a server that is not on this machine.
    """
    token = environ.get("JIANGUAN_API_TOKEN", "")
    return {
        "base_url": address.url,
        "headers": {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
        "timeout": httpx.Timeout(seconds, connect=5.0),
        "follow_redirects": False,
        "trust_env": not address.loopback,
    }


def not_running(address: ServerAddress) -> UnavailableError:
    """The error of a server that does not take a connection."""
    return UnavailableError(f"no server answers at {address.url} (from {address.found_in}): {_START}")


def problem_detail(response: httpx.Response) -> tuple[str, str]:
    """(code, detail) of an application/problem+json answer, or what can be said of any other."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return f"http-{response.status_code}", f"the server answered {response.status_code}"
    detail = body.get("detail") or body.get("title") or f"the server answered {response.status_code}"
    return str(body.get("code") or f"http-{response.status_code}"), str(detail)


def error_of(response: httpx.Response) -> JianguanError:
    """The error that an answer which is no success stands for."""
    code, detail = problem_detail(response)
    if response.status_code in (401, 403):
        return ConfigurationError(f"{detail}: set JIANGUAN_API_TOKEN to the token of the server")
    if response.status_code in (429, 502, 503, 504):
        return UnavailableError(f"{detail}; try again in a moment")
    if response.status_code >= 500:
        return JianguanError(f"the server failed: {detail}; its log says why")
    return InputError(code, detail)


class Client:
    """A small blocking client for commands that ask one thing."""

    def __init__(
        self, address: ServerAddress, environ: Mapping[str, str], transport: httpx.BaseTransport | None = None
    ) -> None:
        self._address = address
        self._http = httpx.Client(**client_options(address, environ), transport=transport)

    def get(self, path: str, **parameters: str | int | None) -> Any:
        """The JSON of an answer; parameters that are None are left out. JianguanError."""
        return self._ask("GET", path, {name: value for name, value in parameters.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of the answer to a POST, without a body unless one is given. JianguanError."""
        return self._ask("POST", path, {}, body)

    def delete(self, path: str) -> Any:
        """The JSON of the answer to a DELETE. JianguanError."""
        return self._ask("DELETE", path, {})

    def _ask(
        self, method: str, path: str, parameters: Mapping[str, str | int], body: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            response = self._http.request(method, path, params=parameters, json=body)
        except httpx.ConnectError:
            raise not_running(self._address) from None
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self._address.url} does not answer: {type(error).__name__}") from None
        if not response.is_success:
            raise error_of(response)
        try:
            return response.json()
        except ValueError:
            raise UnavailableError(f"{self._address.url} is not a jianguan server: its answer is not JSON") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
