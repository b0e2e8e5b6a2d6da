"""The command line `stream-server`."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec
from sqlalchemy import select

from can_stream.protocol.identity import is_identifier
from can_stream.service_manager import ServiceManager, log_to_standard_error
from can_stream.standard_streams import open_closed_streams
from stream_server import cli_holdings, clock
from stream_server.access import audit, credentials
from stream_server.access.roles import ROLES, Role
from stream_server.app import running_server
from stream_server.config import DEFAULT_DATA_DIR, ServerConfig, read_config
from stream_server.errors import ApiError, ServerError, StorageError
from stream_server.garbage import keep_pauses_short
from stream_server.http.library_errors import is_own_fault
from stream_server.salvage.salvaging import salvage
from stream_server.storage import data_directory, kept_facts, server_schema, splitting
from stream_server.storage.data_directory import DataDirectory

_ACTOR: Final = "command line"
_FEEDS_PER_TIMEOUT: Final = 4
_DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(DEFAULT_DATA_DIR),
    show_default=True,
    envvar="STREAM_SERVER_DATA_DIR",
    help="The server's directory.",
)


class _Commands(click.Group):
    """Errors leave as one sentence, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            raise click.ClickException(error.message) from error
        except ServerError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="can-edge-agent")
def main() -> None:
    """Receives CAN frames from edge agents, records them and shows them live."""
    open_closed_streams()


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 picks one.  [default: 8080]")
@click.option("--data-dir", help=f"Where everything is stored.  [default: {DEFAULT_DATA_DIR}]")
def run(config_file: Path | None, host: str | None, port: int | None, data_dir: str | None) -> None:
    """Run the server until SIGTERM or SIGINT.

    Prints `listening on http://HOST:PORT` when it takes requests, and, until a browser has ever signed in, a
    link that signs one in, once, within 15 minutes.
    """
    config = read_config(config_file)
    given = {"host": host, "port": port, "data_dir": data_dir}
    section = msgspec.structs.replace(
        config.server, **{name: value for name, value in given.items() if value is not None}
    )
    log_to_standard_error(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_own_fault)
    path = Path(section.data_dir)
    manager = ServiceManager()
    damage = None
    with data_directory.locked(path):
        while True:
            directory = data_directory.prepare(path, known_damage=damage)
            salvage(directory.recording_path, manager.starting)
            try:
                ended = asyncio.run(
                    _serve(msgspec.structs.replace(config, server=section), directory, manager)
                )
            except StorageError:
                damage = directory.damage_of_recording()
                if damage is None:
                    raise
                continue
            if ended is None:
                return
            # The same port again: agents and browsers come back to where they were.
            damage, section = ended.damage, msgspec.structs.replace(section, port=ended.port)


class _Damaged(NamedTuple):
    """Why a server has ended that nobody stopped, and the port it listened on."""

    damage: str
    port: int


async def _serve(config: ServerConfig, directory: DataDirectory, manager: ServiceManager) -> _Damaged | None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_server(config, directory) as server:
        others = " and every other address of this machine" if server.everywhere else ""
        listening = f"listening on {server.url}{others}"
        click.echo(listening)
        now_ns = clock.wall_ns()
        secret = await server.services.database.write(
            lambda connection: credentials.first_admin_link(connection, now_ns)
        )
        if secret is not None:
            click.echo(f"sign in with {config.server.public_url or server.url}/#link={secret}")
        keep_pauses_short()
        manager.ready()
        manager.status(listening)
        await _until(stop, server.damaged, manager)
        database, recording = server.services.database, server.services.recording
        if database.damage is not None:
            raise data_directory.damaged_server(database.path, database.damage)
        if recording.damage is not None and not stop.is_set():
            return _Damaged(recording.damage, server.port)
        manager.stopping()
    return None


async def _until(stop: asyncio.Event, damaged: asyncio.Event, manager: ServiceManager) -> None:
    """Feeds the watchdog for as long as the event loop runs, which all of the server is in."""
    period_seconds = manager.watchdog_seconds and manager.watchdog_seconds / _FEEDS_PER_TIMEOUT
    ends = [asyncio.ensure_future(event.wait()) for event in (stop, damaged)]
    while not any(end.done() for end in ends):
        manager.alive()
        await asyncio.wait(ends, timeout=period_seconds, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()


@main.command("admin-link")
@_DATA_DIR
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="How a browser reaches it.")
def admin_link(data_dir: Path, url: str) -> None:
    """Print a link that signs one browser in as admin, once, within 15 minutes."""
    directory = data_directory.existing(data_dir)
    now_ns = clock.wall_ns()
    secret = directory.administer(
        lambda connection: credentials.create_admin_link(connection, now_ns, _ACTOR)
    )
    click.echo(f"{url.rstrip('/')}/#link={secret}")


@main.group()
def token() -> None:
    """API tokens for programs."""


@token.command("create")
@_DATA_DIR
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do.")
@click.option("--name", default="", help="A note for `token list`.")
def create_token(data_dir: Path, role: Role, name: str) -> None:
    """Print a new token. It is shown only here."""
    directory = data_directory.prepared(data_dir)
    now_ns = clock.wall_ns()
    click.echo(
        directory.administer(
            lambda connection: credentials.create_api_token(connection, role, name[:200], now_ns, _ACTOR)
        )
    )


@token.command("list")
@_DATA_DIR
def list_tokens(data_dir: Path) -> None:
    """Print every token's id, role, name and use; never the token."""
    table = server_schema.api_tokens
    rows = data_directory.existing(data_dir).administer(
        lambda connection: connection.execute(select(table).order_by(table.c.id)).all()
    )
    click.echo(f"{'ID':>4}  {'ROLE':8}  {'CREATED':16}  {'LAST USED':16}  {'REVOKED':16}  NAME")
    for row in rows:
        times = "  ".join(
            f"{_minute(at_ns):16}" for at_ns in (row.created_at_ns, row.last_used_at_ns, row.revoked_at_ns)
        )
        click.echo(f"{row.id:>4}  {row.role:8}  {times}  {row.name}")


@token.command("revoke")
@_DATA_DIR
@click.argument("token_id", type=click.IntRange(1))
def revoke_token(data_dir: Path, token_id: int) -> None:
    """Make the token TOKEN_ID of `token list` void; its open streams end within seconds."""
    now_ns = clock.wall_ns()
    data_directory.existing(data_dir).administer(
        lambda connection: credentials.revoke_api_token(connection, token_id, now_ns, _ACTOR)
    )
    click.echo(f"token {token_id} is revoked", err=True)


@main.group()
def enroll() -> None:
    """Enrolment tokens, with which agents register."""


@enroll.command("create")
@_DATA_DIR
@click.option("--agent-id", help="Only for this agent; an agent that exists gets a new identity.")
@click.option("--uses", type=click.IntRange(1, 1_000_000), default=1, show_default=True)
def create_enrolment(data_dir: Path, agent_id: str | None, uses: int) -> None:
    """Print a new enrolment token. It is shown only here."""
    if agent_id is not None and not is_identifier(agent_id):
        raise click.BadParameter(
            "1 to 64 of a-z 0-9 . _ - beginning with a letter or digit", param_hint="--agent-id"
        )
    directory = data_directory.prepared(data_dir)
    now_ns = clock.wall_ns()
    click.echo(
        directory.administer(
            lambda connection: credentials.create_enrolment(connection, agent_id, uses, now_ns, _ACTOR)
        )
    )


@main.group("clock")
def clock_commands() -> None:
    """The clock that the ages of recorded packets count on."""


@clock_commands.command("confirm")
@_DATA_DIR
def confirm_clock(data_dir: Path) -> None:
    """Say that this machine's clock is right, after a jump: what is too old is deleted again.

    A running server takes note within ten seconds.
    """
    directory = data_directory.existing(data_dir)
    now_ns = clock.wall_ns()
    directory.administer(
        lambda connection: audit.record(
            connection, now_ns, actor=_ACTOR, action="clock.confirm", subject="server"
        )
    )
    directory.administer_recording(
        lambda connection: kept_facts.put(connection, kept_facts.CLOCK_CONFIRMED, str(now_ns))
    )
    click.echo(f"the clock is right: it is {_minute(now_ns)} UTC", err=True)


@main.command("check-config")
@click.argument("config_file", type=click.Path(path_type=Path))
def check_config(config_file: Path) -> None:
    """Check CONFIG_FILE whole and print every error of it at once."""
    read_config(config_file)
    click.echo(f"{config_file} is fine", err=True)


@main.command()
@_DATA_DIR
@click.argument("file", type=click.Path(path_type=Path))
def backup(data_dir: Path, file: Path) -> None:
    """Copy the whole storage to the new FILE, also while the server runs, and check the copy."""
    data_directory.existing(data_dir).backup(file)
    click.echo(f"{file} is a checked copy; it restores as {splitting.SINGLE} of an empty directory", err=True)


@main.command()
@_DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("dongle_id")
def books(data_dir: Path, dongle_id: str, as_json: bool) -> None:
    """Compare what DONGLE_ID has made with what is recorded, in gaps and in holes, start by start.

    Exit status 0 when everything adds up, 1 when not, with the reasons. Also while the server runs.
    """
    if not cli_holdings.show_books(data_dir, dongle_id, as_json=as_json):
        raise SystemExit(1)


@main.group()
def holes() -> None:
    """Frames that an agent has announced and that never came."""


@holes.command("close")
@_DATA_DIR
@click.argument("agent_id")
def close_holes(data_dir: Path, agent_id: str) -> None:
    """Turn what AGENT_ID has announced and not sent into gaps, for a machine that never comes back.

    Should it come back after all, what it sends takes the place of the gaps. Also while the server runs.
    """
    frames = cli_holdings.close_holes(data_dir, agent_id, _ACTOR)
    click.echo(f"{frames} frames are given up", err=True)


def _minute(at_ns: int | None) -> str:
    if at_ns is None:
        return "-"
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M")
