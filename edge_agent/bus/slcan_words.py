"""What is said of an slcan adapter's lines: whose time its frames have, and what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from edge_agent.bus.slcan_clock import StampReader

_PERIOD_SECONDS: Final = 2.0
_MIN_LINES: Final = 3
_MIN_SHARE: Final = 0.02
# A greeting, or a line hit by noise now and then, is no fault: two such periods on end are.
_PERIODS: Final = 2
# More than an adapter's greeting, less than half a second of noise at 115200 bit/s.
_MAX_GARBAGE_BYTES: Final = 4096

_MAX_EXAMPLE_BYTES: Final = 40

# Answers to the set-up in an adapter's own words, and what it says when it starts; no frames damaged.
_GREETING_SECONDS: Final = 3.0
# A word has a letter that is no hexadecimal digit.
_WORD: Final = r"(?=[A-Za-z]{3})[A-Za-z]*[G-Zg-z]"
_GREETING: Final = re.compile(
    rf"[#+>][ -~\t]*|(?![tTrRdDbBx][0-9A-Fa-f]{{3}})[ -~\t]*{_WORD}[ -~\t]*".encode()
)

_LIKE_A_FRAME: Final = re.compile(r"[&$]?[tTrRdDbBx][0-9A-Fa-f ]{2,}")
_LIKE_TEXT: Final = re.compile(rf"{_WORD}|[$>][A-Z]")


class Unread(Struct):
    """What could not be read of an adapter that is open. Times are of the monotonic clock.

    `lines` since the start, `example` the newest of them; `fault` is "" as long as there is none,
    "unreadable" where much cannot be read, "garbage" where nothing has made sense for long.
    """

    now_seconds: float
    lines: int = 0
    example: str = ""
    fault: str = ""
    _greets_until_seconds: float = 0.0
    _garbage_bytes: int = 0
    _piece: str = ""
    _read: int = 0
    _unread: int = 0
    _streak: int = 0
    _said: tuple[int, int] = (0, 0)

    def begin(self, now_seconds: float) -> None:
        """The adapter is set up: what it says in words of its own now is no line that is lost."""
        self._greets_until_seconds = now_seconds + _GREETING_SECONDS

    def take(self, frames: int, replies: int, unread: Sequence[bytes], now_seconds: float) -> None:
        """What a piece had in it: frames, answers, and lines that cannot be read."""
        if now_seconds < self._greets_until_seconds:
            unread = [line for line in unread if not _GREETING.fullmatch(line)]
            self._greets_until_seconds = 0.0 if frames else self._greets_until_seconds
        self._read += frames + replies
        self._unread += len(unread)
        self.lines += len(unread)
        if unread:
            self.example = shown(unread[-1])

    def take_garbage(self, received: bytes) -> None:
        """A piece in which nothing has made sense; b"" where something has."""
        self._garbage_bytes = self._garbage_bytes + len(received) if received else 0
        if received and not self.example:
            self._piece = shown(received[:_MAX_EXAMPLE_BYTES])

    def look(self, now_seconds: float) -> bool:
        """Whether the fault is another one than before."""
        before = self.fault
        if now_seconds - self.now_seconds >= _PERIOD_SECONDS:
            self._end_period()
            self.now_seconds = now_seconds
        if self._garbage_bytes > _MAX_GARBAGE_BYTES:
            self.fault = "garbage"
        elif self.fault == "garbage":
            self.fault = ""
        return self.fault != before

    def text(self, channel: str, serial_baudrate: int) -> str:
        """What cannot be read, with an example and what to do."""
        line = self.example or self._piece
        remedy, example = remedy_for(line, serial_baudrate), f", for example {line}"
        if self.fault == "garbage":
            return f"what {channel} says at {serial_baudrate} baud is not slcan{example}: {remedy}"
        unread, lines = self._said
        return f"{unread} of {lines} lines from {channel} cannot be read{example}: {remedy}"

    def _end_period(self) -> None:
        lines = self._read + self._unread
        is_bad = self._unread >= _MIN_LINES and self._unread >= _MIN_SHARE * lines
        self._streak = max(self._streak, 0) + 1 if is_bad else min(self._streak, 0) - 1
        if is_bad:
            self._said = (self._unread, lines)
        if self._streak >= _PERIODS and not self.fault:
            self.fault = "unreadable"
        elif self._streak <= -_PERIODS and self.fault == "unreadable":
            self.fault = ""
        self._read = self._unread = 0


def form_text(stamps: StampReader, remark: bytes, asked: bool) -> str:
    """Whose time frames have, as the lines show, and what else stands behind them; begins with `;`.

    `asked`: the adapter was asked for timestamps, so that before the first frame nobody knows.
    """
    beside = f"; what stands behind its frames, as {shown(remark[:8])}, is left out" if remark else ""
    form = f": {stamps.text}" if stamps.text else ""
    if stamps.is_adapters:
        whose = "frames have the adapter's time" if asked else "it sends timestamps unasked, which are used"
        return f"; {whose}{form}{beside}"
    if stamps.is_adapters is None and asked:
        return beside
    why = "it sends no timestamps that can be used: " if asked or form else ""
    return f"; {why}frames have the time at which they are read{form}{beside}"


def shown(line: bytes) -> str:
    """A line in backquotes; what is not printable as in Python."""
    text = line.decode("latin-1")
    return "`" + "".join(one if 32 <= ord(one) < 127 else f"\\x{ord(one):02x}" for one in text) + "`"


def remedy_for(example: str, serial_baudrate: int) -> str:
    """What to do about lines like this one, as `shown` shows it."""
    line = example[1:-1]
    if _LIKE_A_FRAME.match(line) and "\\x" not in line:
        return (
            "it looks like a frame, damaged on its way or in a dialect that is not known: check the cable "
            "and `options.serial_baudrate`; update the adapter's firmware, or report this line"
        )
    if _LIKE_TEXT.search(line) and "\\x" not in line:
        return (
            "this is another protocol or a program's text: check that `channel` is the adapter's port, and "
            "that its firmware is one for slcan"
        )
    return (
        f"set `options.serial_baudrate` (now {serial_baudrate}) to the adapter's; "
        "check that no other program uses the port"
    )
