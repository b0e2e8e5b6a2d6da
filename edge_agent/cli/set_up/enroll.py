"""The command `edge-agent enroll`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Final

import click

from can_stream.command_line.parameters import FileName
from can_stream.protocol.identity import identifier_from
from can_stream.version import VERSION
from edge_agent.cli.parameters import (
    clear_text_option,
    tell_others,
    tell_unused_ca,
    told_in_one_sentence,
    warn,
)
from edge_agent.uplink import enroll as enrolment
from edge_agent.uplink.credentials import default_token_file, place_for_token, read_enrolment_token
from edge_agent.uplink.enrolled import check_place, enrolled, store_enrolled_id

ENROLMENT_VARIABLE: Final = "EDGE_AGENT_ENROLL_TOKEN"
_ELSEWHERE: Final = "name another file with --out"


@click.command()
@click.option(
    "--server", required=True, metavar="URL", help="The stream server, such as https://stream.example.com"
)
@click.option(
    "--token-file",
    type=FileName(allow_dash=True),
    help=f"The enrolment token; - is standard input.  [default: ${ENROLMENT_VARIABLE}]",
)
@click.option(
    "--agent-id",
    metavar="ID",
    help="The id to register.  [default: as before, else this machine's host name]",
)
@click.option(
    "--out",
    type=FileName(),
    help="Where the agent's token goes.  [default: /var/lib/edge-agent/token; for others than root "
    "~/.local/state/edge-agent/token]",
)
@click.option("--ca-file", type=FileName(), help="The server's CA, in PEM format.")
@clear_text_option()
def enroll(
    server: str,
    token_file: Path | None,
    agent_id: str | None,
    out: Path | None,
    ca_file: Path | None,
    *,
    allow_clear_text: bool,
) -> None:
    """Register this agent with a server and store its token; prints the agent id, never the token."""
    with told_in_one_sentence():
        if token_file is not None:
            secret = read_enrolment_token(token_file, sys.stdin.buffer)
            tell_others(token_file)
        elif ENROLMENT_VARIABLE in os.environ:
            secret = os.environ[ENROLMENT_VARIABLE].strip()
        else:
            raise click.UsageError(f"give the enrolment token with --token-file or in ${ENROLMENT_VARIABLE}")
        if (said := enrolment.refuse_clear_text(server, allowed=allow_clear_text)) is not None:
            warn(f"{said}; write `allow_clear_text = true` below [server] of the agent's file too")
        path = out or default_token_file()
        before = enrolled(str(path))
        wanted = agent_id or (before.agent_id if before else identifier_from(socket.gethostname()))
        with place_for_token(path, _ELSEWHERE) as store:
            check_place(path, _ELSEWHERE)
            answer = enrolment.register(server, secret, wanted, ca_file=ca_file, version=VERSION)
            store(answer.agent_token)
        tell_unused_ca(server, ca_file)
        store_enrolled_id(path, answer.agent_id, answer.agent_token)
    if out is None:
        click.echo(f"its token is in {path}", err=True)
    click.echo(answer.agent_id)
