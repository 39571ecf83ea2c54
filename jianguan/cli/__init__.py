"""The command line: one file per command, imported only when it is used, so that `--help` is quick.

A command module exposes `command`, a click command. Here are only the group, the way an error ends a command, and
the list of commands. It must not import a stage, a store or a page.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import click
from click.shell_completion import get_completion_class

from jianguan import __version__
from jianguan.errors import JianguanError

PROGRAM: Final = "jianguan"

# Name -> the line that `jianguan --help` shows. The module is jianguan.cli.<name>.
COMMANDS: Final[dict[str, str]] = {
    "up": "Start everything on this machine: broker, store, stages, pages.",
    "ingest": "Send the rows of CSV or NDJSON files and account for every one.",
    "trace": "Show the whole history of any id.",
    "quarantine": "List, show and retry records that could not be used.",
    "rules": "Check, test, explain and try rules.",
    "doctor": "Say what is wrong with this machine or this installation.",
    "worker": "Run stages against a Kafka and ClickHouse cluster.",
    "dashboards": "Serve the pages and the API of a cluster.",
}

EXIT_CODES: Final[dict[int, str]] = {
    0: "done",
    1: "something failed",
    2: "the command was called wrongly",
    3: "a setting, a data file or the machine does not allow a start",
    4: "the input is wrong: a rule, a mapping, a record, an id that nobody knows",
    5: "the server, broker or store does not answer",
    6: "ingest: not every row is accounted for",
    130: "interrupted",
}


class Group(click.Group):
    """A group that answers a misspelt command with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it. UsageError with the nearest name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            if near:
                error.message += f" Did you mean '{near[0]}'?"
            raise


class LazyGroup(Group):
    """A group that knows its commands by name and imports one only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return self.commands.get(cmd_name)
        command = importlib.import_module(f"jianguan.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"jianguan.cli.{cmd_name}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list from COMMANDS: a module must not be imported for its summary."""
        rows = [
            (name, COMMANDS.get(name) or self.commands[name].get_short_help_str()) for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command. An error of ours ends it with a sentence and its exit code, never with a traceback."""
        run: Callable[..., Any] = partial(super().main, *args, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        try:
            result = run()
        except JianguanError as error:
            report(str(error))
            sys.exit(error.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:
            # `jianguan … | head`: the reader has seen enough. Nothing may be flushed into the closed pipe at exit.
            sys.stdout = None
            sys.exit(1)
        sys.exit(result if isinstance(result, int) else 0)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` without control characters: what came from outside must not steer the terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def report(message: str) -> None:
    """One error on stderr, `error:` in red on a terminal."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {printable(message)}", err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def main() -> None:
    """互联网+监管: complaints, violations and consumer-rights events become alerts, cases and joint tasks."""


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: jianguan completion bash > ~/.local/share/bash-completion/completions/jianguan
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(main, {}, PROGRAM, "_JIANGUAN_COMPLETE")
    click.echo(script.source_template % script.source_vars())


__all__ = ["COMMANDS", "EXIT_CODES", "PROGRAM", "Group", "LazyGroup", "main", "printable", "report"]
