"""An agent in the guest as its service: the unit of `systemd/` under another name, sandbox and all."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edge_agent.cli.set_up.install import TEMPLATES
from tests.helpers.agents import Dongle, TokenHolder, agent_configuration
from tests.helpers.processes import run_command

NAME: Final = "sandboxed-agent"
UNIT: Final = Path(f"/run/systemd/system/{NAME}.service")
CONFIG: Final = Path(f"/etc/{NAME}/agent.toml")


class SandboxedAgent:
    """As `Process`, of a service."""

    @property
    def pid(self) -> int:
        """The main process."""
        return int(_shown("MainPID"))

    @property
    def errors(self) -> str:
        """What it has written to its journal since the machine was started."""
        return run_command(["journalctl", "--no-pager", "-o", "cat", "-u", NAME])

    def stop(self) -> int:
        """Its exit status once it has ended."""
        run_command(["systemctl", "stop", NAME])
        return int(_shown("ExecMainStatus"))


def _shown(name: str) -> str:
    return run_command(["systemctl", "show", "--value", "-p", name, NAME]).strip()


def _unit(token_file: Path) -> str:
    text = (TEMPLATES / "edge-agent.service").read_text()
    for ours, here in (
        ("/opt/can-edge-agent/bin/", f"{sysconfig.get_path('scripts')}/"),
        ("/etc/edge-agent/agent.toml", str(CONFIG)),
        ("Directory=edge-agent\n", f"Directory={NAME}\n"),
        ("/var/lib/edge-agent/token", str(token_file)),
    ):
        assert ours in text, ours
        text = text.replace(ours, here)
    return text


@contextmanager
def sandboxed_agent(
    agent: TokenHolder, url: str, dongles: Sequence[Dongle], **sections: Mapping[str, Any]
) -> Iterator[SandboxedAgent]:
    """The agent as a service, ready; a context manager. Whatever it had kept before is gone."""
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(agent_configuration(agent.agent_id, {"url": url}, dongles, **sections))
    UNIT.parent.mkdir(exist_ok=True)
    UNIT.write_text(_unit(agent.token_file))
    run_command(["systemctl", "daemon-reload"])
    one = SandboxedAgent()
    try:
        run_command(["systemctl", "start", NAME])
        yield one
    finally:
        sys.stderr.write(f"--- end of its journal\n{one.errors[-4000:]}\n")
        run_command(["systemctl", "stop", NAME])
        run_command(["systemctl", "clean", "--what=state", NAME])
