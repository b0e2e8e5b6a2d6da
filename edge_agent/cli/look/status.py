"""The command `edge-agent status`: what a running agent says of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_agent.cli.parameters import told_in_one_sentence
from edge_agent.errors import StatusError
from edge_agent.status.document import encode_status
from edge_agent.status.finding import find_status
from edge_agent.status.text import is_well, status_lines

NOT_RUNNING = 2


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Of the agent with this configuration.")
@click.option("--socket", type=click.Path(path_type=Path), help="Of the agent that listens here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--prometheus", is_flag=True, help="Metrics in Prometheus' text format.")
def status(config: Path | None, socket: Path | None, *, as_json: bool, prometheus: bool) -> None:
    """Say how the running agent stands, and where frames were lost.

    Exit status 0 when all is well, 1 when something is degraded or has failed, 2 when no agent answers.
    """
    if as_json and prometheus:
        raise click.UsageError("give --json or --prometheus, not both")
    with told_in_one_sentence():
        try:
            found = find_status(config, socket)
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
