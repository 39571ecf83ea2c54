"""The files around the code: what starts it, what runs it in a cluster, what watches it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from jianguan.settings import Settings
from tests.repository import ROOT, tracked
from tools.fetch_pip import newest
from tools.make_docs import registry

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = ("worker", "dashboards")
# Written so that this file does not hold what it looks for.
FORBIDDEN = ("/" + "work/", "/" + "root/", "far" + "m-", "/" + ".library")
TEXT = {".py", ".md", ".yml", ".yaml", ".toml", ".txt", ".json", ".sh", ".html", ".js", ".css", ".sql", ".csv", ""}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _wanted(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def _series() -> set[str]:
    """Every series that a process shows, by the name that a query uses."""
    found: set[str] = set()
    for collector in set(registry()._collector_to_names):
        assert isinstance(collector, MetricWrapperBase)
        name = collector._name
        match collector._type:
            case "counter":
                found.add(f"{name}_total")
            case "histogram":
                found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
            case _:
                found.add(name)
    return found


def _labels() -> set[str]:
    collectors = set(registry()._collector_to_names)
    return {label for each in collectors if isinstance(each, MetricWrapperBase) for label in each._labelnames}


def _prometheus() -> dict[str, Any]:
    text = (ROOT / "dashboards/prometheus/prometheus.yml").read_text(encoding="utf-8")
    return cast(dict[str, Any], yaml.safe_load(text))


def _scrape() -> dict[str, Any]:
    (job,) = (each for each in _prometheus()["scrape_configs"] if each["job_name"] == "jianguan")
    return cast(dict[str, Any], job)


def _expressions() -> Iterator[tuple[str, str]]:
    board = json.loads((ROOT / "dashboards/grafana/jianguan.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    groups = yaml.safe_load((ROOT / "dashboards/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        yield f"alert {rule['alert']}", rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(_expressions()))
def test_every_query_asks_for_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    named = set(re.findall(r"\bjianguan_\w+", expression))
    assert named or "up{" in expression
    assert named - _series() == set()
    by = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(", ")}
    matched = set(re.findall(r"[{,]\s*(\w+)(?:=|!=|=~|!~)\"", expression))
    given = {each["target_label"] for each in _scrape()["relabel_configs"]}
    assert (by | matched) - _labels() - given - {"le", "job"} == set()
    assert all(expression.count(left) == expression.count(right) for left, right in ("()", "[]", "{}"))


def test_every_metric_is_on_the_board() -> None:
    shown = {name for _, expression in _expressions() for name in re.findall(r"\bjianguan_\w+", expression)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = {re.sub(r"_(bucket|sum|count)$", "", name) for name in _series()} - bases
    assert missing == set()


def test_the_board_has_unique_panels_and_the_data_source_that_is_provisioned() -> None:
    board = json.loads((ROOT / "dashboards/grafana/jianguan.json").read_text(encoding="utf-8"))
    folder = ROOT / "dashboards/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    identifiers = [panel["id"] for panel in board["panels"]]
    assert len(identifiers) == len(set(identifiers))
    assert {target["datasource"]["uid"] for panel in board["panels"] for target in panel["targets"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_the_board_is_mounted_where_it_is_looked_for() -> None:
    folder = ROOT / "dashboards/grafana/provisioning/dashboards"
    (provider,) = yaml.safe_load((folder / "jianguan.yaml").read_text(encoding="utf-8"))["providers"]
    mounts = {volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]}
    assert f"{provider['options']['path']}/jianguan.json" in mounts
    assert COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounts


def test_prometheus_looks_for_our_services_at_their_port() -> None:
    job = _scrape()
    ports = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}
    services = COMPOSE["services"]
    assert ports.keys() == set(OURS)
    assert job["relabel_configs"] == [{"source_labels": ["__meta_dns_name"], "target_label": "service"}]
    asked = {name for _, expression in _expressions() for name in re.findall(r'service="(\w+)"', expression)}
    assert asked == set(OURS)
    assert str(ports["dashboards"]) == services["dashboards"]["environment"]["JIANGUAN_PORT"]
    assert services["worker"]["command"] == ["worker", "--metrics-port", str(ports["worker"])]
    assert all(f":{port}/" in str(services[name]["healthcheck"]["test"]) for name, port in ports.items())
    assert job["authorization"]["credentials_file"] == "/run/secrets/api_token"
    mounted = COMPOSE["services"]["prometheus"]["volumes"][0].split(":")
    assert mounted[1] == "/etc/prometheus"
    files = _prometheus()["rule_files"]
    assert files
    assert all((ROOT / mounted[0] / each).is_file() for each in files)  # beside the configuration


@pytest.mark.parametrize("name", OURS)
def test_the_cluster_sets_only_settings_that_exist(name: str) -> None:
    environment = COMPOSE["services"][name]["environment"]
    assert environment.keys() - {f"JIANGUAN_{field.upper()}" for field in Settings.model_fields} == set()


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_the_cluster_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in COMPOSE["services"][name]["environment"].items():
        monkeypatch.setenv(key, re.sub(r"\$\{\w+:-(\w*)\}", r"\1", value))
    settings = Settings()
    assert not settings.embedded
    assert settings.host == "0.0.0.0"
    assert settings.api_token is None  # it comes from a file, in the entry point
    assert "api_token" in COMPOSE["services"][name]["secrets"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_checked_and_runs_without_root_and_capabilities(name: str) -> None:
    service = COMPOSE["services"][name]
    assert not str(service["user"]).startswith(("0", "root"))
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_what_a_service_refers_to_is_there(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service.get("depends_on", {}).keys() <= COMPOSE["services"].keys()
    named = {each if isinstance(each, str) else each["source"] for each in service.get("secrets", ())}
    assert named <= COMPOSE["secrets"].keys()
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith("./secrets/"):
            continue
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source
    for dependency, condition in service.get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in COMPOSE["services"][dependency]


def test_every_secret_of_the_cluster_is_made_and_none_is_in_git() -> None:
    script = (ROOT / "tools/make_secrets.sh").read_text(encoding="utf-8")
    for secret in COMPOSE["secrets"].values():
        assert f"make {Path(secret['file']).name} " in script
    assert "/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert [path for path in tracked() if path.relative_to(ROOT).parts[0] == "secrets"] == []


def test_images_are_pinned_to_a_version() -> None:
    images = [each["image"] for name, each in COMPOSE["services"].items() if name not in OURS]
    assert [image for image in images if not re.fullmatch(r"[\w/-]+:v?\d+\.\d+(\.\d+)?", image)] == []


def test_the_image_holds_every_package_and_runs_without_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    packages = [
        path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("tests", "bench", "tools")
    ]
    assert packages
    for package in packages:
        assert f"COPY {package} {package}" in text
        assert f"!{package}" in ignore
    assert ignore[1] == "*"
    assert "USER 10001:10001" in text
    assert "-c constraints.txt" in text


def test_every_requirement_is_pinned_and_nothing_is_pinned_twice() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []
    names = [_normal(line.partition("==")[0]) for line in pins]
    assert len(names) == len(set(names))
    wanted = _wanted(PROJECT["dependencies"]) | _wanted(PROJECT["optional-dependencies"]["dev"])
    assert wanted - set(names) == set()


def test_make_knows_every_target_that_documents_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [path.read_text(encoding="utf-8") for path in tracked() if path.suffix == ".md"]
    texts.append((ROOT / ".ci/run").read_text(encoding="utf-8"))
    named = {name for text in texts for name in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)}
    assert named
    assert named - targets == set()


def test_what_is_generated_is_generated_and_checked_by_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    generators = re.search(r"^GENERATORS := (.+)$", makefile, re.MULTILINE)
    assert generators
    for module in generators[1].split():
        path = ROOT / f"{module.replace('.', '/')}.py"
        assert "--check" in path.read_text(encoding="utf-8"), module
    assert "make check-generated" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_version_is_one() -> None:
    from jianguan import __version__

    assert __version__ == PROJECT["version"]
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_scripts_can_be_run_and_are_well_formed() -> None:
    for name in (".ci/run", "tools/venv.sh", "tools/make_secrets.sh"):
        path = ROOT / name
        assert path.stat().st_mode & 0o111, name
        shell = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!").split()[-1].rpartition("/")[2]
        done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_ci_stops_at_the_first_failure_and_ends_with_the_tests() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").strip().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1].startswith("JIANGUAN_REQUIRE=")
    assert lines[-1].endswith("make test")


def test_secret_files_are_made_once_and_kept(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "make_secrets.sh"
    script.write_text((ROOT / "tools/make_secrets.sh").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").rglob("*") if path.is_file()}
    assert len({*made.values()}) == len(made) == 5
    assert 16 <= len(made["reporter-hash.key"]) <= 64
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").rglob("*") if path.is_file()} == made


def test_the_newest_pip_of_an_index_is_taken_with_its_hash() -> None:
    page = (
        '<a href="../../f/pip-9.0.1-py3-none-any.whl#sha256=aa">pip-9.0.1-py3-none-any.whl</a>'
        '<a href="../../f/pip-24.10-py3-none-any.whl#sha256=bb" data-requires-python="&gt;=3.8">'
        "pip-24.10-py3-none-any.whl</a>"
        '<a href="../../f/pip-24.9.tar.gz#sha256=cc">pip-24.9.tar.gz</a>'
    )
    address, digest, name = newest(page, "https://index.example/simple/pip/")
    assert (address, digest) == ("https://index.example/f/pip-24.10-py3-none-any.whl", "bb")
    assert name == "pip-24.10-py3-none-any.whl"
    with pytest.raises(ValueError, match="no wheel"):
        newest("<html></html>", "https://index.example/simple/pip/")
    with pytest.raises(ValueError, match="no sha256"):
        newest(page.replace("#sha256=bb", ""), "https://index.example/simple/pip/")


def test_pip_is_fetched_with_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "tools/fetch_pip.py").read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert imported <= sys.stdlib_module_names


def test_no_file_names_the_place_where_it_was_written() -> None:
    found: list[Any] = []
    for path in tracked():
        if path.suffix in TEXT and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [(str(path.relative_to(ROOT)), word) for word in FORBIDDEN if word in text]
    assert found == []
