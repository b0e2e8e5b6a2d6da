"""The command `edge-agent replay`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from can_stream.command_line.parameters import FileName, Parsed, is_there, number
from can_stream.errors import CanStreamError
from can_stream.logs.log_file import is_standard_input
from can_stream.protocol.identity import identifier_problem, is_identifier
from can_stream.signals.table import SignalTable
from edge_agent.cli.databases import Databases, database_option, load_for_command
from edge_agent.cli.logs.telling import are_whole, books_json, start_time_option, tell_logs
from edge_agent.cli.parameters import (
    clear_text_option,
    own_hand_options,
    tell_others,
    tell_unmatched,
    tell_unused_ca,
    warn,
)
from edge_agent.cli.progress import PERIOD_SECONDS, Progress
from edge_agent.config.server_url import url_problem
from edge_agent.errors import ReplayError, UplinkError
from edge_agent.host import look_up
from edge_agent.host.ownership import owning
from edge_agent.logs.selected_frames import check_logs
from edge_agent.logs.selection import Selection, parse_id_range, parse_time_bound
from edge_agent.replay.credentials import identity
from edge_agent.replay.replay import Pace, Replay, Totals
from edge_agent.replay.resume import resumed_start_id
from edge_agent.replay.to_bus import BusOutlet, parse_target
from edge_agent.replay.to_server import ReplayUplink, ServerTarget
from edge_agent.replay.to_terminal import print_frames
from edge_agent.uplink.enroll import refuse_clear_text
from edge_agent.uplink.obstacle import in_options
from edge_agent.uplink.state import UplinkState

_PACED_FLUSH_SECONDS: Final = 0.05
_UNPACED_FLUSH_SECONDS: Final = 0.25


def _parse_speed(text: str) -> float | None:
    if text.lower() == "max":
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


def _one_name_each(
    _: click.Context, __: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    channels: dict[str, str] = {}
    for before, after in pairs:
        if channels.setdefault(before, after) != after:
            raise click.BadParameter(
                f"{before} gets two names, {channels[before]} and {after}: leave one out"
            )
    return channels


@click.command()
@click.argument("logs", nargs=-1, required=True, type=FileName(), metavar="LOG...")
@database_option(required=False)
@click.option("--server", metavar="URL", help="Stream to this server.")
@click.option("--to", "bus", type=Parsed("INTERFACE:CHANNEL", parse_target), help="Transmit on this bus.")
@own_hand_options
@click.option("--print", "printing", is_flag=True, help="Print normalized frames as JSON lines.")
@click.option(
    "--token-file",
    type=FileName(allow_dash=True),
    help="Enrolment token (used when no agent token is stored) or agent token; - is standard input.",
)
@click.option(
    "--agent-id",
    metavar="ID",
    help="The agent to stream as.  [default: whose token it is, else this machine's host name]",
)
@click.option("--ca-file", type=FileName(), help="The server's CA, in PEM format.")
@clear_text_option()
@click.option(
    "--speed",
    type=Parsed("SPEED", _parse_speed),
    default="1",
    show_default=True,
    help="1 keeps the log's own spacing, 10 is ten times as fast, max as fast as possible.",
)
@click.option("--loop", is_flag=True, help="Begin again at the end, with later times.")
@click.option(
    "--start",
    type=Parsed("TIME", parse_time_bound),
    help="Leave out what is before: seconds from the log's first frame, or a UTC time.",
)
@click.option("--end", type=Parsed("TIME", parse_time_bound), help="Leave out what is not before this time.")
@start_time_option
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
    callback=_one_name_each,
    help="Play a channel of the log under another name. Repeatable.",
)
@click.option(
    "--flush-seconds",
    type=number("SECONDS", 0.005, 10),
    help="Log time in one packet, from 0.005 to 10.  "
    f"[default: {_PACED_FLUSH_SECONDS}, at --speed max {_UNPACED_FLUSH_SECONDS}]",
)
@click.option(
    "--resume",
    type=FileName(dir_okay=False),
    help="Keep the replay's place in FILE: started again after a kill, it goes on where the server "
    "has everything.",
)
def replay(logs: tuple[Path, ...], **options: Any) -> None:
    """Replay logs through the real pipeline; - is standard input.

    Formats: candump, GVRET, CRTD, ASC, BLF, TRC, python-can's CSV, BUSMASTER, pcap, MF4.

    Exit status 0 only when every log was read to its end, and every frame has been acknowledged (--server)
    or sent (--to). The last line on standard output is then JSON: frames, acknowledged, lost, seconds,
    unreadable, others.
    """
    targets = [name for name in ("server", "bus", "printing") if options[name]]
    if len(targets) != 1:
        raise click.UsageError("give exactly one of --server, --to and --print")
    if options["databases"] and options["bus"]:
        raise click.UsageError("--dbc decodes what is streamed or printed; --to sends frames as they are")
    if (options["force"] or options["path"]) and not options["bus"]:
        raise click.UsageError("--force and --config are about what --to may send to")
    if options["loop"] and options["resume"]:
        raise click.UsageError("--resume needs an end to arrive at: leave out --loop")
    if options["resume"] and not options["server"]:
        raise click.UsageError("--resume works with --server only")
    selection = Selection(
        logs,
        options["start"],
        options["end"],
        options["ids"],
        options["channels"],
        options["start_time_ns"],
    )
    _refuse_streams(selection, options)
    default_flush = _UNPACED_FLUSH_SECONDS if options["speed"] is None else _PACED_FLUSH_SECONDS
    pace = Pace(options["speed"], options["flush_seconds"] or default_flush, options["loop"])
    try:
        check_logs(logs)
        complete = _play(selection, pace, _table(options["databases"]), options)
    except UplinkError as error:
        raise click.ClickException(in_options(str(error))) from error
    except CanStreamError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0 if complete else 1)


def _refuse_streams(selection: Selection, options: dict[str, Any]) -> None:
    """What a pipe, which can be read once, cannot be used for."""
    for name in ("loop", "resume"):
        if options[name] and selection.is_stream:
            raise click.UsageError(
                f"--{name} reads a log again, and standard input or a pipe can be read once: name a file"
            )
    if str(options["token_file"]) == "-" and any(map(is_standard_input, selection.paths)):
        raise click.UsageError("standard input is the log or the token, not both: name a file for one")


def _table(databases: Databases) -> SignalTable | None:
    return load_for_command(databases) if databases else None


def _play(selection: Selection, pace: Pace, table: SignalTable | None, options: dict[str, Any]) -> bool:
    """Play into the chosen outlet; whether everything arrived there."""
    player = Replay(selection, pace)
    if options["printing"]:
        asyncio.run(print_frames(player, sys.stdout.buffer, table))
        _tell_about_logs(player, selection)
        return are_whole(player.source.books)
    if options["bus"]:
        if not options["force"]:
            from edge_agent.cli.logs.own_hand import refuse_listeners  # noqa: PLC0415 - for this alone

            refuse_listeners(options["bus"], options["path"])
        return _until_all_is_there(BusOutlet(player, *options["bus"]), player, selection)
    target, resume, start_id = _target(options), options["resume"], None
    with owning(target.agent_id):
        is_new = resume is not None and not is_there(resume)
        if resume is not None:
            start_id = resumed_start_id(resume, selection, target.agent_id, pace.flush_seconds, table)
        outlet = ReplayUplink(player, target, start_id, _tell_state, table)
        try:
            return _until_all_is_there(outlet, player, selection)
        finally:
            if is_new and not outlet.has_streamed:  # there is nothing to go on with
                resume.unlink(missing_ok=True)


def _until_all_is_there(outlet: BusOutlet | ReplayUplink, player: Replay, selection: Selection) -> bool:
    began_seconds = time.monotonic()
    try:
        look_up.run(_with_progress(outlet, player))
    finally:
        _tell_about_logs(player, selection)
        if isinstance(outlet, ReplayUplink) and outlet.lost_by_server:
            warn(
                f"{outlet.lost_by_server} frames and values that the server had acknowledged are gone there: "
                "was it restored from a backup, or damaged? Replay again, with the same --resume where there "
                "was one"
            )
        if isinstance(outlet, ReplayUplink) and outlet.knows_no_frame:
            warn("no frame is of a message that --dbc knows: is it the database of this vehicle?")
        click.echo(_summary(outlet.totals, time.monotonic() - began_seconds, player))
    return outlet.is_complete and are_whole(player.source.books)


def _summary(totals: Totals, seconds: float, player: Replay) -> str:
    """The last line, which is JSON."""
    summary: dict[str, Any] = {
        "frames": totals.frames,
        "acknowledged": totals.acknowledged,
        "lost": totals.lost,
        "seconds": round(seconds, 3),
        **books_json(player.source.books),
    }
    if totals.not_sent:
        summary["not_sent"] = totals.not_sent
    if totals.error_frames:
        summary["error_frames"] = totals.error_frames
        warn(f"{totals.error_frames} error frames were left out: no controller can be told to send one")
    return json.dumps(summary)


def _target(options: dict[str, Any]) -> ServerTarget:
    """Where to stream, and as whom."""
    server, ca_file, wanted = options["server"], options["ca_file"], options["agent_id"]
    if (problem := url_problem(server)) is not None:
        raise ReplayError(f"--server {problem}")
    if wanted is not None and not is_identifier(wanted):
        raise ReplayError(f"--agent-id: {identifier_problem(wanted)}")
    tell_unused_ca(server, ca_file)
    if (said := refuse_clear_text(server, allowed=options["allow_clear_text"])) is not None:
        warn(said)
    if options["token_file"] is not None:
        tell_others(options["token_file"])
    found = identity(server, wanted, options["token_file"], ca_file)
    return ServerTarget(server, found.agent_id, found.token, ca_file, found.token_file)


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
        warn(in_options(state.message))


def _tell_about_logs(player: Replay, selection: Selection) -> None:
    source = player.source
    tell_logs(source.books, source.problems, selection.start_time_ns)
    if source.is_read:  # else it may still have come
        if not player.frames:
            has_any = any(books.frames for books in source.books)
            why = "do --start, --end and --id leave any?" if has_any else "is it the right log?"
            warn(f"not one frame was played: {why}")
        tell_unmatched(source.unmatched)
