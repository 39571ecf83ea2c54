"""`jianguan quarantine`: records that could not be used, through the server's API, without their content."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click
from rich.text import Text

from jianguan.cli import Group
from jianguan.cli.render import cell, grid, listed, moment, terminal
from jianguan.cli.server import Client, find_server
from jianguan.cli.trace import without_personal
from jianguan.errors import JianguanError

Function = TypeVar("Function", bound=Callable[..., None])

_COLUMNS: Final = ("id", "code", "field", "message", "topic", "submission", "state")


def _server_options(function: Function) -> Function:
    """--server, --data and --json, the same for every command of this group."""
    function = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(function)
    function = click.option(
        "--data", type=click.Path(path_type=Path), help="Data folder of the server that runs here."
    )(function)
    return click.option(
        "--server", metavar="URL", help="The server; else JIANGUAN_SERVER, else the one that runs here."
    )(function)


def _client(server: str | None, data: Path | None) -> Client:
    return Client(find_server(data, server, os.environ), os.environ)


def _path(identifier: str) -> str:
    return f"/v1/quarantine/{quote(identifier, safe='')}"


@click.group(cls=Group)
def command() -> None:
    """List, show and retry records that could not be used."""


@command.command("list")
@click.option("--code", metavar="CODE", help="Only records with this reason, such as bad-check-digit.")
@click.option("--state", type=click.Choice(["quarantined", "retried"]), help="Only records in this state.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 500), help="At most so many.")
@_server_options
def list_(
    code: str | None, state: str | None, limit: int, server: str | None, data: Path | None, as_json: bool
) -> None:
    """List quarantined records, newest first."""
    with _client(server, data) as client:
        items = listed(client.get("/v1/quarantine", code=code, state=state, limit=limit), "items")
    if as_json:
        click.echo(json.dumps([without_personal(each) for each in items], ensure_ascii=False, indent=2))
    elif not items:
        click.echo("nothing is quarantined")
    else:
        rows = [[Text(moment(each.get("at"))), *(cell(each.get(name)) for name in _COLUMNS)] for each in items]
        terminal().print(grid("quarantine", ("time", *_COLUMNS), rows))


@command.command()
@click.argument("identifier", metavar="ID")
@_server_options
def show(identifier: str, server: str | None, data: Path | None, as_json: bool) -> None:
    """Show one quarantined record and its reason."""
    with _client(server, data) as client:
        record = without_personal(client.get(_path(identifier)))
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False, indent=2))
        return
    rows = [[cell(name), Text(moment(value)) if name == "at" else cell(value)] for name, value in record.items()]
    terminal().print(grid(f"quarantined record {cell(identifier)}", ("field", "value"), rows))


@command.command()
@click.argument("identifiers", nargs=-1, required=True, metavar="ID…")
@_server_options
def retry(identifiers: tuple[str, ...], server: str | None, data: Path | None, as_json: bool) -> None:
    """Submit quarantined records again, as they were; after a rule table or a code list was mended.

    Every ID is tried. It fails, with the code of the last error, when one could not be submitted.
    """
    results: list[Mapping[str, Any]] = []
    failure: JianguanError | None = None
    with _client(server, data) as client:
        for identifier in identifiers:
            try:
                results.append(client.post(f"{_path(identifier)}/retry"))
            except JianguanError as error:
                failure = error
                results.append({"id": identifier, "error": str(error)})
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False, indent=2))
    else:
        for each in results:
            said = (
                f"not submitted: {each['error']}"
                if "error" in each
                else f"submitted again, receipt {each.get('receipt')}"
            )
            click.echo(f"{cell(each.get('id'))}: {cell(said)}")
    if failure is not None:
        raise click.exceptions.Exit(failure.exit_code)
