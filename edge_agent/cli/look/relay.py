"""The command `edge-agent relay`: what groups put on the buses of this machine, and how to stop that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from can_stream.command_line.parameters import FileName
from edge_agent.cli.look.status import NOT_RUNNING, find_meant
from edge_agent.cli.parameters import AGENT_CONFIG, config_option, told_in_one_sentence
from edge_agent.config.scoping import relayed_to
from edge_agent.errors import StatusError
from edge_agent.host.state_directory import state_directory
from edge_agent.relay.figures import RelayFigures
from edge_agent.relay.stopping import start as start_again
from edge_agent.relay.stopping import stop as stop_now
from edge_agent.relay.stopping import stop_file
from edge_agent.status.document import AgentStatus
from edge_agent.status.relay_text import relay_lines
from edge_agent.status.text import status_line
from edge_agent.uplink.enrolled import load_config

OFF: Final = "`[relay] transmit` of the agent's file is off, or all of its dongles listen only"


class _DongleOrCommand(click.Group):
    """What is no command is a dongle to show, and what is nothing is all of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As usual, with `show` in front of its options where no command is named."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, with `show` in front of what is no command and does not look like a slip for one."""
        if self.get_command(ctx, args[0]) is None and not get_close_matches(args[0], self.commands):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def _options(command: Any) -> Any:
    socket = click.option("--socket", type=FileName(), help="The agent that listens here.")
    return click.argument("dongle", required=False)(config_option(required=False)(socket(command)))


@click.group(cls=_DongleOrCommand)
def relay() -> None:
    """Say what is relayed to the buses of this machine, or stop it and start it again.

    Alone it is `edge-agent relay show`, and so is `edge-agent relay DONGLE`.
    """


@relay.command()
@_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(dongle: str | None, path: Path | None, socket: Path | None, *, as_json: bool) -> None:
    """Say what has become of the frames that groups relay here, in all and by id, and why any of them waits.

    Each reason is told with what to do about it. Exit status 0, or 2 when no agent answers.
    """
    with told_in_one_sentence():
        try:
            found = find_meant(path, socket)
        except StatusError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(NOT_RUNNING)
    relays = _chosen(found, dongle)
    if as_json:
        document = {"agent_id": found.agent_id, "ts": found.ts, "relays": relays}
        click.echo(msgspec.json.encode(document).decode())
        return
    if not relays:
        remedy = "`edge-agent doctor --relay` says what to do where one should"
        click.echo(f"agent {found.agent_id} lets no relay transmit: {OFF}; {remedy}")
    for one in relays:
        for line in relay_lines(one):
            click.echo(status_line(line))


@relay.command()
@_options
def stop(dongle: str | None, path: Path | None, socket: Path | None) -> None:
    """Let no relay put anything on the bus of DONGLE, or of any dongle, until `edge-agent relay start`.

    It holds at once, without a server, and across restarts of agent and machine.
    """
    with told_in_one_sentence():
        for name, file in _files(dongle, path, socket):
            was = "" if stop_now(file) else " already"
            click.echo(f"{name}: the relay is stopped{was}, until `edge-agent relay start {name}`")


@relay.command()
@_options
def start(dongle: str | None, path: Path | None, socket: Path | None) -> None:
    """Let the relay go on after `edge-agent relay stop`."""
    with told_in_one_sentence():
        for name, file in _files(dongle, path, socket):
            was = "goes on" if start_again(file) else "was not stopped here"
            click.echo(f"{name}: the relay {was}")


def _chosen(found: AgentStatus, dongle: str | None) -> Sequence[RelayFigures]:
    if dongle is None:
        return found.relays
    chosen = [one for one in found.relays if one.dongle_id == dongle]
    if not chosen:
        raise _unknown(dongle, [one.dongle_id for one in found.relays])
    return chosen


def _files(dongle: str | None, path: Path | None, socket: Path | None) -> list[tuple[str, Path]]:
    """Each dongle that is meant, with the file that stops it: as its agent says, else as its file does."""
    try:
        found = find_meant(path, socket)
        files = {one.dongle_id: Path(one.stop_file) for one in found.relays}
    except StatusError as error:
        if error.code != "NOT_RUNNING" or socket is not None:
            raise
        config = load_config(path or AGENT_CONFIG)
        names = [str(one.id) for one in relayed_to(config.relay, config.dongles)]
        files = {name: stop_file(state_directory(), name) for name in names}
    if dongle is not None and dongle not in files:
        raise _unknown(dongle, list(files))
    if not files:
        raise click.ClickException(f"no relay may transmit here: {OFF}")
    return [(name, file) for name, file in files.items() if dongle in (None, name)]


def _unknown(dongle: str, names: list[str]) -> click.ClickException:
    known = f"it may to {', '.join(names)}" if names else OFF
    return click.ClickException(f"no relay may transmit to {dongle}: {known}")
