"""What replay and simulate share where they transmit: a bus that is for listening, or in an active group,
is left alone.

Loaded there alone: what asks running agents takes a megabyte of a replay that streams.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from can_stream.command_line.parameters import is_there
from can_stream.strict_config import ConfigError
from edge_agent.cli.parameters import AGENT_CONFIG
from edge_agent.config.sections import AgentConfig
from edge_agent.dongles.whereabouts import by_device_id
from edge_agent.errors import ReplayError, SourceError, StatusError
from edge_agent.host.inventory import Inventory
from edge_agent.status.socket import candidates, running_agents, socket_path
from edge_agent.transmit.by_hand import ReadBus, refusal
from edge_agent.uplink.enrolled import load_config


def refuse_listeners(target: tuple[str, str], path: Path | None) -> None:
    """ReplayError where `path`, the agent's file of this machine, or a running agent listens there.

    So it is where a running agent has it in an active group.

    Also where that cannot be found out: what nobody could look up is not sent.
    """
    interface, channel = target
    config = _config(path or AGENT_CONFIG) if path is not None or is_there(AGENT_CONFIG) else None
    buses = [*_running(config)]
    if config is not None:
        buses = [*_configured(path or AGENT_CONFIG, config), *buses]
    said = refusal(interface, _place(interface, channel), buses)
    if said is not None:
        raise ReplayError(said)


def _config(path: Path) -> AgentConfig:
    try:
        return load_config(path)
    except ConfigError as error:
        remedy = "it says which buses are for listening: mend it, name another with --config, or give --force"
        raise ReplayError(f"{error}\n{remedy}") from None


def _configured(path: Path, config: AgentConfig) -> Iterator[ReadBus]:
    for section in config.dongles:
        channel = section.channel
        if section.device_id is not None:
            try:
                channel = by_device_id(section.device_id, section.interface, Inventory().adapters()).channel
            except SourceError:  # it is not plugged in, so nothing can be sent there
                continue
        yield ReadBus(
            str(path), section.id or "", section.interface, _place(section.interface, channel), section.mode
        )


def _running(config: AgentConfig | None) -> Iterator[ReadBus]:
    paths = candidates()
    if config is not None and config.agent.status_socket is not None:
        paths.append(socket_path(config.agent.status_socket, config.agent_id))
    for _, said in running_agents(paths):
        if isinstance(said, StatusError):
            if said.code == "NOT_RUNNING":
                continue
            raise ReplayError(
                f"which buses an agent here listens to cannot be asked: {said}; or give --force"
            )
        told_by = f"the running agent {said.agent_id} (process {said.pid})"
        relayed = {one.dongle_id for one in said.relays if one.source_dongle_id is not None}
        for one in said.dongles:
            place, is_relayed = _place(one.interface, one.channel), one.carried or one.dongle_id in relayed
            yield ReadBus(told_by, one.dongle_id, one.interface, place, one.mode, relayed=is_relayed)


def _place(interface: str, channel: str) -> str:
    """A serial port by its own name, whatever link it was named by; python-can takes a rate behind an @."""
    if not channel.startswith("/"):
        return channel
    return os.path.realpath(channel.partition("@")[0] if interface == "slcan" else channel)
