"""The helper's program: takes one request after the other from a socket that systemd has opened."""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from can_stream.errors import CanStreamError
from edge_agent.errors import HelperError, LinkError
from edge_agent.helper.rules import Pauses, is_agent, is_trusted
from edge_agent.helper.words import MAX_LINE_BYTES, Answer, Request, decode_request, encode
from edge_agent.host.can_link import CanLink, read_can_link
from edge_agent.host.link_restart import restart_link

# Longer than a pause, so that no pause is forgotten by an end.
IDLE_SECONDS: Final = 60.0
# For a whole request: one who says nothing keeps the agent waiting for no longer.
_REQUEST_SECONDS: Final = 1.0
_FIRST_DESCRIPTOR: Final = 3  # sd_listen_fds(3)
_PEER: Final = struct.Struct("=iII")  # struct ucred
# What an answer has room for, whatever it is written in.
_MOST_CHARACTERS: Final = 150
_CHANNEL_MESSAGE: Final = "no socketcan dongle of {path} that [relay] may transmit on is {channel}"
_logger: Final = logging.getLogger(__name__)


class Machine(Struct, frozen=True):
    """What the helper does its work with; `channels`: the interfaces that a file lets it touch."""

    channels: Callable[[Path], set[str]]
    read: Callable[[str], CanLink | None] = read_can_link
    restart: Callable[[int], None] = restart_link
    monotonic_seconds: Callable[[], float] = time.monotonic


class Helper:
    """Answers requests about the interfaces that the file `path` names."""

    def __init__(self, path: Path, machine: Machine) -> None:
        self._path = path
        self._machine = machine
        self._pauses = Pauses()

    def answer(self, request: Request) -> Answer:
        """Does what is asked for, or says why not."""
        try:
            _check_trusted(self._path)
            channels = self._machine.channels(self._path)
        except (OSError, CanStreamError) as error:
            return Answer("config", " ".join(str(error).split())[:_MOST_CHARACTERS])
        channel = request.channel
        if channel not in channels:
            return Answer("interface", _CHANNEL_MESSAGE.format(path=self._path.name, channel=channel))
        try:
            return self._restart(channel)
        except LinkError as error:
            return Answer("failed", f"{channel}: {error}")

    def _restart(self, channel: str) -> Answer:
        """LinkError."""
        now_seconds = self._machine.monotonic_seconds()
        wait_seconds = self._pauses.wait_seconds(channel, now_seconds)
        if wait_seconds:
            return Answer("too_soon", f"{channel} was taken down a moment ago", wait_seconds)
        link = self._machine.read(channel)
        if link is None or not link.is_up:
            # Somebody may have taken it down for a reason: it stays so.
            return Answer("down", f"{channel} is not up")
        self._pauses.taken(channel, now_seconds)
        self._machine.restart(link.index)
        _logger.info("%s: taken down and up, its queue is empty", channel)
        return Answer()


def serve(listening: socket.socket, helper: Helper, is_welcome: Callable[[socket.socket], bool]) -> None:
    """Answers who connects, one after the other; returns after a minute in which nobody did."""
    listening.settimeout(IDLE_SECONDS)
    while True:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            return
        with connection:
            try:
                answer = _answer_to(connection, helper, is_welcome)
                connection.sendall(encode(answer))
            except OSError as error:
                _logger.info("somebody has asked for something and is gone: %s", error)


def _answer_to(
    connection: socket.socket, helper: Helper, is_welcome: Callable[[socket.socket], bool]
) -> Answer:
    """OSError where the other side does not speak in time."""
    connection.settimeout(_REQUEST_SECONDS)
    if not is_welcome(connection):
        _logger.warning("somebody else than the agent's service has asked for something: refused")
        return Answer("peer", "only the service edge-agent.service is answered")
    try:
        answer = helper.answer(decode_request(_line(connection)))
    except HelperError as error:
        answer = Answer("request", str(error))
    if answer.refused:
        _logger.info("refused (%s): %s", answer.refused, answer.message)
    return answer


def _line(connection: socket.socket) -> bytes:
    line = b""
    until_seconds = time.monotonic() + _REQUEST_SECONDS
    while not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
        connection.settimeout(max(0.001, until_seconds - time.monotonic()))
        part = connection.recv(MAX_LINE_BYTES + 1)
        if not part:
            break
        line += part
    return line


def is_from_agent(connection: socket.socket) -> bool:
    """Whether the agent's service is at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    process, user, _ = _PEER.unpack(credentials)
    place = Path("/proc") / str(process)
    try:
        return is_agent(user, (place / "cgroup").read_text(), (place / "status").read_text())
    except OSError:
        return False


def _check_trusted(path: Path) -> None:
    """OSError, HelperError."""
    status = path.stat()
    if not is_trusted(status.st_uid, status.st_mode):
        raise HelperError(f"{path} is not root's alone: chown root:root and chmod go-w it")


def inherited_socket() -> socket.socket:
    """The one that systemd has opened. Raises HelperError where it has not."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise HelperError("this program is started by systemd: `systemctl start edge-agent-helper.socket`")
    return socket.socket(fileno=_FIRST_DESCRIPTOR)
