"""The command `edge-agent status`: what a running agent says of itself."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import click

from can_stream.command_line.parameters import FileName, is_there
from can_stream.strict_config import ConfigError
from edge_agent.cli.parameters import AGENT_CONFIG, config_option, told_in_one_sentence
from edge_agent.errors import StatusError
from edge_agent.status.document import AgentStatus, encode_status
from edge_agent.status.finding import find_status
from edge_agent.status.text import is_well, status_lines

NOT_RUNNING = 2


@click.command()
@config_option(required=False)
@click.option("--socket", type=FileName(), help="The agent that listens here, whatever its configuration.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--prometheus", is_flag=True, help="Metrics in Prometheus' text format.")
def status(path: Path | None, socket: Path | None, *, as_json: bool, prometheus: bool) -> None:
    """Say how the running agent stands, and where frames were lost.

    Without options, where no agent of the default configuration runs, it is the one that runs for this user.
    Exit status 0 when all is well, 1 when something is degraded or has failed, 2 when no agent answers.
    """
    if as_json and prometheus:
        raise click.UsageError("give --json or --prometheus, not both")
    with told_in_one_sentence():
        try:
            found = find_meant(path, socket)
        except StatusError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(NOT_RUNNING)
    if as_json:
        click.echo(encode_status(found), nl=False)
    elif prometheus:
        from edge_agent.status.metrics import exposition  # noqa: PLC0415 - takes longer than all the rest

        click.echo(exposition(found), nl=False)
    else:
        for line in status_lines(found):
            click.echo(line)
    sys.exit(0 if is_well(found) else 1)


def find_meant(path: Path | None, socket: Path | None) -> AgentStatus:
    """Of the agent of this configuration or socket, else of the one that runs here. StatusError."""
    if path is None and socket is None and is_there(AGENT_CONFIG):
        # Somebody's own agent may run beside an installed service, or an example of its configuration.
        with suppress(StatusError, ConfigError):
            return find_status(AGENT_CONFIG, None)
    return find_status(path, socket)
