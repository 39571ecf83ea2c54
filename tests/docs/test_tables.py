"""Every setting, metric and alert is documented, and nothing is documented that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from jianguan.cli import COMMANDS, EXIT_CODES
from jianguan.clock import SystemClock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from jianguan.settings import Settings
from jianguan.wiring.embedded import DEMO_FILE, SERVER_FILE
from jianguan.wiring.parts import faust_options
from tests.repository import ROOT
from tools.make_docs import DOCS, TABLES, fill


@pytest.mark.parametrize("name", TABLES)
def test_the_table_in_the_document_is_what_the_code_says(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == fill(text, TABLES[name]()), "run python -m tools.make_docs"


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_variable_that_the_documents_and_files_name_exists() -> None:
    known = {f"JIANGUAN_{name.upper()}" for name in Settings.model_fields}
    known |= {"JIANGUAN_SERVER", "JIANGUAN_REQUIRE", "JIANGUAN_VERSION", "JIANGUAN_PUBLISH"}
    files = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "docker-compose.yml", ROOT / "Dockerfile"]
    named = {name for path in files for name in re.findall(r"JIANGUAN_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))}
    assert named - known == set()


def test_every_metric_that_the_documents_name_exists() -> None:
    known = set(re.findall(r"`(jianguan_\w+)`", TABLES["metrics.md"]()))
    named = {
        name
        for path in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
        for name in re.findall(r"`(jianguan_[a-z_]+)`", path.read_text(encoding="utf-8"))
    }
    assert named - known == set()


def test_everything_in_the_data_folder_is_in_the_operator_guide() -> None:
    settings = Settings(data=Path("d"))
    broker_log = EmbeddedBroker(BrokerOptions(settings.data), SystemClock())._log.path
    made = [
        settings.data / SERVER_FILE,
        settings.data / DEMO_FILE,
        broker_log,
        faust_options(settings, True)("b").data_dir,
    ]
    guide = (DOCS / "operator.md").read_text(encoding="utf-8")
    table = guide.partition("| in the folder")[2].partition("\n\n")[0]
    assert [path.name for path in made if f"`{path.name}" not in table] == []


def test_every_prometheus_alert_is_in_the_operator_guide_and_the_other_way_round() -> None:
    groups = yaml.safe_load((ROOT / "dashboards/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    guide = (DOCS / "operator.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(Jianguan\w+)` \|", guide, re.MULTILINE)) == alerts


def test_every_command_and_exit_code_is_in_the_command_line_guide() -> None:
    guide = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"## jianguan {name}" not in guide] == []
    assert [code for code, meaning in EXIT_CODES.items() if f"| {code} |" not in guide] == []
