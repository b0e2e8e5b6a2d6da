"""The commands `edge-agent install` and `uninstall`: the files of `systemd/`, put in place and taken away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
from msgspec import Struct

from edge_agent.cli.parameters import AGENT_CONFIG, config_option, told_in_one_sentence
from edge_agent.config.loading import load_agent_config
from edge_agent.host.state_directory import SYSTEM_DIRECTORY

# In an installed wheel beside this module, in a source tree beside its package.
_PACKAGED: Final = Path(__file__).parents[2] / "systemd"
TEMPLATES: Final = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "systemd"
MARK: Final = "# Put in place by `edge-agent install --system`"
_TEMPLATE_SCRIPTS: Final = "/opt/can-edge-agent/bin/"
_UNITS: Final = Path("/etc/systemd/system")
# ProtectHome= and PrivateTmp= of the services hide these.
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - not used
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9/._+@-]*")

RELOAD_UNITS: Final = ("systemctl", "daemon-reload")
RELOAD_RULES: Final = ("udevadm", "control", "--reload")
APPLY_RULES: Final = ("udevadm", "trigger", "--subsystem-match=usb", "--subsystem-match=tty")
APPLY_LIMITS: Final = ("systemctl", "restart", "systemd-sysctl.service")
_CHANGES: Final = frozenset({"create", "update", "remove"})
Run = Callable[[Sequence[str]], None]


class SystemFile(Struct, frozen=True):
    """`template` goes to `target`; `after` makes the system take notice, also of its absence.

    What is an `example` is put where nothing is, and then belongs to the user: it is never taken away.
    """

    template: str
    target: Path
    after: tuple[tuple[str, ...], ...] = ()
    example: bool = False


AGENT_FILES: Final = (
    SystemFile("edge-agent.service", _UNITS / "edge-agent.service", (RELOAD_UNITS,)),
    SystemFile("edge-agent-helper.socket", _UNITS / "edge-agent-helper.socket", (RELOAD_UNITS,)),
    SystemFile("edge-agent-helper.service", _UNITS / "edge-agent-helper.service", (RELOAD_UNITS,)),
    SystemFile("edge-agent-can@.service", _UNITS / "edge-agent-can@.service", (RELOAD_UNITS,)),
    # Not applied to what is plugged in already: other programs may use it as it is.
    SystemFile("90-can-interfaces.rules", Path("/etc/udev/rules.d/90-can-interfaces.rules"), (RELOAD_RULES,)),
    SystemFile(
        "70-can-adapters.rules",
        Path("/etc/udev/rules.d/70-can-adapters.rules"),
        (RELOAD_RULES, APPLY_RULES),
    ),
    SystemFile(
        "70-can-receive-buffers.conf", Path("/etc/sysctl.d/70-can-receive-buffers.conf"), (APPLY_LIMITS,)
    ),
    SystemFile("80-can.network", Path("/etc/systemd/network/80-can.network.example")),
    SystemFile("agent.toml", AGENT_CONFIG, example=True),
)
SERVER_FILES: Final = (
    SystemFile("stream-server.service", _UNITS / "stream-server.service", (RELOAD_UNITS,)),
    SystemFile("server.toml", Path("/etc/stream-server/server.toml"), example=True),
)


class System(Struct, frozen=True):
    """The machine: `root` is /, `run` runs a command and raises ClickException; a dry run changes nothing."""

    root: Path
    run: Run
    dry_run: bool = False

    def install(self, files: Sequence[SystemFile], scripts: Path, config: Path) -> list[str]:
        """Puts `files` in place for the commands in `scripts`; a line for each. ClickException, then nothing
        is changed."""
        texts = [_text(file, scripts, config) for file in files]
        actions = [self._action(file, text) for file, text in zip(files, texts, strict=True)]
        changed = [file for file, action in zip(files, actions, strict=True) if action in _CHANGES]
        for file, text in zip(files, texts, strict=True):
            if file in changed and not self.dry_run:
                _write(self._place(file), text)
        self._take_notice(changed)
        return [self._line(action, file) for file, action in zip(files, actions, strict=True)]

    def uninstall(self, files: Sequence[SystemFile]) -> list[str]:
        """Ends the services and takes away what `install` has put there and nobody else; a line for each."""
        ours = [file for file in files if not file.example and self._is_ours(file)]
        for file in ours:
            if file.target.parent == _UNITS and not file.target.stem.endswith("@"):
                self._run("systemctl", "disable", "--now", file.target.name)
        if not self.dry_run:
            for file in ours:
                self._place(file).unlink()
        self._take_notice(ours)
        return [self._line("remove", file) for file in ours]

    def _action(self, file: SystemFile, text: str) -> str:
        place = self._place(file)
        if not os.path.lexists(place):
            return "create"
        if file.example:
            return "kept"
        if not self._is_ours(file):
            raise click.ClickException(
                f"{place} was not put there by this command: move it away, or its changes into a drop-in"
            )
        return "unchanged" if place.read_text(errors="replace") == text else "update"

    def _is_ours(self, file: SystemFile) -> bool:
        place = self._place(file)
        return place.is_file() and place.read_text(errors="replace").startswith(MARK)

    def _place(self, file: SystemFile) -> Path:
        return self.root / file.target.relative_to("/")

    def _take_notice(self, files: Sequence[SystemFile]) -> None:
        for command in dict.fromkeys(command for file in files for command in file.after):
            self._run(*command)

    def _run(self, *command: str) -> None:
        if not self.dry_run:
            self.run(command)

    def _line(self, action: str, file: SystemFile) -> str:
        if action in _CHANGES:
            action = f"would {action}" if self.dry_run else f"{action}d"
        return f"{action:>13}  {file.target}"


def _text(file: SystemFile, scripts: Path, config: Path) -> str:
    text = (TEMPLATES / file.template).read_text()
    if file.target.parent != _UNITS:
        return text
    return text.replace(_TEMPLATE_SCRIPTS, f"{scripts}/").replace(str(AGENT_CONFIG), str(config))


def _write(place: Path, text: str) -> None:
    """Whole or not at all: a unit cut short must not be started."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.write_text(text)
    part.chmod(0o644)
    part.replace(place)


def unusable(paths: Sequence[Path]) -> Iterator[str]:
    """Why a service cannot use these, path by path."""
    for path in paths:
        if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
            yield f"{path} is hidden from services: install into /opt/can-edge-agent, configure in /etc"
        elif not _PLAIN_PATH.fullmatch(str(path)):
            yield f"{path} cannot stand in a unit: only letters, digits and / . _ + @ - can"


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - constants of this module
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(
            f"the files are in place, but `{' '.join(command)}` failed: {error}"
        ) from error


def _system(command: str, *, system: bool, dry_run: bool) -> System:
    if not system:
        raise click.UsageError("give --system: there is no other kind of installation")
    if not dry_run and not Path("/run/systemd/system").is_dir():  # sd_booted(3)
        raise click.ClickException("systemd does not run this machine; `edge-agent run` needs no service")
    if not dry_run and os.geteuid() != 0:
        program = Path(sysconfig.get_path("scripts")) / "edge-agent"
        raise click.ClickException(f"only root can do this: run `sudo {program} {command} --system`")
    return System(Path("/"), _run, dry_run)


_SYSTEM = click.option("--system", is_flag=True, help="For the whole machine, as services of systemd.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command()
@_SYSTEM
@config_option(resolve_path=True)
@_DRY_RUN
def install(path: Path, *, system: bool, dry_run: bool) -> None:
    """Put services, udev rules and limits in place, or bring them up to date; can be repeated."""
    machine = _system("install", system=system, dry_run=dry_run)
    scripts = Path(sysconfig.get_path("scripts"))
    for problem in unusable([scripts, Path(sys.base_prefix), path]):
        raise click.ClickException(problem)
    files = AGENT_FILES + (SERVER_FILES if find_spec("aiohttp") else ())
    if path != AGENT_CONFIG:
        with told_in_one_sentence():
            load_agent_config(path)
        files = tuple(file for file in files if file.target != AGENT_CONFIG)
    for line in machine.install(files, scripts, path):
        click.echo(line)
    click.echo("\n".join(["", "Next:", *(f"  {step}" for step in next_steps(scripts, path))]))


def next_steps(scripts: Path, config: Path) -> Iterator[str]:
    """What is left to do for a person."""
    if not (SYSTEM_DIRECTORY / "token").exists():
        yield f"{scripts}/edge-agent enroll --server URL --token-file FILE"
    yield f"edit {config}, then {scripts}/edge-agent check-config --config {config}"
    yield "systemctl enable edge-agent && systemctl restart edge-agent"
    if find_spec("aiohttp"):
        yield "the same with stream-server, where this machine is to be the server"


@click.command()
@_SYSTEM
@_DRY_RUN
def uninstall(*, system: bool, dry_run: bool) -> None:
    """End the services and take away what `install` has put in place; configuration, token and data stay."""
    machine = _system("uninstall", system=system, dry_run=dry_run)
    lines = machine.uninstall(AGENT_FILES + SERVER_FILES)
    for line in lines or ["nothing of `edge-agent install` is here"]:
        click.echo(line)
