"""Both programs as their tables list them, with every command of every group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from can_stream.command_line.listed_group import ListedGroup
from edge_agent.cli.main import main as edge_agent
from stream_server.main import main as stream_server

PROGRAMS: Final = (edge_agent, stream_server)


class OneCommand(NamedTuple):
    """A command: its program, its name, "" for the program itself, and what click has of it."""

    program: ListedGroup
    name: str
    command: click.Command

    @property
    def words(self) -> list[str]:
        """What it is called by, without the program."""
        return self.name.split()

    def __str__(self) -> str:
        return f"{self.program.name} {self.name}".strip()


def every_command() -> list[OneCommand]:
    """All of both programs, groups and programs too."""
    return [one for program in PROGRAMS for one in _below(OneCommand(program, "", program))]


def _below(one: OneCommand) -> Iterator[OneCommand]:
    yield one
    if isinstance(one.command, click.Group):
        context = click.Context(one.command)
        for name in one.command.list_commands(context):
            command = one.command.get_command(context, name)
            assert command is not None
            yield from _below(OneCommand(one.program, f"{one.name} {name}".strip(), command))
