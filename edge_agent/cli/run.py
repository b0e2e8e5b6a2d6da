"""The command `edge-agent run`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import click

from can_stream.command_line.stop_signals import StopSignals
from can_stream.private_files import PRIVATE_UMASK
from can_stream.service_manager import log_to_standard_error
from can_stream.strict_config import ConfigError
from edge_agent.agent import Agent
from edge_agent.cli.parameters import config_option, told_in_one_sentence
from edge_agent.config.sections import AgentConfig
from edge_agent.ending import LastResort
from edge_agent.host import look_up
from edge_agent.host.heap import share_one_heap, use_python_blocks
from edge_agent.host.ownership import owning, owning_in_turn
from edge_agent.spool.directory import spool_directory
from edge_agent.uplink.credentials import token_file
from edge_agent.uplink.enrolled import load_config


@click.command()
@config_option()
@click.option("--wait", is_flag=True, help="Where another process runs as this agent, wait until it ends.")
@click.option("--verbose", is_flag=True, help="Log debugging details too.")
def run(path: Path, *, wait: bool, verbose: bool) -> None:
    """Read every configured dongle and stream to the server, until SIGTERM or Ctrl-C.

    SIGHUP loads databases and signal rules again, and reads the token and the CA file again.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to load again
    log_to_standard_error(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # its debug output shows the token
    os.umask(PRIVATE_UMASK)  # SQLite's own files beside ours, too
    share_one_heap()
    use_python_blocks()
    with told_in_one_sentence():
        config = load_config(path)
        if (said := config.server.clear_text) is not None:
            logging.getLogger(__name__).warning("server: %s", said)
        places = [token_file(config.server.token_file), spool_directory(config.spool.directory)]
        with (owning_in_turn if wait else owning)(config.agent_id, places=places):
            look_up.run(_run(config, path, signals := StopSignals()))
    signals.end()


async def _run(config: AgentConfig, path: Path, signals: StopSignals) -> None:
    stop = asyncio.Event()
    agent = Agent(config)
    signals.listen(stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, agent, path)
    try:
        await agent.run(stop, LastResort().watch)
    except ConfigError as error:
        raise ConfigError(error.problems, path) from None


def _reload(agent: Agent, path: Path) -> None:
    agent.read_keys_again()
    try:
        agent.reload(load_config(path))
    except ConfigError as error:
        logging.getLogger(__name__).error("everything stays as it was: %s", "; ".join(str(error).split("\n")))
