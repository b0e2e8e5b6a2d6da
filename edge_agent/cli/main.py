"""The command `edge-agent`."""

from __future__ import annotations

import os
from typing import Final

import click

from can_stream.command_line.listed_group import Listed, ListedGroup

# numpy would start a thread per core for linear algebra, of which there is none here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_STREAM: Final = "To stream"
_LOGS: Final = "To look at logs"
_MACHINE: Final = "To look at this machine"
_SET_UP: Final = "To set up"

COMMANDS: Final = {
    "run": Listed(
        _STREAM,
        "edge_agent.cli.run:run",
        "Read the configured dongles and stream them, until stopped.",
        ("edge-agent run --config agent.toml",),
    ),
    "replay": Listed(
        _STREAM,
        "edge_agent.cli.logs.replay:replay",
        "Play logs to a server, onto a bus, or as JSON lines.",
        (
            "edge-agent replay drive.log --print",
            "edge-agent replay drive.log --speed max --agent-id van8 \\\n"
            "    --server https://stream.example.com --token-file enrolment-token",
        ),
    ),
    "simulate": Listed(
        _STREAM,
        "edge_agent.cli.logs.simulate:simulate",
        "Transmit made-up traffic of databases, on a test bench.",
        ("edge-agent simulate --dbc van.dbc --to udp_multicast:239.0.0.1 --seconds 2",),
    ),
    "decode": Listed(
        _LOGS,
        "edge_agent.cli.logs.decode:decode",
        "Decode logs with databases, as JSON lines or CSV.",
        ("edge-agent decode drive.log --dbc van.dbc --signals '*Speed' --format csv",),
    ),
    "dbc": Listed(
        _LOGS, "edge_agent.cli.logs.decode:dbc", "Check databases.", ("edge-agent dbc lint van.dbc",)
    ),
    "dbc lint": Listed(_LOGS, "", "Say what loads, what does not and why.", ("edge-agent dbc lint van.dbc",)),
    "dongles": Listed(
        _MACHINE,
        "edge_agent.cli.look.dongles:dongles",
        "Say which CAN adapters are plugged in, and how to use them.",
        ("edge-agent dongles", "edge-agent dongles --config > agent.toml"),
    ),
    "status": Listed(
        _MACHINE,
        "edge_agent.cli.look.status:status",
        "Say how the running agent stands, and where frames were lost.",
        ("edge-agent status", "edge-agent status --prometheus"),
    ),
    "relay": Listed(
        _MACHINE,
        "edge_agent.cli.look.relay:relay",
        "Say what groups put on the buses of this machine, or stop it.",
        ("edge-agent relay", "edge-agent relay stop"),
    ),
    "relay show": Listed(
        _MACHINE, "", "Say what is relayed to each dongle, or why not.", ("edge-agent relay show",)
    ),
    "relay stop": Listed(
        _MACHINE, "", "Stop it, until it is started again.", ("edge-agent relay stop van7-can0",)
    ),
    "relay start": Listed(_MACHINE, "", "Let it go on.", ("edge-agent relay start van7-can0",)),
    "doctor": Listed(
        _MACHINE,
        "edge_agent.cli.look.doctor:doctor",
        "Say why there is no data, and what to do about it.",
        ("edge-agent doctor --config agent.toml", "edge-agent doctor --relay --config agent.toml"),
    ),
    "enroll": Listed(
        _SET_UP,
        "edge_agent.cli.set_up.enroll:enroll",
        "Register this agent with a server and store its token.",
        (
            "edge-agent enroll --server https://stream.example.com \\\n"
            "    --token-file enrolment-token --agent-id van9 --out van9.token",
        ),
    ),
    "check-config": Listed(
        _SET_UP,
        "edge_agent.cli.set_up.check_config:check_config",
        "Say what is wrong in a configuration, or what it means.",
        ("edge-agent check-config --config agent.toml",),
    ),
    "set-up-can": Listed(
        _SET_UP,
        "edge_agent.cli.set_up.set_up_can:set_up_can",
        "Set CAN interfaces up as the configuration says.",
        ("edge-agent set-up-can --dry-run --config agent.toml",),
    ),
    "can-helper": Listed(
        _SET_UP,
        "edge_agent.cli.set_up.can_helper:can_helper",
        "Empty queues of interfaces for the service, for systemd.",
        ("edge-agent can-helper --config /etc/edge-agent/agent.toml",),
    ),
    "install": Listed(
        _SET_UP,
        "edge_agent.cli.set_up.install:install",
        "Put services, udev rules and limits in place.",
        ("edge-agent install --system --dry-run",),
    ),
    "uninstall": Listed(
        _SET_UP,
        "edge_agent.cli.set_up.install:uninstall",
        "End the services and take away what `install` put in place.",
        ("edge-agent uninstall --system --dry-run",),
    ),
    "completion": Listed(
        _SET_UP,
        "can_stream.command_line.completion:completion",
        "Print what makes a shell complete commands and options.",
        ('eval "$(edge-agent completion bash)"',),
    ),
}


@click.group("edge-agent", cls=ListedGroup, listed=COMMANDS)
@click.version_option(package_name="can-edge-agent", prog_name="edge-agent")
def main() -> None:
    """Streams CAN frames from this machine to a stream server."""
