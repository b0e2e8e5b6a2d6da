"""The command `edge-agent run`."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import click

from can_stream.service_manager import log_to_standard_error
from can_stream.strict_config import ConfigError
from edge_agent.agent import Agent
from edge_agent.cli.parameters import told_in_one_sentence
from edge_agent.config.sections import AgentConfig
from edge_agent.host import look_up
from edge_agent.host.heap import share_one_heap, use_python_blocks
from edge_agent.host.ownership import owning, owning_in_turn
from edge_agent.uplink.enrolled import load_config


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="TOML file.")
@click.option("--wait", is_flag=True, help="Where another process runs as this agent, wait until it ends.")
@click.option("--verbose", is_flag=True, help="Log debugging details too.")
def run(path: Path, *, wait: bool, verbose: bool) -> None:
    """Read every configured dongle and stream to the server until stopped.

    SIGHUP loads databases and signal rules again, and reads the token and the CA file again.
    """
    log_to_standard_error(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # its debug output shows the token
    share_one_heap()
    use_python_blocks()
    with told_in_one_sentence():
        config = load_config(path)
        with (owning_in_turn if wait else owning)(config.agent_id):
            look_up.run(_run(config, path))


async def _run(config: AgentConfig, path: Path) -> None:
    stop = asyncio.Event()
    agent = Agent(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, agent, path)
    await agent.run(stop)


def _reload(agent: Agent, path: Path) -> None:
    agent.read_keys_again()
    try:
        agent.reload(load_config(path))
    except ConfigError as error:
        logging.getLogger(__name__).error("everything stays as it was: %s", error)
