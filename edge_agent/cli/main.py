"""The command `edge-agent`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final

import click

from can_stream.standard_streams import open_closed_streams

# numpy would start a thread per core for linear algebra, of which there is none here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_COMMANDS: Final = {
    "check-config": "edge_agent.cli.set_up.check_config:check_config",
    "dbc": "edge_agent.cli.logs.decode:dbc",
    "decode": "edge_agent.cli.logs.decode:decode",
    "dongles": "edge_agent.cli.look.dongles:dongles",
    "doctor": "edge_agent.cli.look.doctor:doctor",
    "enroll": "edge_agent.cli.set_up.enroll:enroll",
    "install": "edge_agent.cli.set_up.install:install",
    "replay": "edge_agent.cli.logs.replay:replay",
    "run": "edge_agent.cli.run:run",
    "set-up-can": "edge_agent.cli.set_up.set_up_can:set_up_can",
    "simulate": "edge_agent.cli.logs.simulate:simulate",
    "status": "edge_agent.cli.look.status:status",
    "uninstall": "edge_agent.cli.set_up.install:uninstall",
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
    open_closed_streams()
