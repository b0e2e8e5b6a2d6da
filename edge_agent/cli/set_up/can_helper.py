"""The command `edge-agent can-helper`: what systemd starts for the agent when it asks for a privilege."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from can_stream.service_manager import log_to_standard_error
from edge_agent.cli.parameters import config_option, told_in_one_sentence
from edge_agent.config.scoping import relayed_to
from edge_agent.config.sections import AgentConfig
from edge_agent.dongles.whereabouts import Whereabouts
from edge_agent.errors import SourceError
from edge_agent.helper.serving import Helper, Machine, inherited_socket, is_from_agent, serve
from edge_agent.host.adapter import Adapter
from edge_agent.host.inventory import Inventory
from edge_agent.uplink.enrolled import load_config


@click.command("can-helper")
@config_option()
def can_helper(path: Path) -> None:
    """Empty queues of CAN interfaces for the agent's service; started by systemd, not by people.

    Takes an interface down and up on which the configuration lets groups put frames, at most once in ten
    seconds. Ends after a minute without a request.
    """
    log_to_standard_error(logging.INFO)
    with told_in_one_sentence():
        serve(inherited_socket(), Helper(path, Machine(configured_channels)), is_from_agent)


def configured_channels(path: Path) -> set[str]:
    """The interfaces that the file lets the helper touch. ConfigError."""
    return relayed_channels(load_config(path), Inventory().adapters())


def relayed_channels(config: AgentConfig, adapters: Sequence[Adapter]) -> set[str]:
    """The interfaces of the kernel on which the file lets groups put frames, as far as they are there."""
    found = set()
    for section in relayed_to(config.relay, config.dongles):
        if section.interface == "socketcan":
            with suppress(SourceError):
                found.add(Whereabouts(section).locate(adapters) if section.device_id else section.channel)
    return found
