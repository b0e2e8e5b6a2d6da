"""The command `edge-agent check-config`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from can_stream.command_line.parameters import FileName
from can_stream.databases.configured import ConfiguredDatabases, load_configured
from can_stream.errors import LogError
from can_stream.strict_config import ConfigError, Problem
from edge_agent.cli.parameters import config_option, told_in_one_sentence, warn
from edge_agent.config.dongle import DongleSection
from edge_agent.config.scoping import relay_for, transmit_for
from edge_agent.config.sections import AgentConfig
from edge_agent.config.transmit import is_relayed_to, transmit_sentence
from edge_agent.diagnosis.dongle_probe import check_driver
from edge_agent.errors import SourceError, UplinkError
from edge_agent.logs.selected_frames import check_logs
from edge_agent.transmit.gate_names import unknown_signals
from edge_agent.uplink.credentials import token_for_others
from edge_agent.uplink.enrolled import load_config
from edge_agent.uplink.keys import trusting

_OWN_INTERFACES = ("socketcan", "slcan")


@click.command()
@config_option()
@click.argument("file", type=FileName(), required=False)
def check_config(path: Path, file: Path | None) -> None:
    """Say everything that is wrong in a configuration file, or what it means.

    FILE is another way to say --config FILE. What it names on this machine is looked at too, except for
    adapters, which may be plugged in later.
    """
    path = file or path
    with told_in_one_sentence():
        config = load_config(path)
        problems: list[Problem] = list(_problems_outside(config))
        loaded = [_databases(index, section, problems) for index, section in enumerate(config.dongles)]
        names = (section.id or "" for section in config.dongles)
        tables = {name: None if one is None else one.table for name, one in zip(names, loaded, strict=True)}
        problems.extend(unknown_signals(config.relay, config.dongles, tables))
        if problems:
            raise ConfigError(problems, path)
    click.echo(f"{path} is valid: agent {config.agent_id} streams to {config.server.url}")
    if (said := config.server.clear_text) is not None:
        warn(said)
    if (said := token_for_others(config.server.token_file)) is not None:
        warn(said)
    _tell_dongles(config, ["" if one is None else one.message for one in loaded])


def _tell_dongles(config: AgentConfig, decoding: Sequence[str]) -> None:
    for info, decoded in zip(config.dongle_infos(), decoding, strict=True):
        click.echo(f"  {info.dongle_id}: {info.interface} {info.channel}, {info.mode}")
        transmit = transmit_for(config.transmit, info.dongle_id)
        relay = relay_for(config.relay, info.dongle_id)
        click.echo(f"    {transmit_sentence(transmit, relay, info.interface, info.mode)}")
        if decoded:
            click.echo(f"    {decoded}")
        has_rate = info.bitrate is not None or info.interface == "socketcan"
        if is_relayed_to(relay, info.interface, info.mode) and not has_rate:
            why = "how full its bus is cannot be known before"
            warn(f"nothing is relayed to {info.dongle_id} until its `bitrate` is set: {why}")


def _problems_outside(config: AgentConfig) -> Iterator[Problem]:
    """What the file names and is not so on this machine, but for databases."""
    if config.server.ca_file is not None:
        try:
            trusting(Path(config.server.ca_file))
        except UplinkError as error:
            yield Problem("server.ca_file", str(error))
    for index, section in enumerate(config.dongles):
        try:
            if section.interface == "log":
                check_logs([Path(section.channel)])
            elif section.interface not in _OWN_INTERFACES:
                check_driver(section)
        except LogError as error:
            yield Problem(f"dongles[{index}].channel", str(error))
        except SourceError as error:
            yield Problem(f"dongles[{index}].interface", str(error))


def _databases(index: int, section: DongleSection, problems: list[Problem]) -> ConfiguredDatabases | None:
    """Those of one dongle, None where it has none; `problems` grows."""
    if not section.databases:
        return None
    databases = load_configured(section.databases, section.database_options)
    problems.extend(Problem(f"dongles[{index}].databases", problem) for problem in databases.problems)
    return databases
