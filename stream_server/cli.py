"""The commands of `stream-server`, which `main` lists."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import click
import msgspec
from sqlalchemy import select

from can_stream.command_line.parameters import FileName, is_there, whole_number
from can_stream.command_line.stop_signals import StopSignals
from can_stream.protocol.clear_text import is_clear_text
from can_stream.service_manager import ServiceManager, log_to_standard_error
from can_stream.text.foreign import shown
from stream_server import cli_holdings, clock
from stream_server.access import audit, credentials
from stream_server.access.roles import ROLES, Role
from stream_server.app import running_server
from stream_server.cli_secrets import OUT, show_once
from stream_server.config import DEFAULT_DATA_DIR, ServerConfig, is_public_url, read_config
from stream_server.errors import StorageError
from stream_server.garbage import keep_pauses_short
from stream_server.http.library_errors import is_own_fault
from stream_server.salvage.salvaging import salvage
from stream_server.storage import data_directory, kept_facts, server_schema, splitting
from stream_server.storage.data_directory import DataDirectory
from stream_server.storage.database import Database

ACTOR: Final = "command line"
_FEEDS_PER_TIMEOUT: Final = 4
_logger: Final = logging.getLogger(__name__)
DEFAULT_CONFIG: Final = Path("/etc/stream-server/server.toml")
_CONFIG = click.option(
    "--config",
    "config_file",
    type=FileName(),
    help=f"The server's configuration.  [default: {DEFAULT_CONFIG}]",
)
DATA_DIR = click.option(
    "--data-dir",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(DEFAULT_DATA_DIR),
    show_default=True,
    envvar="STREAM_SERVER_DATA_DIR",
    help="The server's directory.",
)


def _of_file(text: str, default: str) -> str:
    """Help for an option that a key of the file stands for."""
    return f"{text}  [default: as the configuration says, else {default}]"


@click.command()
@_CONFIG
@click.option("--host", metavar="ADDRESS", help=_of_file("The address to listen on.", "127.0.0.1"))
@click.option(
    "--port",
    type=whole_number("PORT", 0, 65535),
    help=_of_file("The port, up to 65535; 0 picks a free one.", "8080"),
)
@click.option("--data-dir", metavar="DIRECTORY", help=_of_file("Where all is stored.", DEFAULT_DATA_DIR))
def run(config_file: Path | None, host: str | None, port: int | None, data_dir: str | None) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Prints `listening on http://HOST:PORT` when it takes requests, and, until a browser has ever signed in, a
    link that signs one in, once, within 15 minutes.
    """
    if config_file is None and is_there(DEFAULT_CONFIG):
        config_file = DEFAULT_CONFIG
    config = read_config(config_file)
    given = {"host": host, "port": port, "data_dir": data_dir}
    section = msgspec.structs.replace(
        config.server, **{name: value for name, value in given.items() if value is not None}
    )
    log_to_standard_error(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_own_fault)
    path = Path(section.data_dir)
    manager, signals = ServiceManager(), StopSignals()
    damage = None
    with data_directory.locked(path):
        while True:
            directory = data_directory.prepare(path, known_damage=damage)
            salvage(directory.recording_path, manager.starting)
            try:
                replaced = msgspec.structs.replace(config, server=section)
                ended = asyncio.run(_serve(replaced, directory, manager, signals))
            except StorageError:
                damage = directory.damage_of_recording()
                if damage is None:
                    raise
                continue
            if ended is None:
                break
            # The same port again: agents and browsers come back to where they were.
            damage, section = ended.damage, msgspec.structs.replace(section, port=ended.port)
    signals.end()


class _Damaged(NamedTuple):
    """Why a server has ended that nobody stopped, and the port it listened on."""

    damage: str
    port: int


async def _serve(
    config: ServerConfig, directory: DataDirectory, manager: ServiceManager, signals: StopSignals
) -> _Damaged | None:
    stop = asyncio.Event()
    signals.listen(stop.set)
    async with running_server(config, directory) as server:
        data_directory.say_address(directory.path, config.server.public_url or server.url)
        others = " and every other address of this machine" if server.everywhere else ""
        listening = f"listening on {server.url}{others}"
        click.echo(listening)
        _say_clear_text(config.server.public_url or server.url)
        await _show_first_link(server.services.database, config.server.public_url or server.url)
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


def _say_clear_text(url: str) -> None:
    if is_clear_text(url):
        text = (
            "%s is not encrypted: everyone on the way can read tokens and data. Put a proxy with TLS in front"
        )
        _logger.warning(f"{text} (docs/operations.md) and name its https:// as server.public_url", url)


async def _show_first_link(database: Database, url: str) -> None:
    now_ns = clock.wall_ns()
    try:
        secret = await database.write(lambda connection: credentials.first_admin_link(connection, now_ns))
    except StorageError as error:
        # What agents keep waits for a disk with room as well; a server that ends would answer nobody.
        _logger.warning("no link to sign in with is made: %s; `stream-server admin-link` makes one", error)
        return
    if secret is not None:
        click.echo(f"sign in with {url}/#link={secret}")


async def _until(stop: asyncio.Event, damaged: asyncio.Event, manager: ServiceManager) -> None:
    """Feeds the watchdog for as long as the event loop runs, which all of the server is in."""
    period_seconds = manager.watchdog_seconds and manager.watchdog_seconds / _FEEDS_PER_TIMEOUT
    ends = [asyncio.ensure_future(event.wait()) for event in (stop, damaged)]
    while not any(end.done() for end in ends):
        manager.alive()
        await asyncio.wait(ends, timeout=period_seconds, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()


def opened(data_dir: Path) -> DataDirectory:
    """A directory that a server has used. Which one is said: another than the server's is soon taken."""
    directory = data_directory.existing(data_dir)
    click.echo(f"Data directory: {directory.path}", err=True)
    return directory


@click.command("admin-link")
@DATA_DIR
@click.option(
    "--url", metavar="URL", help="How a browser reaches it.  [default: what the server that runs there says]"
)
@OUT
def admin_link(data_dir: Path, url: str | None, out: Path | None) -> None:
    """Print a link that signs one browser in as admin, once, within 15 minutes."""
    if url is not None and not is_public_url(url):
        raise click.BadParameter(
            f"{url!r} is no address such as https://stream.example.com", param_hint="--url"
        )
    directory = opened(data_dir)
    now_ns = clock.wall_ns()
    before = f"{(url or _address_of(directory)).rstrip('/')}/#link="
    show_once(
        directory,
        lambda connection: credentials.create_admin_link(connection, now_ns, ACTOR),
        ACTOR,
        before=before,
        out=out,
    )


def _address_of(directory: DataDirectory) -> str:
    said = data_directory.running_address(directory.path)
    if said:
        return said
    default = f"http://127.0.0.1:{ServerConfig().server.port}"
    why = "no server runs there now" if said is None else "the server that runs there does not say where"
    click.echo(f"Warning: {why}: this link is for {default}; give --url if it is another", err=True)
    return default


@click.group()
def token() -> None:
    """API tokens for programs."""


@token.command("create")
@DATA_DIR
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do.")
@click.option("--name", metavar="TEXT", default="", help="A note for `token list`.")
@OUT
def create_token(data_dir: Path, role: Role, name: str, out: Path | None) -> None:
    """Print a new token. It is shown only here."""
    directory = opened(data_dir)
    now_ns = clock.wall_ns()
    show_once(
        directory,
        lambda connection: credentials.create_api_token(connection, role, name[:200], now_ns, ACTOR),
        ACTOR,
        out=out,
    )


@token.command("list")
@DATA_DIR
def list_tokens(data_dir: Path) -> None:
    """Print every token's id, role, name and use; never the token."""
    table = server_schema.api_tokens
    rows = opened(data_dir).administer(
        lambda connection: connection.execute(select(table).order_by(table.c.id)).all()
    )
    click.echo(f"{'ID':>4}  {'ROLE':8}  {'CREATED':16}  {'LAST USED':16}  {'REVOKED':16}  NAME")
    for row in rows:
        times = "  ".join(
            f"{minute(at_ns):16}" for at_ns in (row.created_at_ns, row.last_used_at_ns, row.revoked_at_ns)
        )
        click.echo(f"{row.id:>4}  {row.role:8}  {times}  {shown(row.name)}")


@token.command("revoke")
@DATA_DIR
@click.argument("token_id", type=whole_number("N", 1))
def revoke_token(data_dir: Path, token_id: int) -> None:
    """Make the token TOKEN_ID of `token list` void; its open streams end within seconds."""
    now_ns = clock.wall_ns()
    opened(data_dir).administer(
        lambda connection: credentials.revoke_api_token(connection, token_id, now_ns, ACTOR)
    )
    click.echo(f"token {token_id} is revoked", err=True)


@click.group("clock")
def clock_commands() -> None:
    """The clock that the ages of recorded packets count on."""


@clock_commands.command("confirm")
@DATA_DIR
def confirm_clock(data_dir: Path) -> None:
    """Say that this machine's clock is right, after a jump: what is too old is deleted again.

    A running server takes note within ten seconds.
    """
    directory = opened(data_dir)
    now_ns = clock.wall_ns()
    directory.administer(
        lambda connection: audit.record(
            connection, now_ns, actor=ACTOR, action="clock.confirm", subject="server"
        )
    )
    directory.administer_recording(
        lambda connection: kept_facts.put(connection, kept_facts.CLOCK_CONFIRMED, str(now_ns))
    )
    click.echo(f"the clock is right: it is {minute(now_ns)} UTC", err=True)


@click.command("check-config")
@_CONFIG
@click.argument("file", type=FileName(), required=False)
def check_config(config_file: Path | None, file: Path | None) -> None:
    """Check a configuration whole and print every error of it at once.

    FILE is another way to say --config FILE.
    """
    config_file = config_file or file or DEFAULT_CONFIG
    read_config(config_file)
    click.echo(f"{config_file} is fine", err=True)


@click.command()
@DATA_DIR
@click.argument("file", type=FileName())
def backup(data_dir: Path, file: Path) -> None:
    """Copy the whole storage to the new FILE, also while the server runs, and check the copy."""
    opened(data_dir).backup(file)
    click.echo(f"{file} is a checked copy; it restores as {splitting.SINGLE} of an empty directory", err=True)


@click.command()
@DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("dongle_id")
def books(data_dir: Path, dongle_id: str, as_json: bool) -> None:
    """Compare what DONGLE_ID has made with what is recorded, in gaps and in holes, start by start.

    Exit status 0 when everything adds up, 1 when not, with the reasons. Also while the server runs.
    """
    if not cli_holdings.show_books(data_dir, dongle_id, as_json=as_json):
        raise SystemExit(1)


@click.group()
def holes() -> None:
    """Frames that an agent has announced and that never came."""


@holes.command("close")
@DATA_DIR
@click.argument("agent_id")
def close_holes(data_dir: Path, agent_id: str) -> None:
    """Turn what AGENT_ID has announced and not sent into gaps, for a machine that never comes back.

    Should it come back after all, what it sends takes the place of the gaps. Also while the server runs.
    """
    frames = cli_holdings.close_holes(data_dir, agent_id, ACTOR)
    click.echo(f"{frames} frames and values are given up", err=True)


def minute(at_ns: int | None) -> str:
    """A time for a list, in UTC; `-` for none."""
    if at_ns is None:
        return "-"
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M")
