"""`jianguan rules`: check rule files and run their tests. The work is done in `rules.lint` and `rules.testing`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from rules import lint as linting
from rules import testing
from rules.reference import Reference
from rules.ruleset import RuleErrors, RuleSet

_FOLDERS = click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True))


@click.group(name="rules", help="Check rules and run their tests. Without a folder: the rules that ship with it.")
def command() -> None:
    """The group."""


@command.command(name="lint")
@_FOLDERS
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--level",
    type=click.Choice(linting.LEVELS),
    default="warning",
    show_default=True,
    help="The least level that is shown.",
)
def lint_command(folders: tuple[Path, ...], form: str, level: str) -> None:
    """Find faults and likely mistakes in rules.

    Exit code 0: no finding of level error; 1: there is one; 2: called wrongly; 4: a file cannot be used.
    """
    reference = Reference.packaged()
    broken = False
    try:
        found = linting.lint(_load(folders, reference))
    except RuleErrors as errors:
        found, broken = linting.of_errors(errors), True
    shown = [each for each in found if linting.LEVELS.index(each.level) <= linting.LEVELS.index(level)]
    click.echo(linting.as_json(shown) if form == "json" else linting.as_text(shown), nl=False)
    broken = broken or any(each.code == "broken-file" for each in found)
    sys.exit(4 if broken else 1 if linting.worst(found) == "error" else 0)


@command.command(name="test")
@_FOLDERS
@click.option("--rule", "only", multiple=True, metavar="ID", help="Only this rule; may be given several times.")
@click.option("--format", "form", type=click.Choice(["text", "junit"]), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to a file, not to the screen."
)
def test_command(folders: tuple[Path, ...], only: tuple[str, ...], form: str, output: Path | None) -> None:
    """Run the *.test.yaml beside rules, through the same engine as live events.

    Exit code 0: all passed; 1: a test failed; 2: called wrongly; 4: a file cannot be used.
    """
    reference = Reference.packaged()
    ruleset = _load(folders, reference)
    for identifier in only:
        if ruleset.by_id(identifier) is None:
            raise click.BadParameter(f"there is no rule {identifier}", param_hint="--rule")
    report = testing.run_all(ruleset, reference, only)
    text = testing.as_junit(report) if form == "junit" else testing.as_text(report)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(testing.as_text(report).splitlines()[-1])
    sys.exit(report.exit_code)


def _load(folders: Sequence[Path], reference: Reference) -> RuleSet:
    return RuleSet.load(folders or [RuleSet.library_path()], reference)
