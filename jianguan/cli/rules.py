"""`jianguan rules`: check, test, explain and try rules. The work is done in `rules`, or by the server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jianguan.cli import Group, rule_output
from jianguan.cli.render import terminal
from jianguan.cli.rule_asking import asking, naming, text_of
from jianguan.clock import SystemClock, to_millis
from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.hindsight import BacktestRequest
from rules import lint as linting
from rules import lint_output, testing
from rules.finding import LEVELS, worst
from rules.reference import Reference
from rules.ruleset import RuleSet, unread

_FOLDERS = click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True))

_SERVER = click.option("--server", metavar="URL", help="The server; else JIANGUAN_SERVER, else the one that runs here.")
_DATA = click.option("--data", type=click.Path(path_type=Path), help="Data folder of the server that runs here.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.group(
    name="rules",
    cls=Group,
    help="Check, test, explain and try rules. Without a folder: the rules that ship with it.",
)
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
    found = linting.lint_folders(_folders(folders), Reference.packaged(), _today())
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
    report.unread = unread(_folders(folders))
    click.echo(testing.as_text(report), nl=False)
    if junit is not None:
        junit.write_text(testing.as_junit(report), encoding="utf-8")
    sys.exit(report.exit_code)


@command.command(name="explain")
@click.argument("rule", metavar="RULE")
@click.argument("event", metavar="EVENT_ID")
@click.option("--version", type=int, help="An older version of the rule; else the one that runs.")
@_SERVER
@_DATA
@_JSON
def explain_command(
    rule: str, event: str, version: int | None, server: str | None, data: Path | None, as_json: bool
) -> None:
    """Say why a rule fired on an event, or did not.

    Each part of the condition with its value, the group, the window, and the distance to each threshold. Personal
    values are hidden. Asks the running server; when none runs, the store of the data folder.
    """
    with asking(server, data) as source:
        found = source.explain(rule, event, version)
    _show(found, as_json, rule_output.explanation)


@command.command(name="backtest")
@click.argument("rule", metavar="RULE")
@click.option("--from", "since", metavar="DAY", help="First day, 2026-01-31; 90 days ago unless told otherwise.")
@click.option("--to", "until", metavar="DAY", help="Last day; today unless told otherwise.")
@click.option("--against", type=int, metavar="VERSION", help="Compare with this version; else with the one that runs.")
@_SERVER
@_DATA
@_JSON
def backtest_command(
    rule: str,
    since: str | None,
    until: str | None,
    against: int | None,
    server: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Say what a rule would have done.

    RULE is the id of a running rule, or a file: then what runs is not touched. Alerts over time, the difference to the
    version that runs, and the tasks a week that each department would get. Ctrl-C ends it.
    """
    today = _today()
    first = _day(since, "--from") if since else today - timedelta(days=90)
    last = _day(until, "--to") if until else today
    text = text_of(rule)
    request = BacktestRequest(
        rule="" if text else rule,
        since=_midnight(first),
        until=_midnight(last + timedelta(days=1)),
        text=text,
        against=against,
    )
    with asking(server, data) as source, _progress() as progress, naming(rule) if text else nullcontext():
        found = source.backtest(request, progress, time.sleep)
    _show(found, as_json, rule_output.backtest)


@command.command(name="warm")
@click.argument("rule", metavar="RULE")
@_SERVER
@_DATA
@_JSON
def warm_command(rule: str, server: str | None, data: Path | None, as_json: bool) -> None:
    """Say with what the windows of a rule would begin if it were new now.

    Events, facts and groups that history has for them, and the fullest groups. A new or changed rule is filled so
    by itself, unless JIANGUAN_RULES_WARM is off; this changes nothing.
    """
    with asking(server, data) as source:
        found = source.warm(rule)
    _show(found, as_json, rule_output.warm)


@command.command(name="versions")
@click.argument("rule", metavar="RULE")
@click.option("--text", "whole", is_flag=True, help="Print the whole text of each.")
@_SERVER
@_DATA
@_JSON
def versions_command(rule: str, whole: bool, server: str | None, data: Path | None, as_json: bool) -> None:
    """List every version of a rule that ever ran: who activated it, why, and its content hash."""
    with asking(server, data) as source:
        found = source.versions(rule)
    _show(found, as_json, lambda body: rule_output.versions(body, whole))


@command.command(name="approve")
@click.argument("rule", metavar="RULE")
@click.option("--person", required=True, help="Who approves.")
@click.option("--reason", required=True, help="Why; it is recorded.")
@_SERVER
@_DATA
@_JSON
def approve_command(rule: str, person: str, reason: str, server: str | None, data: Path | None, as_json: bool) -> None:
    """Approve the content that a rule's file has now, where JIANGUAN_RULES_PEOPLE asks for it."""
    with asking(server, data) as source:
        found = source.approve(rule, person, reason)
    _show(found, as_json, lambda body: rule_output.versions(body, False))


def _show(found: Any, as_json: bool, parts: Callable[[Any], Iterable[RenderableType]]) -> None:
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    console = terminal()
    for part in parts(found):
        console.print(part)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where there is a terminal."""
    console = Console(stderr=True)
    with Progress(TextColumn("events"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console,
                  disable=not console.is_terminal, transient=True) as bar:  # fmt: skip
        task = bar.add_task("events", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of or None)


def _today() -> date:
    return SystemClock().now().astimezone(SHANGHAI).date()


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no day; write 2026-01-31", param_hint=option) from None


def _midnight(day: date) -> int:
    """The moment at which a day begins in Shanghai, ms."""
    return to_millis(datetime.combine(day, datetime.min.time(), SHANGHAI))


def _folders(given: Sequence[Path]) -> Sequence[Path]:
    return given or [RuleSet.library_path()]


def _load(folders: Sequence[Path], reference: Reference) -> RuleSet:
    return RuleSet.load(_folders(folders), reference)
