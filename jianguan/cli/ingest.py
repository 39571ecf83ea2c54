"""`jianguan ingest`: sends the rows of files to the running server and accounts for every one.

Reads files and talks to a person; how records are sent is in `upload`, how rows are mapped in `jianguan.mappings`.
"""

from __future__ import annotations

import asyncio
import codecs
import gzip
import io
import itertools
import json
import os
import re
import secrets
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from typing import IO, BinaryIO, Final, cast

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from jianguan.cli.server import client_options, find_server
from jianguan.cli.standard_input import StandardInput
from jianguan.cli.upload import RECORD_BYTES, Tally, Uploader, batches
from jianguan.clock import Clock, SystemClock
from jianguan.domain.admission import decode
from jianguan.errors import InputError
from jianguan.mappings import Mapped, Mapping, bind, load_mapping, read_rows
from jianguan.mappings.apply import JoinedRows

_GZIP: Final = b"\x1f\x8b"
_UNREADABLE: Final = (EOFError, OSError, zlib.error)
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NOT_ACCOUNTED: Final = 6
_REASONS_SHOWN: Final = 3
_LINE_BYTES: Final = RECORD_BYTES + 2  # that are read of one line: enough to see that it is too long
_KEPT_OF_TOO_LONG: Final = 10_000  # bytes


class Input:
    """The records of some files, one line of JSON each, and why rows could not be mapped."""

    def __init__(self, files: Sequence[str], mapping: Mapping | None, joined: Table[str, JoinedRows]) -> None:
        self._files = files
        self._mapping = mapping
        self._joined = joined
        self._standard_input = StandardInput.of_process() if "-" in files else None
        self.read = 0
        self.reasons: Counter[str] = Counter()

    def lines(self) -> Iterator[bytes]:
        """Every record of every file in order. InputError when a file cannot be read to its end."""
        for name in self._files:
            with ExitStack() as stack:
                data = _open(name, stack, self._standard_input)
                try:
                    for line in self._mapped(data) if self._mapping else _json_lines(data, name):
                        self.read += 1
                        yield line if len(line) <= RECORD_BYTES else _too_long(line)
                except _UNREADABLE as error:
                    text = f"{name} cannot be read after {self.read} rows: {error}"
                    raise InputError("unreadable-file", text) from None

    def call_back(self) -> None:
        """End a thread that waits for more of standard input."""
        if self._standard_input is not None:
            self._standard_input.call_back()

    def _mapped(self, data: BinaryIO) -> Iterator[bytes]:
        mapping = self._mapping
        assert mapping is not None
        header, rows = read_rows(_text(data, mapping), mapping.delimiter)
        bound = bind(mapping, header, self._joined)
        for row in rows:
            result: Mapped = bound.map(row)
            for problem in result.problems[:1]:
                where = f"column {problem.column}" if problem.column else "row"
                self.reasons[f"{where}: {problem.message}"] += 1
            yield result.encoded

    def check(self, line: bytes) -> None:
        """Notes why a record that was not mapped is no event, as the server would say it; the codes in it are known
        only there."""
        from dashboards.framing import JSON, topic_of

        if self._mapping is None:
            try:
                decode(line, topic_of(line, JSON), JSON)
            except InputError as error:
                self.reasons[str(error)] += 1
            except (ValueError, RecursionError):
                self.reasons["the record cannot be read"] += 1


def _open(name: str, stack: ExitStack, standard_input: StandardInput | None = None) -> BinaryIO:
    """The bytes of a file or, for `-`, of standard input, without gzip. InputError when it cannot be opened."""
    raw: IO[bytes] | io.RawIOBase
    if name == "-":
        raw = standard_input or sys.stdin.buffer
    else:
        try:
            raw = stack.enter_context(Path(name).open("rb"))  # noqa: SIM115  the stack closes it
        except OSError as error:
            raise InputError("unreadable-file", f"{name} cannot be read: {error.strerror}") from None
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
    if buffered.peek(2)[:2] == _GZIP:
        return cast(BinaryIO, gzip.GzipFile(fileobj=buffered))
    return buffered


def _text(data: BinaryIO, mapping: Mapping) -> io.TextIOWrapper:
    """The text of a CSV file. Bytes that are not of its encoding come through as lone surrogates; a row with some is
    refused by name."""
    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    return io.TextIOWrapper(data, encoding, errors="surrogateescape", newline="")


def _json_lines(data: BinaryIO, name: str) -> Iterator[bytes]:
    """Lines that are not blank, as they are: the server judges them. Of an endless line only a part is held.

    InputError when the first is no event at all: each row of such a file would go into quarantine.
    """
    first = True
    for number in itertools.count(1):
        line = data.readline(_LINE_BYTES)
        if not line:
            return
        rest = line
        while len(rest) == _LINE_BYTES and not rest.endswith(b"\n"):
            rest = data.readline(_LINE_BYTES)
        stripped = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
        if not stripped:
            continue
        if first:
            _refuse_what_is_no_object(stripped, name, number)
            first = False
        yield stripped


def _refuse_what_is_no_object(line: bytes, name: str, number: int) -> None:
    if len(line) > RECORD_BYTES and line.startswith(b"{"):
        return  # it was not read to its end
    try:
        if isinstance(json.loads(line.decode("utf-8", "replace")), dict):
            return
    except (ValueError, RecursionError):
        pass
    guess = "a JSON array (`jq -c '.[]'`)" if line.startswith(b"[") else "indented JSON (`jq -c .`)"
    text = f"{name}: line {number} is not one event a line; is it CSV (--mapping) or {guess}?"
    raise InputError("not-ndjson", text)


def _too_long(line: bytes) -> bytes:
    """Stands for a record that is too long to be sent: it is counted and quarantined, with its beginning."""
    name = f"record: longer than {RECORD_BYTES} bytes"
    beginning = line[:_KEPT_OF_TOO_LONG].decode("utf-8", "backslashreplace")
    return json.dumps({name: beginning}, ensure_ascii=False).encode()


def _read_join(mapping: Mapping | None, text: str) -> tuple[str, JoinedRows]:
    name, _, file = text.partition("=")
    if mapping is None or name not in mapping.joins or not file:
        known = ", ".join(mapping.joins) if mapping else ""
        raise click.BadParameter(f"write NAME=FILE; the mapping has {known or 'no joins'}", param_hint="--join")
    with ExitStack() as stack:
        column = mapping.joins[name].column
        try:
            header, rows = read_rows(_text(_open(file, stack), mapping), mapping.delimiter)
            if column not in header:
                raise InputError("no-such-column", f"{file} has no column {column}, which the join {name} needs")
            return name, JoinedRows.of(header, rows, column)
        except _UNREADABLE as error:
            raise InputError("unreadable-file", f"{file} cannot be read: {error}") from None


def _is_csv(name: str, has_mapping: bool) -> bool:
    suffixes = [each.lower() for each in Path(name).suffixes]
    return has_mapping if name == "-" else ".csv" in suffixes[-2:] or (has_mapping and ".tsv" in suffixes[-2:])


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--mapping", "mapping_name", metavar="NAME|FILE", help="How the rows of CSV files become events.")
@click.option("--join", "joins", multiple=True, metavar="NAME=FILE", help="A second CSV file that the mapping joins.")
@click.option("--server", metavar="URL", help="The server; else JIANGUAN_SERVER, else the one that runs here.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder of the server that runs here.")
@click.option("--submission", metavar="ID", help="Name of this upload, a slug; a new one unless given.")
@click.option("--batch", default=1000, show_default=True, type=click.IntRange(1, 10_000), help="Rows in a request.")
@click.option(
    "--patience",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait without progress.",
)
@click.option("--dry-run", is_flag=True, help="Map and check the rows, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    files: tuple[str, ...],
    mapping_name: str | None,
    joins: tuple[str, ...],
    server: str | None,
    data: Path | None,
    submission: str | None,
    batch: int,
    patience: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send the rows of CSV or NDJSON files and account for every one.

    A FILE may be compressed with gzip; - is standard input. CSV needs --mapping; NDJSON has one event a line. Running
    the same command again is harmless: what was taken before is recorded as a duplicate.
    """
    mapping = load_mapping(mapping_name) if mapping_name else None
    for name in files:
        if _is_csv(name, mapping is not None) != (mapping is not None):
            wanted = "needs --mapping" if mapping is None else "does not look like CSV, so it takes no --mapping"
            raise click.UsageError(f"{name} {wanted}")
    if submission and (len(submission) > 64 or not _SLUG.fullmatch(submission)):
        raise click.BadParameter("small letters, digits and dashes, at most 64", param_hint="--submission")
    source = Input(files, mapping, dict(_read_join(mapping, each) for each in joins))
    if dry_run:
        _report_dry_run(source, as_json)
        return
    submission = submission or f"ingest-{secrets.token_hex(6)}"
    clock = SystemClock()
    started = clock.monotonic()
    tally = asyncio.run(_run(source, server, data, submission, batch, patience, clock))
    seconds = clock.monotonic() - started
    _report(source, tally, submission, seconds, as_json)
    if not tally.complete or tally.sent != source.read:
        raise click.exceptions.Exit(_NOT_ACCOUNTED)
    _fail_if_none_was_right(source, tally.outcomes["quarantined"])


def _fail_if_none_was_right(source: Input, refused: int) -> None:
    if 0 < source.read == refused:
        raise click.exceptions.Exit(InputError.exit_code)


async def _run(
    source: Input,
    server: str | None,
    data: Path | None,
    submission: str,
    batch: int,
    patience: float,
    clock: Clock,
) -> Tally:
    address = find_server(data, server, os.environ)
    with Display(source, submission) as display:
        async with httpx.AsyncClient(**client_options(address, os.environ)) as http:
            uploader = Uploader(http, address, submission, clock, SystemRandom(), progress=display.update)
            await uploader.begin()
            try:
                await uploader.send_all(batches(source.lines(), batch))
            finally:
                source.call_back()  # the process ends only after the thread that reads
            display.sending = False
            await uploader.account(patience)
            return uploader.tally


class Display:
    """Progress on stderr: a moving line on a terminal, now and then a plain line elsewhere."""

    _EVERY = 10_000  # rows between two plain lines

    def __init__(self, source: Input, submission: str) -> None:
        self._source = source
        self._submission = submission
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._next = self._EVERY
        self.sending = True

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[counts]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("sending", total=None, counts="")
            self._progress.start()
        return self

    def update(self, tally: Tally) -> None:
        """Shows how far it has come."""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                description="sending" if self.sending else "waiting for the record",
                total=None if self.sending else tally.sent,
                completed=tally.recorded,
                counts=f"{tally.sent:,} sent" + ("" if self.sending else f", {tally.recorded:,} recorded"),
            )
        elif self.sending and tally.sent >= self._next:
            self._next = tally.sent + self._EVERY
            click.echo(f"{tally.sent} rows sent", err=True)

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if error[0] is not None:  # then no result names it
            click.echo(f"submission {self._submission}", err=True)


def _report(source: Input, tally: Tally, submission: str, seconds: float, as_json: bool) -> None:
    complete = tally.complete and tally.sent == source.read
    if as_json:
        numbers = {"read": source.read, "sent": tally.sent, **tally.outcomes, "missing": tally.missing}
        result = {"submission": submission, **numbers, "complete": complete}
        click.echo(json.dumps({**result, "seconds": round(seconds, 3)}))
    else:
        click.echo(f"submission {submission}")  # no title of the table, which is folded to its width
        grid = Grid()
        grid.add_column("outcome")
        grid.add_column("rows", justify="right")
        for name, count in (*tally.outcomes.items(), ("sent", tally.sent)):
            grid.add_row(name, f"{count:,}", end_section=name == "quarantined")
        Console().print(grid)
    _show_reasons(source)
    if tally.outcomes["quarantined"]:
        click.echo("see what was quarantined and why: jianguan quarantine list", err=True)
    if tally.missing:
        text = f"{tally.missing} rows are not recorded yet: jianguan ingest may be run again without harm"
        click.echo(click.style(text, fg="yellow"), err=True)
    elif not complete:
        text = f"{tally.recorded - tally.sent} more records than rows: another run used submission {submission}"
        click.echo(click.style(text, fg="yellow"), err=True)


def _report_dry_run(source: Input, as_json: bool) -> None:
    for line in source.lines():
        source.check(line)
    refused = source.reasons.total()
    if as_json:
        click.echo(json.dumps({"read": source.read, "refused": refused, "reasons": dict(source.reasons)}))
    else:
        click.echo(f"{source.read:,} rows, {refused:,} of them would be quarantined; nothing was sent")
        _show_reasons(source)
    _fail_if_none_was_right(source, refused)


def _show_reasons(source: Input) -> None:
    for reason, count in source.reasons.most_common(_REASONS_SHOWN):
        click.echo(f"  {count:,} rows: {reason}", err=True)
