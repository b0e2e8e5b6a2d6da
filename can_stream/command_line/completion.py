"""The command `completion` of every program: click's own, without a variable to remember."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and files.

    Into the start file of the shell (~/.bashrc, ~/.zshrc, ~/.config/fish/config.fish) goes the line of the
    example; fish takes `| source` behind the command instead.
    """
    program = ctx.find_root().command
    name = program.name or ""
    variable = f"_{name.replace('-', '_')}_COMPLETE".upper()
    writer = get_completion_class(shell)
    assert writer is not None, "click knows them all"
    click.echo(writer(program, {}, name, variable).source())
