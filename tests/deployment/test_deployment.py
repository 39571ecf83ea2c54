"""The files of the deployment, read by the programs that will read them; no Docker engine is needed.

docker-compose.yml goes through Compose's own loader and the Dockerfile through BuildKit's own linter (the Go program in
check/), the files of Prometheus through promtool, the Grafana board through Grafana's own model of a board.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.repository import ROOT
from tests.requirements import require

HERE: Final = Path(__file__).parent
ALERTS: Final = ROOT / "dashboards/prometheus/alerts.yml"
BUILD_SECONDS: Final = 1_200  # the first time it compiles Compose's loader and BuildKit
Check = tuple[str, ...]


@pytest.fixture(scope="session")
def check(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program in check/, built."""
    go = require("go")
    program = tmp_path_factory.mktemp("check") / "check"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    built = subprocess.run(
        [go, "build", "-o", str(program), "."],
        cwd=HERE / "check", env=environment, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return str(program)


def _run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def _changed(path: Path, before: str, after: str, folder: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert before in text
    changed = folder / path.name
    changed.write_text(text.replace(before, after, 1), encoding="utf-8")
    return str(changed)


@pytest.mark.slow
def test_compose_reads_the_cluster_as_it_is_meant(check: str) -> None:
    code, said = _run(check, "compose", "docker-compose.yml")
    assert code == 0, said
    services = yaml.safe_load(said)["services"]
    assert services.keys() == {"worker", "dashboards", "kafka", "clickhouse", "prometheus", "grafana"}
    assert services["worker"]["deploy"]["replicas"] == 2
    # A name or a published port of its own would keep it from being scaled.
    assert services["worker"].keys() & {"container_name", "ports"} == set()
    assert services["worker"]["depends_on"].keys() == {"kafka", "clickhouse"}


def test_no_container_may_fill_the_disk_with_its_log() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    without = {name for name, each in services.items() if "max-size" not in each.get("logging", {}).get("options", {})}
    assert without == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("condition: service_healthy", "condition: service_heathy", "must be one of"),
        ("secrets: [store_password]", "secrets: [store_pasword]", "undefined secret store_pasword"),
        ("    healthcheck:", "    heathcheck:", "heathcheck"),
    ],
)
def test_compose_says_what_is_wrong(check: str, before: str, after: str, complaint: str, tmp_path: Path) -> None:
    code, said = _run(check, "compose", _changed(ROOT / "docker-compose.yml", before, after, tmp_path))
    assert code == 1
    assert complaint in said


@pytest.mark.slow
def test_the_image_passes_the_linter_of_the_builder(check: str) -> None:
    assert _run(check, "dockerfile", "Dockerfile") == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("ENV PATH=", "ENV API_TOKEN=x PATH=", "SecretsUsedInArgOrEnv"),
        ('ENTRYPOINT ["jianguan"]', "ENTRYPOINT jianguan", "JSONArgsRecommended"),
        ("USER 10001:10001", "USR 10001:10001", "unknown instruction: USR"),
    ],
)
def test_the_linter_says_what_is_wrong(check: str, before: str, after: str, complaint: str, tmp_path: Path) -> None:
    code, said = _run(check, "dockerfile", _changed(ROOT / "Dockerfile", before, after, tmp_path))
    assert code == 1
    assert complaint in said


def test_prometheus_takes_its_configuration() -> None:
    promtool = require("promtool")
    # Only the syntax: the token's file is there in the container alone. The rules are checked below.
    code, said = _run(promtool, "check", "config", "--syntax-only", "dashboards/prometheus/prometheus.yml")
    assert code == 0, said


def test_prometheus_takes_the_alert_rules() -> None:
    code, said = _run(require("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))
    assert code == 0, said


def test_the_alert_rules_fire_when_they_should_and_at_nothing_else() -> None:
    code, said = _run(require("promtool"), "test", "rules", str(HERE / "alerts.test.yml"))
    assert code == 0, said


def test_every_alert_rule_is_tested_both_ways() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    tests = yaml.safe_load((HERE / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    asked = [each for test in tests for each in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules}
    assert len(names) == len(rules)
    assert {each["alertname"] for each in asked if each.get("exp_alerts")} == names
    assert {each["alertname"] for each in asked if not each.get("exp_alerts")} == names


def test_no_alert_asks_for_the_increase_of_a_series_that_begins_with_one() -> None:
    """Such a series has no increase, and the alert would miss the first time. Those that are asked for exist from the
    start, with every value of their labels, or have no labels."""
    from prometheus_client import CollectorRegistry

    from jianguan.metrics import Metrics

    there = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in Metrics(CollectorRegistry()).registry.collect()
        for sample in family.samples
    }
    for name, labels in re.findall(r"increase\((\w+)(?:\{([^}]*)\})?\[", ALERTS.read_text(encoding="utf-8")):
        wanted = re.findall(r'(\w+)="([^"]*)"', labels)
        assert [each for each in there if each[0] == name and set(wanted) <= set(each[1])], name


def _lost(sent: Any, kept: Any, where: str = "board") -> Iterator[str]:
    """What is in `sent` and not in `kept`."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        for key, value in sent.items():
            if key in kept:
                yield from _lost(value, kept[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        for number, (one, other) in enumerate(zip(sent, kept, strict=True)):
            yield from _lost(one, other, f"{where}[{number}]")
    elif sent != kept:
        yield where


def _unknown_to_grafana(board: dict[str, Any]) -> list[str]:
    register_default_plugins()
    return list(_lost(board, json.loads(JSONEncoder().encode(Dashboard.from_json(board)))))


def test_grafana_knows_every_field_of_the_board() -> None:
    board = json.loads((ROOT / "dashboards/grafana/jianguan.json").read_text(encoding="utf-8"))
    assert _unknown_to_grafana(board) == []
    # The model knows the options of a panel and the fields of a query too.
    board["panels"][0]["options"]["colourMode"] = "value"
    board["panels"][0]["targets"][0]["expresion"] = "up"
    board["refesh"] = "10s"
    assert _unknown_to_grafana(board) == [
        "board.panels[0].targets[0].expresion", "board.panels[0].options.colourMode", "board.refesh",
    ]  # fmt: skip


def test_panels_do_not_lie_on_each_other() -> None:
    board = json.loads((ROOT / "dashboards/grafana/jianguan.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
