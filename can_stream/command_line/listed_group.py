"""A program whose commands stand in one table: what each is for, where it lies, a line to begin from.

Help is drawn from the table alone, without loading a command.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from can_stream.command_line.quiet_start import take_ctrl_c
from can_stream.standard_streams import open_closed_streams, tell_full_output
from can_stream.text.foreign import shown_lines

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# What a shell says of who was ended by SIGINT.
INTERRUPTED: Final = 128 + signal.SIGINT
# What is not to be broken, and what stands for it while lines are.
_KEPT: Final = {"-": "\N{NON-BREAKING HYPHEN}", "[default: ": "[default:\N{NO-BREAK SPACE}"}


class Listed(NamedTuple):
    """A row: `place` is MODULE:ATTRIBUTE, `examples` are whole lines of a shell, each tried by a test."""

    section: str
    place: str
    summary: str
    examples: tuple[str, ...]


class WholeWords(click.HelpFormatter):
    """Breaks lines at spaces alone: an option or a path that is cut in two cannot be copied."""

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **options: Any) -> None:
        """As click's."""
        super().write_dl([(term, _kept(text)) for term, text in rows], *args, **options)

    def write_text(self, text: str) -> None:
        """As click's."""
        super().write_text(_kept(text))

    def getvalue(self) -> str:
        """As click's."""
        text = super().getvalue()
        for plain, kept in _KEPT.items():
            text = text.replace(kept, plain)
        return text


def _kept(text: str) -> str:
    for plain, kept in _KEPT.items():
        text = text.replace(plain, kept)
    return text


class HelpContext(click.Context):
    """Wherever help is shown."""

    formatter_class = WholeWords


class ListedGroup(click.Group):
    """Imports a command when it is named: the service holds no other's memory, and others start faster.

    A name of two words is the command of a group, whose own name is another row. Ctrl-C ends every command
    with one word and exit status 130. The first row is what the program is for: its example is the program's.
    """

    context_class = HelpContext

    def __init__(self, *args: Any, listed: Mapping[str, Listed], **options: Any) -> None:
        super().__init__(*args, context_settings={"help_option_names": ["-h", "--help"]}, **options)
        self.listed = listed
        self.epilog = examples_text(next(iter(listed.values())).examples)

    def main(self, *args: Any, **options: Any) -> Any:
        """As click's, which writes help and version before any command runs."""
        open_closed_streams()
        tell_full_output()
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the table."""
        return [name for name in self.listed if " " not in name]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, None where there is none of the name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = self.listed[cmd_name].place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        self._complete(cmd_name, command)
        return command

    def _complete(self, name: str, command: click.Command) -> None:
        """Gives a command, and those of a group, what the table says of it."""
        row = self.listed[name]
        command.context_class = HelpContext
        command.short_help = row.summary
        command.epilog = examples_text(row.examples)
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                self._complete(f"{name} {inner}", one)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, which knows only names of commands that are loaded."""
        try:
            found = super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            names = self.list_commands(ctx)
            raise click.NoSuchCommand(error.command_name, possibilities=names, ctx=ctx) from None
        take_ctrl_c()
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what one wants to do."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            sections.setdefault(self.listed[name].section, []).append((name, self.listed[name].summary))
        width = max(map(len, self.list_commands(ctx)))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, without loading anything."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for shells that complete alone

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=self.listed[name].summary) for name in names]
        return commands or click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that is named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _end_interrupted(ctx)
        except click.ClickException as error:
            # It may name what a file or a server said.
            vars(error)["message"] = shown_lines(error.message)
            raise


def examples_text(examples: Sequence[str]) -> str:
    """The end of a command's help."""
    return "\b\nFor example:\n" + "\n".join(f"  {line}" for line in examples)


def _end_interrupted(ctx: click.Context) -> NoReturn:
    # Whoever presses it again means it: no traceback out of what is being cleaned up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Behind the ^C of the terminal, not beside it.
    click.echo("\ninterrupted" if sys.stderr.isatty() else "interrupted", err=True)
    ctx.exit(INTERRUPTED)
