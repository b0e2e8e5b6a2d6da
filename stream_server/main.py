"""The command `stream-server`."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from can_stream.command_line.listed_group import Listed, ListedGroup
from stream_server.errors import ApiError, ServerError

_SERVE: Final = "To serve"
_LET_IN: Final = "To let people and agents in"
_RECORDING: Final = "To look after the recording"
_SET_UP: Final = "To set up"
# What the extra [server] of pyproject.toml installs: a gateway has the agent alone.
_EXTRA: Final = frozenset({"aiohttp", "alembic", "sqlalchemy"})

COMMANDS: Final = {
    "run": Listed(
        _SERVE,
        "stream_server.cli:run",
        "Run the server until it is stopped.",
        ("stream-server run --port 8081 --data-dir data",),
    ),
    "admin-link": Listed(
        _LET_IN,
        "stream_server.cli:admin_link",
        "Print a link that signs one browser in as admin.",
        ("stream-server admin-link --url https://stream.example.com",),
    ),
    "token": Listed(
        _LET_IN,
        "stream_server.cli:token",
        "API tokens for programs.",
        ("stream-server token create --role viewer",),
    ),
    "token create": Listed(
        _LET_IN,
        "",
        "Print a new token.",
        ("stream-server token create --role viewer --name dashboard",),
    ),
    "token list": Listed(_LET_IN, "", "Print all tokens' ids, roles and use.", ("stream-server token list",)),
    "token revoke": Listed(_LET_IN, "", "Make a token void.", ("stream-server token revoke 1",)),
    "enroll": Listed(
        _LET_IN,
        "stream_server.cli_machines:enroll",
        "Enrolment tokens, with which agents register.",
        ("stream-server enroll create --out enrolment-token",),
    ),
    "enroll create": Listed(
        _LET_IN,
        "",
        "Print a new enrolment token.",
        ("stream-server enroll create --uses 10 --valid-days 90 --out enrolment-token",),
    ),
    "enroll list": Listed(
        _LET_IN, "", "Print all enrolment tokens' ids, uses and ends.", ("stream-server enroll list",)
    ),
    "enroll revoke": Listed(_LET_IN, "", "Make an enrolment token void.", ("stream-server enroll revoke 1",)),
    "agents": Listed(
        _LET_IN,
        "stream_server.cli_machines:agents",
        "Agents, and whether their tokens let them in.",
        ("stream-server agents list",),
    ),
    "agents list": Listed(
        _LET_IN, "", "Print all agents and how their tokens stand.", ("stream-server agents list",)
    ),
    "agents revoke": Listed(
        _LET_IN, "", "Make an agent's token void.", ("stream-server agents revoke van11",)
    ),
    "agents disable": Listed(
        _LET_IN, "", "Keep an agent out for a while.", ("stream-server agents disable van11",)
    ),
    "agents enable": Listed(
        _LET_IN, "", "Let a disabled agent in again.", ("stream-server agents enable van11",)
    ),
    "books": Listed(
        _RECORDING,
        "stream_server.cli:books",
        "Compare what a dongle has made with what is recorded.",
        ("stream-server books van7-can0",),
    ),
    "holes": Listed(
        _RECORDING,
        "stream_server.cli:holes",
        "Frames that an agent has announced and that never came.",
        ("stream-server holes close van7",),
    ),
    "holes close": Listed(
        _RECORDING, "", "Turn them into gaps, for good.", ("stream-server holes close van7",)
    ),
    "backup": Listed(
        _RECORDING,
        "stream_server.cli:backup",
        "Copy the whole storage, also while the server runs.",
        ("stream-server backup copy.sqlite3",),
    ),
    "clock": Listed(
        _RECORDING,
        "stream_server.cli:clock_commands",
        "The clock that the ages of recorded packets count on.",
        ("stream-server clock confirm",),
    ),
    "clock confirm": Listed(
        _RECORDING, "", "Say that this machine's clock is right.", ("stream-server clock confirm",)
    ),
    "check-config": Listed(
        _SET_UP,
        "stream_server.cli:check_config",
        "Say everything that is wrong in a configuration.",
        ("stream-server check-config --config server.toml",),
    ),
    "completion": Listed(
        _SET_UP,
        "can_stream.command_line.completion:completion",
        "Print what makes a shell complete commands and options.",
        ('eval "$(stream-server completion bash)"',),
    ),
}


class _Commands(ListedGroup):
    """Errors leave as one sentence, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in _EXTRA:
                raise
            raise click.ClickException(
                f"stream-server needs {missing}, which is not installed: install the project with its extra "
                f"[server] (in its directory: `{sys.executable} -m pip install '.[server]'`)"
            ) from error
        except ApiError as error:
            raise click.ClickException(error.message) from error
        except ServerError as error:
            raise click.ClickException(str(error)) from error


@click.group("stream-server", cls=_Commands, listed=COMMANDS)
@click.version_option(package_name="can-edge-agent", prog_name="stream-server")
def main() -> None:
    """Receives CAN frames from edge agents, records them and shows them live."""
