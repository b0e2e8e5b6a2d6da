"""The command `edge-agent check-config`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from can_stream.databases.configured import load_configured
from edge_agent.cli.parameters import told_in_one_sentence
from edge_agent.config.transmit import transmit_sentence
from edge_agent.uplink.enrolled import load_config


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def check_config(path: Path) -> None:
    """Say everything that is wrong in a configuration file, or what it means."""
    with told_in_one_sentence():
        config = load_config(path)
    click.echo(f"{path} is valid: agent {config.agent_id} streams to {config.server.url}")
    complete = True
    for section, info in zip(config.dongles, config.dongle_infos(), strict=True):
        click.echo(f"  {info.dongle_id}: {info.interface} {info.channel}, {info.mode}")
        click.echo(f"    {transmit_sentence(config.transmit, config.relay, info.interface, info.mode)}")
        if section.databases:
            databases = load_configured(section.databases)
            click.echo(f"    {databases.message}", err=bool(databases.problems))
            complete = complete and not databases.problems
    sys.exit(0 if complete else 1)
