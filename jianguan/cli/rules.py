"""`jianguan rules`: check rule files and run their tests. The work is done in `rules.lint` and `rules.testing`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from rules import lint as linting
from rules import lint_output, testing
from rules.finding import LEVELS, worst
from rules.reference import Reference
from rules.ruleset import RuleSet

_FOLDERS = click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True))


@click.group(name="rules", help="Check rules and run their tests. Without a folder: the rules that ship with it.")
def command() -> None:
    """The group."""


@command.command(name="lint")
@_FOLDERS
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="warning",
    show_default=True,
    help="The least level that is shown.",
)
@click.option("--strict", is_flag=True, help="A warning is a failure too.")
def lint_command(folders: tuple[Path, ...], form: str, level: str, strict: bool) -> None:
    """Find faults and likely mistakes in rules.

    Exit code 0: nothing that fails; 1: an error, or a warning with --strict; 2: called wrongly; 4: a file cannot be
    used.
    """
    found = linting.lint_folders(_folders(folders), Reference.packaged())
    shown = [each for each in found if LEVELS.index(each.level) <= LEVELS.index(level)]
    if form == "sarif":
        click.echo(lint_output.as_sarif(shown, linting.descriptions(), Path.cwd()), nl=False)
    else:
        click.echo(lint_output.as_json(shown) if form == "json" else lint_output.as_text(shown), nl=False)
    if any(each.code == linting.BROKEN for each in found):
        sys.exit(4)
    failing = ("error", "warning") if strict else ("error",)
    sys.exit(1 if worst(found) in failing else 0)


@command.command(name="test")
@_FOLDERS
@click.option("--rule", "only", multiple=True, metavar="ID", help="Only this rule; may be given several times.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a JUnit report to this file too.")
def test_command(folders: tuple[Path, ...], only: tuple[str, ...], junit: Path | None) -> None:
    """Run the *.test.yaml beside rules, through the same engine as live events.

    Each rule needs a case that raises an alert and one that does not. Exit code 0: all passed; 1: a test failed or is
    missing; 2: called wrongly; 4: a file cannot be used.
    """
    reference = Reference.packaged()
    ruleset = _load(folders, reference)
    for identifier in only:
        if ruleset.by_id(identifier) is None:
            raise click.BadParameter(f"there is no rule {identifier}", param_hint="--rule")
    report = testing.run_all(ruleset, reference, only)
    click.echo(testing.as_text(report), nl=False)
    if junit is not None:
        junit.write_text(testing.as_junit(report), encoding="utf-8")
    sys.exit(report.exit_code)


def _folders(given: Sequence[Path]) -> Sequence[Path]:
    return given or [RuleSet.library_path()]


def _load(folders: Sequence[Path], reference: Reference) -> RuleSet:
    return RuleSet.load(_folders(folders), reference)
