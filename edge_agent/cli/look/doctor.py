"""The command `edge-agent doctor`: why there is no data, and what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from can_stream.command_line.parameters import is_there
from can_stream.strict_config import ConfigError
from edge_agent.cli.parameters import AGENT_CONFIG, config_option
from edge_agent.config.sections import AgentConfig
from edge_agent.config.transmit import is_relayed_to
from edge_agent.diagnosis.diagnosis import Fact, Finding, clock_fact, diagnose, facts_of, uplink_fault
from edge_agent.diagnosis.dongle_probe import dongle_facts
from edge_agent.diagnosis.relay_facts import relay_facts
from edge_agent.diagnosis.server_probe import server_fact
from edge_agent.errors import CredentialError, StatusError
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory
from edge_agent.host.state_directory import state_directory
from edge_agent.relay.stopping import Switches, stop_file
from edge_agent.state import StatusCode
from edge_agent.status.document import AgentStatus
from edge_agent.status.finding import find_status, how_to_start
from edge_agent.status.text import status_line, verdict
from edge_agent.uplink.credentials import default_token_file, read_agent_token, token_file
from edge_agent.uplink.enrolled import load_config
from edge_agent.uplink.proxy import proxy_for, without_password

LEAST_FREE_BYTES: Final = 8_000_000
_TELLS_LITTLE: Final = frozenset({"uplink_failed", "disconnected"})


@click.command()
@config_option(required=False)
@click.option("--relay", "with_relay", is_flag=True, help="Of each dongle also why nothing is relayed.")
def doctor(path: Path | None, *, with_relay: bool) -> None:
    """Say why there is no data, or nothing is relayed, and what to do about it.

    Of the relay it speaks where the configuration does, or with --relay.

    Asks the running agent; where none runs, looks at configuration, adapters and server itself. Exit status 1
    when something is wrong.
    """
    if path is None and is_there(AGENT_CONFIG):
        path = AGENT_CONFIG
    try:
        status, facts = _examine(path, with_relay=with_relay)
    except StatusError as error:
        raise click.ClickException(str(error)) from error
    findings = diagnose(facts)
    for line in report(findings, status):
        click.echo(status_line(line))
    sys.exit(1 if any(not one.is_note for one in findings) else 0)


def report(findings: Sequence[Finding], status: AgentStatus | None) -> Iterator[str]:
    """The text: root causes by number, then what follows from them, then notes."""
    causes = [one.fact for one in findings if not one.is_note and one.because is None]
    if not causes:
        noise = ", but not all could be read" if any(one.fact.fault == "noise" for one in findings) else ""
        yield f"Nothing is wrong{noise}." + ("" if status is None else f" {verdict(status)}")
    elif len(causes) == 1:
        yield "One thing is wrong:"
    else:
        yield f"{len(causes)} things are wrong, the most fundamental first:"
    for number, fact in enumerate(causes, 1):
        yield f"{number:>3}. {fact.about}: {fact.text}"
    for finding in findings:
        if not finding.is_note and finding.because is not None:
            yield f"     {finding.fact.about}: {finding.fact.text} (because of: {finding.because})"
    for finding in findings:
        if finding.is_note and finding.because is None:
            yield f"note {finding.fact.about}: {finding.fact.text}"


def _examine(path: Path | None, *, with_relay: bool) -> tuple[AgentStatus | None, list[Fact]]:
    """What the running agent says, and what can be seen without it. StatusError where neither can be had."""
    try:
        config = None if path is None else load_config(path)
    except ConfigError as error:
        return None, [Fact("config_error", str(path), str(problem)) for problem in error.problems]
    try:
        status = find_status(path, None)
    except StatusError as error:
        if error.code == "HANGS":
            return None, [Fact("agent_hangs", "agent", str(error))]
        if error.code != "NOT_RUNNING":
            raise
        if config is None:
            reason = f"{error.reason}, and there is no {AGENT_CONFIG}"
            raise StatusError("NO_CONFIG", reason, "say which agent is meant with --config FILE") from None
        not_running = Fact("not_running", "agent", f"{error.reason}: {how_to_start(path)}")
        relayed = [*relay_facts(None, config, everything=with_relay), *_switch_facts(config)]
        return None, [not_running, *_facts_without_agent(config), *relayed]
    relayed = [*relay_facts(status, config, everything=with_relay)]
    return status, [*_facts_beside_agent(status, config), *relayed]


def _switch_facts(config: AgentConfig) -> Iterator[Fact]:
    """What a person has done to stop the relay of an agent that does not run."""
    enable_file = None if config.relay.enable_file is None else Path(config.relay.enable_file)
    for one in config.dongle_infos():
        if is_relayed_to(config.relay, one.interface, one.mode):
            stopped = Switches(stop_file(state_directory(), one.dongle_id), enable_file).stopped()
            if stopped:
                yield Fact("relay_stopped", one.dongle_id, f"nothing will be relayed to it: {stopped}")


def _facts_beside_agent(status: AgentStatus, config: AgentConfig | None) -> Iterator[Fact]:
    yield from facts_of(status)
    yield from _disk_facts()
    if config is not None and config.server.allow_clear_text and (said := config.server.clear_text):
        yield Fact("clear_text_allowed", "server", said)
    uplink = status.service("uplink")
    # What the agent has met by its own way, with its own proxy and token, says more than another look.
    if uplink is not None and uplink.status_code != StatusCode.OK and uplink_fault(uplink) in _TELLS_LITTLE:
        mine = without_password(proxy_for(status.server_url))
        if mine != status.proxy:
            yield _other_proxy_fact(status.proxy, mine)
            return
        ca_file = None if status.ca_file is None else Path(status.ca_file)
        token, place = (None, None) if config is None else (_token(config)[0], _own_place(config))
        fact = server_fact(status.server_url, ca_file, token, place)
        if fact is not None:
            yield fact


def _other_proxy_fact(agents: str | None, mine: str | None) -> Fact:
    text = (
        f"the agent goes by {agents or 'no proxy'} and this shell by {mine or 'none'}, so the server was not "
        "looked at from here: ask again once the agent has tried"
    )
    return Fact("not_looked_at", "server", text)


def _facts_without_agent(config: AgentConfig) -> Iterator[Fact]:
    clock, server = Clock(), config.server
    token, fact = _token(config)
    if fact is not None:
        yield fact
    yield from _disk_facts()
    if not clock.synchronised():
        yield clock_fact()
    adapters = Inventory().adapters()
    for section in config.dongles:
        yield from dongle_facts(section, adapters, clock)
    if (said := server.clear_text) is not None:
        yield Fact("clear_text" if server.is_in_doubt else "clear_text_allowed", "server", said)
    ca_file = None if server.ca_file is None else Path(server.ca_file)
    found = server_fact(server.url, ca_file, token, _own_place(config))
    if found is not None:
        yield found


def _own_place(config: AgentConfig) -> str | None:
    """Where its token has to be, None for where `enroll` puts it anyway."""
    place = token_file(config.server.token_file)
    return None if place == default_token_file() else str(place)


def _token(config: AgentConfig) -> tuple[str | None, Fact | None]:
    try:
        return read_agent_token(config.server.token_file), None
    except CredentialError as error:
        if isinstance(error.__cause__, PermissionError):
            text = f"{error.path} may only be read by somebody else: run this as root to have the token tried"
            return None, Fact("not_looked_at", "token", text)
        return None, Fact("token_missing", "token", str(error))


def _disk_facts() -> Iterator[Fact]:
    directory = state_directory()
    try:
        disk = os.statvfs(directory)
    except OSError:
        return
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < LEAST_FREE_BYTES:
        text = f"only {free_bytes} bytes are free where {directory} is: make room"
        yield Fact("disk_full", "disk", text)
