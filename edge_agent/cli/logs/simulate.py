"""The command `edge-agent simulate`."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from can_stream.command_line.parameters import Parsed
from can_stream.errors import CanStreamError
from can_stream.text.frame_json import rows_of
from edge_agent.cli.databases import Databases, database_option, tell_findings
from edge_agent.cli.logs.own_hand import refuse_listeners
from edge_agent.cli.parameters import own_hand_options, warn
from edge_agent.errors import ReplayError
from edge_agent.replay.to_bus import Transmitter, parse_target
from edge_agent.simulation.messages import simulated_messages
from edge_agent.simulation.payloads import SimulatedMessage
from edge_agent.simulation.traffic import Timetable, Traffic

MAX_RATE: Final = 100_000
MAX_SECONDS: Final = 10_000_000
_WINDOW_NS: Final = 50_000_000
_GRACE_SECONDS: Final = 1.0
_STATUS_NS: Final = 10 * _WINDOW_NS


def _parse_rate(text: str) -> float:
    return _positive(text, MAX_RATE)


def _parse_seconds(text: str) -> float:
    return _positive(text, MAX_SECONDS)


def _positive(text: str, most: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        raise ValueError(f"{text!r} is no number above 0 and up to {most}")
    return number


@click.command()
@database_option(required=True)
@click.option(
    "--to",
    "target",
    required=True,
    type=Parsed("INTERFACE:CHANNEL", parse_target),
    help="Transmit on this bus, through python-can: socketcan:vcan0, udp_multicast:239.0.0.1.",
)
@own_hand_options
@click.option(
    "--rate",
    type=Parsed("N", _parse_rate),
    help="Frames per second in all: every cycle time is multiplied by the same factor.  "
    "[default: the cycle times of the database]",
)
@click.option(
    "--seconds",
    type=Parsed("S", _parse_seconds),
    help="End after S seconds.  [default: until Ctrl-C]",
)
@click.option(
    "--seed", type=int, metavar="N", default=0, show_default=True, help="Another seed makes other traffic."
)
@click.option("--fd", is_flag=True, help="Send CAN FD messages too; the bus must be CAN FD.")
def simulate(
    databases: Databases, target: tuple[str, str], rate: float | None, seconds: float | None,
    seed: int, path: Path | None, *, fd: bool, force: bool,
) -> None:  # fmt: skip
    """Transmit made-up traffic for every message of databases, for demonstrations and load.

    This TRANSMITS on the bus that --to names, with ids that control units obey. It is for test benches and
    virtual buses: never use it on a vehicle.

    The last line on standard output is JSON: frames, seconds. Exit status 0 when it ends by --seconds or
    SIGTERM, 130 when by Ctrl-C.
    """
    try:
        if not force:
            refuse_listeners(target, path)
        loaded, report = simulated_messages(databases.paths, databases.options)
        tell_findings(report)
        messages = _sendable(loaded, fd=fd)
        traffic = Traffic(messages, rate, seed)
        if traffic.frames_per_second > 1.01 * MAX_RATE:
            raise ReplayError(
                f"these messages make {traffic.frames_per_second:.0f} frames per second: give --rate"
            )
        click.echo(
            f"{len(messages)} messages, {traffic.frames_per_second:.1f} frames per second in all", err=True
        )
        _transmit(traffic, target, seconds)
    except CanStreamError as error:
        raise click.ClickException(str(error)) from error


def _sendable(messages: Sequence[SimulatedMessage], *, fd: bool) -> list[SimulatedMessage]:
    """Those that the bus can carry; how many are left out is said. ReplayError where none is left."""
    fitting = [message for message in messages if message.fits_a_frame]
    chosen = [message for message in fitting if fd or not message.needs_fd]
    if len(fitting) < len(messages):
        warn(f"{len(messages) - len(fitting)} messages are left out: they are longer than a frame")
    if len(chosen) < len(fitting):
        warn(f"{len(fitting) - len(chosen)} CAN FD messages are left out: give --fd where the bus is CAN FD")
    if not chosen:
        raise ReplayError("the databases have no message that could be sent")
    return chosen


def _transmit(traffic: Traffic, target: tuple[str, str], seconds: float | None) -> None:
    """Sends every frame when it is due, until `seconds` are over or it is stopped; then says how many."""
    with Transmitter(*target) as transmitter, _stopped_by_signals() as stop:
        began_seconds = time.monotonic()
        timetable = Timetable(began_seconds)
        last_ns = math.inf if seconds is None else int(seconds * 1e9)

        def is_stopped_before(due_ns: int) -> bool:
            return stop.wait(timetable.wait_seconds(due_ns, time.monotonic()))

        try:
            for end_ns in _windows(last_ns, began_seconds):
                for row in rows_of(traffic.before(end_ns)):
                    if is_stopped_before(row.timestamp_ns):
                        return
                    transmitter.send(row)
                if is_stopped_before(end_ns):
                    return
                _show(end_ns, transmitter.sent)
        finally:
            elapsed_seconds = time.monotonic() - began_seconds
            if sys.stderr.isatty():
                click.echo(err=True)
            if (late_seconds := timetable.late_seconds) > 0:
                warn(f"the bus takes less than is due: the traffic became {late_seconds:.1f} s late")
            click.echo(json.dumps({"frames": transmitter.sent, "seconds": round(elapsed_seconds, 3)}))


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: between two frames, so that none is sent and not counted.

    KeyboardInterrupt at the end where it was Ctrl-C.
    """
    stop, came = threading.Event(), set[int]()

    def take(number: int, _: object) -> None:
        came.add(number)
        stop.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, take) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    if signal.SIGINT in came:
        raise KeyboardInterrupt


def _windows(last_ns: float, began_seconds: float) -> Iterator[int]:
    """The ends of windows of traffic up to `last_ns`; fewer where the bus has made it late."""
    for begin_ns in itertools.count(0, _WINDOW_NS):
        if begin_ns >= last_ns or (time.monotonic() - began_seconds) > last_ns / 1e9 + _GRACE_SECONDS:
            return
        yield int(min(begin_ns + _WINDOW_NS, last_ns))


def _show(played_ns: int, sent: int) -> None:
    """On a terminal a line on standard error says how far it is."""
    if sys.stderr.isatty() and played_ns % _STATUS_NS == 0:
        click.echo(f"\r{sent:,} frames sent ", err=True, nl=False)
