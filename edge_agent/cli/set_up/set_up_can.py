"""The command `edge-agent set-up-can`: sets CAN interfaces up as the configuration says, for root."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
from msgspec import Struct
from msgspec.structs import replace

from edge_agent.cli.parameters import config_option, told_in_one_sentence
from edge_agent.config.can_settings import CanSettings
from edge_agent.config.sections import AgentConfig
from edge_agent.dongles.whereabouts import Whereabouts
from edge_agent.errors import EdgeAgentError, SetUpError, SourceError
from edge_agent.host.adapter import Adapter
from edge_agent.host.can_link import CanLink, read_can_link
from edge_agent.host.can_set_up import Command, differences, missing_setting, set_up_commands
from edge_agent.host.inventory import Inventory
from edge_agent.uplink.enrolled import load_config

_CAP_NET_ADMIN: Final = 1 << 12  # linux/capability.h
_COMMAND_SECONDS: Final = 30.0
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Tell = Callable[[str], None]


class Interfaces(Struct, frozen=True):
    """The machine's: `read` as `read_can_link`; `run` runs a command and says why it failed, None if not."""

    read: Callable[[str], CanLink | None]
    run: Callable[[Command], str | None]

    def link(self, channel: str) -> CanLink:
        """Raises SetUpError and LinkError."""
        link = self.read(channel)
        if link is None:
            raise SetUpError(channel, "there is no such interface", "plug it in, or correct `channel`")
        return link


@click.command("set-up-can")
@click.argument("channels", metavar="[CHANNEL]...", nargs=-1)
@config_option()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def set_up_can(channels: Sequence[str], path: Path, *, dry_run: bool) -> None:
    """Set CAN interfaces up as the configuration says: those of its socketcan dongles, or those named here.

    Needs root. What is set up already is left alone, and so is an interface that is in no dongle.
    """
    with told_in_one_sentence():
        settings = configured(load_config(path), Inventory().adapters())
        interfaces = Interfaces(read_can_link, _unable if dry_run else _runner())
    failed = False
    for channel in channels or settings:
        if channel not in settings:
            click.echo(f"{channel}: left alone, no socketcan dongle of {path} has this channel")
            continue
        try:
            set_up(settings[channel], interfaces, click.echo, dry_run=dry_run)
        except EdgeAgentError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    sys.exit(1 if failed else 0)


def configured(config: AgentConfig, adapters: Sequence[Adapter] = ()) -> dict[str, CanSettings]:
    """By channel, how each kernel interface of the configuration is to be, as far as it is plugged in."""
    found = {}
    for section in reversed(config.dongles):
        if section.interface == "socketcan":
            with suppress(SourceError):
                settings = section.can_settings()
                channel = Whereabouts(section).locate(adapters) if section.device_id else settings.channel
                found[channel] = replace(settings, channel=channel)
    return found


def set_up(settings: CanSettings, interfaces: Interfaces, tell: Tell, *, dry_run: bool) -> None:
    """Makes one interface as it is to be, and up. Raises SetUpError and LinkError: then it may be down."""
    channel, link = settings.channel, interfaces.link(settings.channel)
    if (key := missing_setting(settings, link)) is not None:
        raise SetUpError(
            channel, f"nobody has said its {key.replace('_', ' ')}", f"add `{key}` to its dongle"
        )
    commands = set_up_commands(settings, link)
    if not commands:
        tell(f"{channel}: is set up and up, nothing is changed")
        return
    changes = [str(one) for one in differences(settings, link)]
    if settings.tx_queue_length not in (None, link.tx_queue_length):
        changes.append(f"tx_queue_length {link.tx_queue_length} -> {settings.tx_queue_length}")
    tell(f"{channel}: {', '.join(changes if link.is_up else [*changes, 'down -> up'])}")
    for command in commands:
        if dry_run:
            tell(f"  would run {' '.join(command)}")
        else:
            _do(command, settings, interfaces, tell)


def _do(command: Command, settings: CanSettings, interfaces: Interfaces, tell: Tell) -> None:
    if command[-1] == "up" and settings.listen_only:
        _check_listens_only(settings, interfaces)
    tell(f"  {' '.join(command)}")
    refusal = interfaces.run(command)
    if refusal is None:
        return
    if "restart-ms" in command and interfaces.run(without_restart := command[:-2]) is None:
        tell(f"  {' '.join(without_restart)}")
        tell(f"  `restart_seconds` has no effect: {refusal}")
        return
    if command[-2:] == ("listen-only", "on") and interfaces.run(command[:-2]) is None:
        raise _cannot_listen_only(settings)
    raise SetUpError(settings.channel, f"`{' '.join(command)}` failed: {refusal}", "it is left as it is now")


def _check_listens_only(settings: CanSettings, interfaces: Interfaces) -> None:
    """A driver may take a setting and not heed it. Raises SetUpError and LinkError."""
    link = interfaces.link(settings.channel)
    if link.has_controller and not link.listen_only:
        raise _cannot_listen_only(settings)


def _cannot_listen_only(settings: CanSettings) -> SetUpError:
    remedy = 'set `mode = "normal"` if it may acknowledge frames on this bus, or use another adapter'
    return SetUpError(settings.channel, "it has no listen-only mode, so it stays down", remedy)


def _unable(_: Command) -> str:
    raise AssertionError("a dry run runs nothing")


def _runner() -> Callable[[Command], str | None]:
    """Runs commands of iproute2. Raises SetUpError where that cannot be."""
    if not may_administer_network():
        command = f"sudo {Path(sys.argv[0]).resolve()} set-up-can"
        raise SetUpError("", "only root can set interfaces up", f"run `{command}` with the same options")
    program = shutil.which("ip", path=_SYSTEM_PATH)
    if program is None:
        raise SetUpError("", "the program `ip` is missing", "run `sudo apt install iproute2`")

    def run(command: Command) -> str | None:
        arguments = [program, *command[1:]]
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the words are ours and those of the checked file
                arguments,
                check=False,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                env={"LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if done.returncode == 0 else " ".join(done.stderr.split()) or f"status {done.returncode}"

    return run


def may_administer_network() -> bool:
    """Whether this process has CAP_NET_ADMIN: root has it, and the service has nothing else."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) & _CAP_NET_ADMIN)
