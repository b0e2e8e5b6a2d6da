"""The command `edge-agent replay`."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from can_stream.errors import CanStreamError
from can_stream.protocol.identity import identifier_from, is_identifier
from can_stream.signals.table import SignalTable
from edge_agent.cli.databases import database_option, load_for_command
from edge_agent.cli.parameters import Parsed, tell_unreadable, warn
from edge_agent.cli.progress import PERIOD_SECONDS, Progress
from edge_agent.config.server_url import url_problem
from edge_agent.errors import ReplayError
from edge_agent.host import look_up
from edge_agent.host.ownership import owning
from edge_agent.logs.selection import Selection, check_logs, parse_id_range, parse_time_bound
from edge_agent.replay.credentials import agent_token
from edge_agent.replay.replay import Pace, Replay
from edge_agent.replay.resume import resumed_start_id
from edge_agent.replay.to_bus import BusOutlet, parse_target
from edge_agent.replay.to_server import ReplayUplink, ServerTarget
from edge_agent.replay.to_terminal import print_frames
from edge_agent.uplink.state import UplinkState

_PACED_FLUSH_SECONDS: Final = 0.05
_UNPACED_FLUSH_SECONDS: Final = 0.25


def _parse_speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1_000_000:
        raise ValueError(f"{text!r} is neither max nor a number above 0")
    return speed


def _parse_map(text: str) -> tuple[str, str]:
    before, equals, after = text.partition("=")
    if not (before and equals and after):
        raise ValueError(f"{text!r} is not of the form can0=can1")
    return before, after


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="LOG...")
@database_option(required=False)
@click.option("--server", metavar="URL", help="Stream to this server.")
@click.option("--to", "bus", type=Parsed("INTERFACE:CHANNEL", parse_target), help="Transmit on this bus.")
@click.option("--print", "printing", is_flag=True, help="Print normalized frames as JSON lines.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Enrolment token (used when no agent token is stored) or agent token; - for standard input.",
)
@click.option("--agent-id", help="The agent to stream as. Default: this machine's host name.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="PEM file with the server's CA.")
@click.option(
    "--speed",
    type=Parsed("1|N|max", _parse_speed),
    default="1",
    show_default=True,
    help="1 keeps the log's own spacing, N is N times faster, max is as fast as possible.",
)
@click.option("--loop", is_flag=True, help="Begin again at the end, with later times.")
@click.option(
    "--start",
    type=Parsed("TIME", parse_time_bound),
    help="Leave out what is before: seconds from the log's first frame, or a UTC time.",
)
@click.option("--end", type=Parsed("TIME", parse_time_bound), help="Leave out what is not before this time.")
@click.option(
    "--id",
    "ids",
    multiple=True,
    type=Parsed("ID|FIRST-LAST", parse_id_range),
    help="Only these arbitration ids, in hex (7E8, 18DAF110, 700-7FF). Repeatable.",
)
@click.option(
    "--map",
    "channels",
    multiple=True,
    type=Parsed("NAME=NAME", _parse_map),
    help="Play a channel of the log under another name. Repeatable.",
)
@click.option(
    "--flush-seconds",
    type=click.FloatRange(0.005, 10),
    help=f"Log time in one packet. Default: {_PACED_FLUSH_SECONDS}, at --speed max {_UNPACED_FLUSH_SECONDS}.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the replay's place in FILE: started again after a kill, it goes on where the server "
    "has everything.",
)
def replay(logs: tuple[Path, ...], **options: Any) -> None:
    """Replay logs (candump, GVRET, CRTD, ASC, BLF, TRC, CSV, MF4) through the real pipeline.

    Exit status 0 only when every frame has been acknowledged (--server) or sent (--to). The last line on
    standard output is then JSON: frames, acknowledged, lost, seconds.
    """
    targets = [name for name in ("server", "bus", "printing") if options[name]]
    if len(targets) != 1:
        raise click.UsageError("give exactly one of --server, --to and --print")
    if options["databases"] and options["bus"]:
        raise click.UsageError("--dbc decodes what is streamed or printed; --to sends frames as they are")
    if options["loop"] and options["resume"]:
        raise click.UsageError("--resume needs an end to arrive at: leave out --loop")
    if options["resume"] and not options["server"]:
        raise click.UsageError("--resume works with --server only")
    selection = Selection(logs, options["start"], options["end"], options["ids"], dict(options["channels"]))
    default_flush = _UNPACED_FLUSH_SECONDS if options["speed"] is None else _PACED_FLUSH_SECONDS
    pace = Pace(options["speed"], options["flush_seconds"] or default_flush, options["loop"])
    try:
        check_logs(logs)
        complete = _play(selection, pace, _table(options["databases"]), options)
    except CanStreamError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0 if complete else 1)


def _table(databases: tuple[Path, ...]) -> SignalTable | None:
    return load_for_command(databases) if databases else None


def _play(selection: Selection, pace: Pace, table: SignalTable | None, options: dict[str, Any]) -> bool:
    """Play into the chosen outlet; whether everything arrived there."""
    player = Replay(selection, pace)
    if options["printing"]:
        asyncio.run(print_frames(player, sys.stdout.buffer, table))
        _tell_about_logs(player)
        return True
    if options["bus"]:
        return _until_all_is_there(BusOutlet(player, *options["bus"]), player)
    agent_id = _agent_id(options)
    with owning(agent_id):
        return _until_all_is_there(_uplink(player, selection, pace, table, agent_id, options), player)


def _until_all_is_there(outlet: BusOutlet | ReplayUplink, player: Replay) -> bool:
    began_seconds = time.monotonic()
    try:
        look_up.run(_with_progress(outlet, player))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
    finally:
        _tell_about_logs(player)
        totals = outlet.totals
        summary = {
            "frames": totals.frames,
            "acknowledged": totals.acknowledged,
            "lost": totals.frames - totals.acknowledged,
            "seconds": round(time.monotonic() - began_seconds, 3),
        }
        click.echo(json.dumps(summary))
    return outlet.is_complete


def _agent_id(options: dict[str, Any]) -> str:
    agent_id: str = options["agent_id"] or identifier_from(socket.gethostname())
    if not is_identifier(agent_id):
        raise ReplayError("--agent-id must be 1 to 64 of a-z 0-9 . _ - and start with a letter or digit")
    return agent_id


def _uplink(
    player: Replay,
    selection: Selection,
    pace: Pace,
    table: SignalTable | None,
    agent_id: str,
    options: dict[str, Any],
) -> ReplayUplink:
    server, ca_file = options["server"], options["ca_file"]
    if (problem := url_problem(server)) is not None:
        raise ReplayError(f"--server {problem}")
    start_id = None
    if options["resume"]:
        start_id = resumed_start_id(options["resume"], selection, agent_id, pace.flush_seconds, table)
    token = agent_token(server, agent_id, options["token_file"], ca_file, warn)
    return ReplayUplink(player, ServerTarget(server, agent_id, token, ca_file), start_id, _tell_state, table)


async def _with_progress(outlet: BusOutlet | ReplayUplink, player: Replay) -> None:
    """Runs the outlet; on a terminal a bar on standard error says how far it is."""
    task = asyncio.create_task(outlet.run())
    with Progress() as progress:
        while not task.done():
            await asyncio.wait([task], timeout=PERIOD_SECONDS)
            totals = outlet.totals
            text = f"{totals.frames:,} frames played, {totals.acknowledged:,} acknowledged"
            progress.show(player.source.fraction, text)
    task.result()


def _tell_state(state: UplinkState) -> None:
    if not state.connected and "next attempt" in state.message:
        warn(state.message)


def _tell_about_logs(player: Replay) -> None:
    source = player.source
    for path in sorted(source.untimed):
        warn(f"{path} holds no times: its frames are played at once, and dated 1970")
    tell_unreadable(source.unreadable, source.problems)
