"""The command `edge-agent`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edge_agent import enroll as enrolment
from edge_agent.agent import Agent
from edge_agent.config import AgentConfig, load_agent_config
from edge_agent.credentials import default_token_file, read_enrolment_token, write_token
from edge_agent.decode_command import dbc, decode
from edge_agent.errors import EdgeAgentError
from edge_agent.identity import VERSION
from edge_agent.replay_command import replay
from strict_config import ConfigError
from wire_protocol.identity import identifier_from

ENROLMENT_VARIABLE = "EDGE_AGENT_ENROLL_TOKEN"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="edge-agent")
def main() -> None:
    """Streams CAN frames from this machine to a stream server."""


@contextlib.contextmanager
def told_in_one_sentence() -> Iterator[None]:
    """Errors with a remedy end the command with exit status 1, without a traceback."""
    try:
        yield
    except (EdgeAgentError, ConfigError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="TOML file.")
@click.option("--verbose", is_flag=True, help="Log debugging details too.")
def run(path: Path, *, verbose: bool) -> None:
    """Read every configured dongle and stream to the server until stopped."""
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # its debug output shows the token
    with told_in_one_sentence():
        asyncio.run(_run(load_agent_config(path)))


async def _run(config: AgentConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Agent(config).run(stop)


@main.command("check-config")
@click.argument("path", type=click.Path(path_type=Path))
def check_config(path: Path) -> None:
    """Say everything that is wrong in a configuration file, or what it means."""
    with told_in_one_sentence():
        config = load_agent_config(path)
    click.echo(f"{path} is valid: agent {config.agent_id} streams to {config.server.url}")
    for info in config.dongle_infos():
        click.echo(f"  {info.dongle_id}: {info.interface} {info.channel}, {info.mode}")


@main.command()
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
        write_token(out or default_token_file(), answer.agent_token)
    click.echo(answer.agent_id)


main.add_command(replay)
main.add_command(decode)
main.add_command(dbc)
