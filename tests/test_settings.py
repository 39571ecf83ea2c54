"""Settings come from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from jianguan.errors import ConfigurationError
from jianguan.settings import load_settings


@pytest.mark.parametrize("name", ["rules", "regions", "industries", "calendars"])
@pytest.mark.parametrize(("text", "paths"), [("/a", ["/a"]), ("/a:b/c", ["/a", "b/c"]), ("", []), ("/a:", ["/a"])])
def test_paths_are_written_as_in_path(monkeypatch: pytest.MonkeyPatch, name: str, text: str, paths: list[str]) -> None:
    monkeypatch.setenv(f"JIANGUAN_{name.upper()}", text)
    assert getattr(load_settings(), name) == tuple(map(Path, paths))


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANGUAN_PORT", "1")
    assert load_settings(port=2).port == 2
    assert load_settings(port=None).port == 1


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "many"), ("PARTITIONS", "0"), ("MAX_AGE", "long"), ("DEMO_RATE", "-1")]
)
def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"JIANGUAN_{name}", value)
    with pytest.raises(ConfigurationError, match=f"setting JIANGUAN_{name}: "):
        load_settings()


def test_a_host_that_can_be_reached_from_outside_needs_a_token() -> None:
    with pytest.raises(ConfigurationError, match="JIANGUAN_API_TOKEN"):
        load_settings(host="0.0.0.0")
    assert load_settings(host="0.0.0.0", api_token="t" * 32).api_token is not None


@pytest.mark.parametrize("given", [{"broker": "k:9092"}, {"store": "clickhouse://h/d"}])
def test_broker_and_store_go_together(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        load_settings(**given)
