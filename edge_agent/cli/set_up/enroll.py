"""The command `edge-agent enroll`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Final

import click

from can_stream.protocol.identity import identifier_from
from edge_agent.cli.parameters import told_in_one_sentence
from edge_agent.uplink import enroll as enrolment
from edge_agent.uplink.credentials import default_token_file, read_enrolment_token, write_token
from edge_agent.uplink.enrolled import store_enrolled_id
from edge_agent.uplink.hello import VERSION

ENROLMENT_VARIABLE: Final = "EDGE_AGENT_ENROLL_TOKEN"


@click.command()
@click.option(
    "--server", required=True, metavar="URL", help="The stream server, e.g. https://stream.example.com"
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help=f"File with the enrolment token, - for standard input. Default: ${ENROLMENT_VARIABLE}.",
)
@click.option("--agent-id", help="The id to register. Default: this machine's host name.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"Where to store the agent token. Default: {default_token_file()}",
)
@click.option("--ca-file", type=click.Path(path_type=Path), help="PEM file with the server's CA.")
def enroll(
    server: str, token_file: Path | None, agent_id: str | None, out: Path | None, ca_file: Path | None
) -> None:
    """Register this agent with a server and store its token; prints the agent id, never the token."""
    with told_in_one_sentence():
        if token_file is not None:
            secret = read_enrolment_token(token_file, sys.stdin.buffer)
        elif ENROLMENT_VARIABLE in os.environ:
            secret = os.environ[ENROLMENT_VARIABLE].strip()
        else:
            raise click.UsageError(f"give the enrolment token with --token-file or in ${ENROLMENT_VARIABLE}")
        if (warning := enrolment.clear_text_warning(server)) is not None:
            click.echo(f"Warning: {warning}", err=True)
        wanted = agent_id or identifier_from(socket.gethostname())
        answer = enrolment.register(server, secret, wanted, ca_file=ca_file, version=VERSION)
        path = out or default_token_file()
        write_token(path, answer.agent_token)
        store_enrolled_id(path, answer.agent_id)
    click.echo(answer.agent_id)
