"""The group: quick help, documented exit codes, errors as sentences."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from jianguan import cli
from jianguan.errors import ConfigurationError, InputError, JianguanError, UnavailableError


def command_that(error: BaseException) -> ModuleType:
    @click.command()
    def command() -> None:
        raise error

    module = ModuleType("jianguan.cli.doctor")
    module.command = command  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JianguanError("it broke"), 1),
        (ConfigurationError("it broke"), 3),
        (InputError("x", "it broke"), 4),
        (UnavailableError("it broke"), 5),
        (KeyboardInterrupt(), 130),
        (click.UsageError("it broke"), 2),
    ],
)
def test_an_error_ends_the_command_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setitem(sys.modules, "jianguan.cli.doctor", command_that(error))
    result = CliRunner().invoke(cli.main, ["doctor"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert ("it broke" in result.stderr) == (code != 130)
    assert code in cli.EXIT_CODES


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jianguan.cli.doctor", command_that(ZeroDivisionError()))
    result = CliRunner().invoke(cli.main, ["doctor"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "near"), [(["trase"], "trace"), (["rules", "lnit"], "lint"), (["quarantine", "lst"], "list")]
)
def test_a_misspelt_command_is_met_with_the_nearest_one(arguments: list[str], near: str) -> None:
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert f"No such command '{arguments[-1]}'. Did you mean '{near}'?" in result.stderr


def test_a_command_that_is_like_no_other_is_only_refused() -> None:
    assert "Did you mean" not in CliRunner().invoke(cli.main, ["zzz"]).stderr


def test_an_exit_code_that_a_command_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jianguan.cli.doctor", command_that(click.exceptions.Exit(6)))
    assert CliRunner().invoke(cli.main, ["doctor"]).exit_code == 6


def test_an_error_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jianguan.cli.doctor", command_that(JianguanError("a\x1b[2Jb")))
    result = CliRunner().invoke(cli.main, ["doctor"])
    assert "\x1b" not in result.stderr


def test_help_lists_every_command_and_exit_code_without_importing_them() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from jianguan.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "print([m for m in sys.modules if m.startswith(('jianguan.cli.', 'faust', 'pydantic', 'httpx', 'rich'))])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for name in cli.COMMANDS:
        assert f"\n  {name} " in output
    for code in cli.EXIT_CODES:
        assert f"\n  {code} " in output
    assert output.rstrip().endswith("[]")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_program(shell: str) -> None:
    result = CliRunner().invoke(cli.main, ["completion", shell])
    assert result.exit_code == 0
    assert "_JIANGUAN_COMPLETE" in result.output


def test_the_version_is_shown() -> None:
    assert "0.1.0" in CliRunner().invoke(cli.main, ["--version"]).output


def test_the_module_is_the_command() -> None:
    found = subprocess.run([sys.executable, "-m", "jianguan", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout == "jianguan, version 0.1.0\n"
