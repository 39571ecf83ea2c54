"""Examples in the documents are right: they parse, and events, rules and receivers in them are accepted."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from jianguan.clock import to_millis
from jianguan.domain.admission import Reference, admit, decode
from jianguan.domain.contract import KIND_OF_TOPIC, TOPIC_OF_KIND, CloudEvent
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from rules.reference import Reference as RuleReference
from rules.ruleset import RuleSet
from rules.testing import run_all
from sinks.webhooks.receivers import load_receivers
from tests.docs.markdown import Block, blocks, documents
from tests.repository import ROOT

NOW = to_millis(datetime(2026, 6, 1, tzinfo=UTC))
EXAMPLE_TIME = "2026-05-31T23:59:00Z"
DOCUMENTS = documents()


def _blocks(*languages: str) -> list[Block]:
    return [block for path in DOCUMENTS for block in blocks(path, *languages)]


def _bodies(block: Block) -> list[str]:
    """The objects that the curl commands of a block send."""
    words = shlex.split(block.text, comments=True)
    return [body for option, body in pairwise(words) if option == "-d" and body.startswith("{")]


def _events() -> list[tuple[str, bytes]]:
    """(where, bytes) of every whole event in the documents, in JSON blocks and in the bodies of curl commands."""
    found = [(block.where, block.text) for block in _blocks("json")]
    for block in _blocks("sh"):
        found += [(block.where, body.replace("$now", EXAMPLE_TIME)) for body in _bodies(block)]
    return [
        (where, text.encode())
        for where, text in found
        if isinstance(content := json.loads(text), dict) and ("kind" in content or "specversion" in content)
    ]


EVENTS = _events()


@cache
def _reference() -> Reference:
    return Reference(Regions.load(), Industries.load(), b"0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize("block", _blocks("json"), ids=lambda block: block.where)
def test_every_json_block_parses(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", _blocks("yaml"), ids=lambda block: block.where)
def test_every_yaml_block_parses(block: Block) -> None:
    assert yaml.safe_load(block.text) is not None


@pytest.mark.parametrize("block", _blocks("sh"), ids=lambda block: block.where)
def test_every_shell_block_has_its_quotes_closed(block: Block) -> None:
    shlex.split(block.text, comments=True)


@pytest.mark.parametrize("block", _blocks("python"), ids=lambda block: block.where)
def test_every_python_block_compiles(block: Block) -> None:
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize("block", _blocks("sh"), ids=lambda block: block.where)
def test_every_event_that_a_command_sends_happens_now_so_that_it_is_not_late(block: Block) -> None:
    for body in _bodies(block):
        content = json.loads(body)
        if "source" in content:
            assert content.get("occurred_at", content.get("time")) == "$now"
            assert "$now" in content["id"]  # with a new time it is another event
            assert "now=$(date -u +%Y-%m-%dT%H:%M:%SZ)" in block.text  # GNU and BSD know this one


@pytest.mark.parametrize(("where", "value"), EVENTS, ids=[where for where, _ in EVENTS])
def test_every_event_in_the_documents_is_accepted(where: str, value: bytes) -> None:
    content: dict[str, Any] = json.loads(value)
    kind = content.get("kind") or CloudEvent.TYPES[content["type"]]
    model = decode(value, TOPIC_OF_KIND[kind])
    event, _ = admit(model, _reference(), NOW)
    assert event.kind == kind
    assert event.id.startswith("ev-")


def test_the_documents_show_an_event_of_every_kind_and_a_cloud_event() -> None:
    shown = [json.loads(value) for _, value in EVENTS]
    assert {each["kind"] for each in shown if "kind" in each} == set(KIND_OF_TOPIC.values())
    assert any("specversion" in each for each in shown)


def test_the_rule_of_the_readme_loads_and_passes_its_test(tmp_path: Path) -> None:
    rule, tests = (block.text for block in blocks(ROOT / "README.md", "yaml"))
    (tmp_path / "expired-food-twice.yaml").write_text(rule, encoding="utf-8")
    (tmp_path / "expired-food-twice.test.yaml").write_text(tests, encoding="utf-8")
    reference = RuleReference.packaged()
    report = run_all(RuleSet.load([tmp_path], reference), reference)
    assert report.exit_code == 0
    assert "expired-food-twice" in {rule.id for rule in RuleSet.load([tmp_path], reference).rules}


def test_the_list_of_receivers_in_the_department_guide_is_read(tmp_path: Path) -> None:
    (text,) = (block.text for block in blocks(ROOT / "docs/department.md", "yaml"))
    (tmp_path / "receivers.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "pudong-market.secret").write_text("whsec_" + "A" * 44 + "\n", encoding="ascii")
    (receiver,) = load_receivers(tmp_path / "receivers.yaml", {})
    assert (receiver.id, receiver.department) == ("pudong-market", "market-regulation")
