"""The command `edge-agent`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final

import click

# numpy would start a thread per core for linear algebra, of which there is none here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_COMMANDS: Final = {
    "check-config": "edge_agent.run_command:check_config",
    "dbc": "edge_agent.decode_command:dbc",
    "decode": "edge_agent.decode_command:decode",
    "dongles": "edge_agent.dongles_command:dongles",
    "doctor": "edge_agent.doctor_command:doctor",
    "enroll": "edge_agent.enroll_command:enroll",
    "install": "edge_agent.install_command:install",
    "replay": "edge_agent.replay_command:replay",
    "run": "edge_agent.run_command:run",
    "set-up-can": "edge_agent.set_up_can_command:set_up_can",
    "simulate": "edge_agent.simulate_command:simulate",
    "status": "edge_agent.status_command:status",
    "uninstall": "edge_agent.install_command:uninstall",
}


class LazyGroup(click.Group):
    """Imports a command when it is named: the service holds no other's memory, and others start faster."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, None where there is none of the name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="can-edge-agent", prog_name="edge-agent")
def main() -> None:
    """Streams CAN frames from this machine to a stream server."""
