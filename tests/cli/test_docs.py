"""Every command, option and exit code is documented, and the documented mapping works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from jianguan.cli import COMMANDS, EXIT_CODES, main
from jianguan.mappings import bind, library_names, parse_mapping

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> Iterator[tuple[str, click.Command]]:
    def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(f"{path} {name}", inner)

    context = click.Context(main)
    for name in main.list_commands(context):
        if name in COMMANDS and find_spec(f"jianguan.cli.{name}") is None:
            continue
        command = main.get_command(context, name)
        assert command is not None
        yield from walk(f"jianguan {name}", command)


ALL = dict(commands())


@pytest.mark.parametrize("path", sorted(ALL))
def test_a_command_and_its_options_are_documented(path: str) -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    section = re.search(rf"^##+ {re.escape(path)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/cli.md has no section for {path}"
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            for name in (*parameter.opts, *parameter.secondary_opts):
                assert f"`{name}" in section[1], f"docs/cli.md does not tell about {path} {name}"
    assert ALL[path].help


@pytest.mark.parametrize("path", sorted(ALL))
def test_no_option_is_documented_that_does_not_exist(path: str) -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    section = re.search(rf"^##+ {re.escape(path)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    known = {name for parameter in ALL[path].params for name in (*parameter.opts, *parameter.secondary_opts)}
    told = {
        name
        for row in re.findall(r"^\| (`--.*?) \|", section[1], re.MULTILINE)
        for name in re.findall(r"--[a-z-]+", row)
    }
    assert told <= known


def test_every_exit_code_is_documented() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    for code in EXIT_CODES:
        assert f"\n| {code} | " in text


def test_every_shipped_mapping_is_documented() -> None:
    text = (DOCS / "mappings.md").read_text("utf-8")
    for name in library_names():
        assert f"| `{name}` |" in text


def test_the_mapping_of_the_recipe_works() -> None:
    text = (DOCS / "mappings.md").read_text("utf-8")
    block = re.search(r"```yaml\n(   mapping: .*?)```", text, re.DOTALL)
    assert block is not None
    mapping = parse_mapping(re.sub(r"^   ", "", block[1], flags=re.MULTILINE), "recipe.yaml")
    row = {
        "工单号": "A1",
        "受理时间": "2026/05/01",
        "问题类别": "食品卫生",
        "统一社会信用代码": "91310115591693856A",
        "被诉单位": "某公司",
        "涉及金额（元）": "12.50",
        "诉求内容": "退款",
        "投诉人": "王芳",
        "联系电话": "13800000000",
    }
    result = bind(mapping, list(row)).map(list(row.values()))
    assert not result.problems
    assert result.record["category"] == "food-safety"
    assert result.record["amount_fen"] == 1250
    assert result.record["occurred_at"] == "2026-05-01T00:00:00+08:00"
