"""What a service tells systemd: how it stands (sd_notify(3)), how grave a line of its log is (sd-daemon(3)).

No library: `sdnotify` has had no release since 2017, `systemd-watchdog` knows neither STOPPING nor RELOADING
and raises where its manager is gone, `systemd-python` and `cysystemd` bring libsystemd along. The protocol is
one datagram of lines.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from can_stream.repeated_lines import RepeatedLines
from can_stream.standard_error import StandardErrorHandler
from can_stream.text.foreign import shown

_MAX_STATUS_CHARACTERS: Final = 500
_MAX_WATCHDOG_DIGITS: Final = 18
_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"
_SYSLOG_LEVELS: Final = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
_logger: Final = logging.getLogger(__name__)


class ServiceManager:
    """Tells systemd how this service stands; does nothing where systemd has not asked to be told.

    `watchdog_seconds` is how long systemd waits for the next `alive`, None where it does not.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._told_status = ""
        self.watchdog_seconds: Final = _watchdog_seconds(environment)

    @property
    def listens(self) -> bool:
        """Whether anybody is told."""
        return self._address is not None

    def starting(self, text: str) -> None:
        """It gets on with a start that takes long: systemd waits a minute more, ready or not."""
        self._tell("EXTEND_TIMEOUT_USEC=60000000", "WATCHDOG=1")
        self.status(text)

    def ready(self) -> None:
        """It has started, or has done what `reloading` began."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """It takes over its changed configuration."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """It gets on; without this for `watchdog_seconds` systemd ends it."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; told when it changes."""
        line = shown(" ".join(text.split()), _MAX_STATUS_CHARACTERS)
        if line != self._told_status:
            self._told_status = line
            self._tell(f"STATUS={line}")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.setblocking(False)  # a service must not hang because its manager does
                to.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError as error:
            _logger.warning("systemd cannot be told %s: %s", lines[0], error.strerror)


def _address(variable: str) -> str | None:
    """What a socket calls the address in NOTIFY_SOCKET: a path, or with @ in front an abstract name."""
    if variable.startswith("/"):
        return variable
    return f"\0{variable[1:]}" if len(variable) > 1 and variable.startswith("@") else None


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # it is meant for a parent of ours
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdecimal()) or len(microseconds) > _MAX_WATCHDOG_DIGITS:
        return None
    return int(microseconds) / 1e6 or None


def log_to_standard_error(level: int) -> None:
    """Logs what is of `level` and above; to the journal in a way that `journalctl -p` understands.

    The one place that sets up a log: no logger's call can forget to make foreign text safe, or to end.
    """
    _log_to_standard_error(level)
    for handler in logging.getLogger().handlers:
        RepeatedLines.limit(handler)


def _log_to_standard_error(level: int) -> None:
    try:
        descriptor = sys.stderr.fileno()
        status = os.fstat(descriptor)
    except OSError:  # it is no file, or closed
        _log_to(logging.StreamHandler(sys.stderr), level, ShownFormatter(_FORMAT))
        return
    is_journal = os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    formatter = _JournalFormatter(_FORMAT) if is_journal else ShownFormatter(_FORMAT)
    _log_to(StandardErrorHandler(descriptor), level, formatter)


def _log_to(handler: logging.Handler, level: int, formatter: ShownFormatter) -> None:
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler])


class ShownFormatter(logging.Formatter):
    """A record is one line, whatever was put into it; a traceback behind it is indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Without what a terminal obeys."""
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """No line of it looks like a record."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """No line of it looks like a record."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"  {shown(line)}" for line in text.split("\n"))


class _JournalFormatter(ShownFormatter):
    """Puts the level in front of every line."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_SYSLOG_LEVELS.get(record.levelno, 7)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))
