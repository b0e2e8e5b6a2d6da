"""Which format a log has: its first lines say so, not its name; see docs/logs.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Final, NamedTuple

from can_stream.errors import LineError, LogError
from can_stream.logs.formats.beginnings import BUSMASTER_HEADER, CSV_HEADER, PCAP_MAGICS
from can_stream.logs.formats.candump_lines import HumanClock, read_candump_line
from can_stream.logs.line_ends import with_line_feeds
from can_stream.logs.log_blocks import Row, kind_of_no_line

FORMATS: Final = ("candump", "gvret", "crtd", "asc", "trc", "csv", "busmaster", "blf", "pcap", "mf4")
HEAD_BYTES: Final = 64 * 1024
HEAD_LINES: Final = 500

_ASC_HEADER: Final = re.compile(rb"(?:date\s+\S{2,12}\s+\S{2,12}\s+\d|base\s+(?:hex|dec)\b)", re.IGNORECASE)
_DATABASE_SUFFIXES: Final = (".dbc", ".kcd", ".sym", ".arxml")
_TAR_MAGIC_AT: Final = 257
_COMPRESSIONS: Final = (".gz", ".bz2", ".xz", ".lzma", ".zst")


def reads(read_line: Callable[[bytes], Row | str], line: bytes) -> bool:
    """Whether `read_line` makes a frame of it."""
    try:
        return not isinstance(read_line(line.rstrip(b"\r")), str)
    except LineError:
        return False


def is_candump(line: bytes) -> bool:
    """Whether the line is a frame in any dialect of candump."""
    return reads(lambda shown: read_candump_line(shown, HumanClock()), line)


# What an agent never reads takes none of its memory: these are loaded for a log that is none of candump.
# ruff: noqa: PLC0415


def is_gvret(line: bytes) -> bool:
    """Whether the line is a header of GVRET's CSV."""
    from can_stream.logs.formats.gvret import gvret_columns

    return gvret_columns(line.strip()) is not None


def is_crtd(line: bytes) -> bool:
    """Whether the line is a frame of CRTD."""
    from can_stream.logs.formats.crtd import read_crtd_line

    return reads(read_crtd_line, line)


def is_asc(line: bytes) -> bool:
    """Whether the line is a header of Vector's, or a frame as CANoe writes it."""
    from can_stream.logs.formats.asc_lines import is_asc_frame

    return _ASC_HEADER.match(line.strip()) is not None or is_asc_frame(line)


# The first bytes of a file that is no text.
_FIRST_BYTES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"LOGG", "blf"),
    (b"MDF ", "mf4"),
    (b"UnFinMF", "mf4"),
    *((magic, "pcap") for magic in PCAP_MAGICS),
)

# Of what is no text one line in 256 begins with any character; every trace has lines of ASCII.
_NO_TEXT: Final = re.compile(rb"[^\t\r -~]")

# What one line of text says; of each line they are asked in this order.
_LINES: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("trc", lambda line: line.lstrip().startswith(b";") and _NO_TEXT.search(line.strip(b"\0")) is None),
    ("csv", lambda line: line.lstrip().startswith(CSV_HEADER)),
    ("busmaster", lambda line: line.lstrip().startswith(BUSMASTER_HEADER)),
    ("candump", is_candump),
    ("gvret", is_gvret),
    ("crtd", is_crtd),
    ("asc", is_asc),
)


class FormatSeen:
    """Says whether the beginning of a log, which grows from call to call, shows its format by now."""

    def __init__(self) -> None:
        self._lines = 0
        self._is_seen = False

    def __call__(self, head: bytes) -> bool:
        """Each line is looked at once, when it is whole."""
        lines = with_line_feeds(head).split(b"\n")[:-1]
        if not self._is_seen:
            self._is_seen = _seen(head, lines[self._lines : HEAD_LINES]) is not None
        self._lines = len(lines)
        return self._is_seen or len(lines) >= HEAD_LINES


class _Seen(NamedTuple):
    """A format, or why the log is not read."""

    format: str = ""
    refusal: str = ""


def _seen(head: bytes, lines: Sequence[bytes]) -> _Seen | None:
    """What the beginning of a log shows: the first of its lines that says anything."""
    for magic, name in _FIRST_BYTES:
        if head.startswith(magic):
            return _Seen(name)
    if head[_TAR_MAGIC_AT:].startswith(b"ustar"):
        return _Seen(refusal="an archive of files: unpack it with tar xf, and name the log in it")
    for line in lines:
        for name, is_one in _LINES:
            if is_one(line):
                return _Seen(name)
        if (refusal := _refusal(line)) is not None:
            return _Seen(refusal=refusal)
    return None


def _refusal(line: bytes) -> str | None:
    from can_stream.logs.foreign_formats import foreign_format

    return foreign_format(line)


def format_of(path: PurePath, head: bytes, lines: Sequence[bytes]) -> str:
    """The format of the log that begins with `head`, whose whole lines are `lines`.

    Where it has none but blank lines and comments its name is asked. Raises `LogError` for what is no log.
    """
    seen = _seen(head, lines)
    if seen is not None:
        if seen.refusal:
            raise LogError(path, seen.refusal)
        return seen.format
    by_name = _format_of_name(path)
    if by_name is not None and all(map(kind_of_no_line, lines)):
        return by_name
    if not head.strip():
        return by_name or "candump"
    if path.suffix.lower() in _DATABASE_SUFFIXES:
        raise LogError(path, "a database, not a log: each one needs its own --dbc")
    raise LogError(
        path, f"not a log of a known format ({', '.join(FORMATS)}): name the file of a recorded drive"
    )


def _format_of_name(path: PurePath) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSIONS]
    last = suffixes[-1][1:] if suffixes else ""
    return {"log": "candump", "txt": "candump", "csv": "gvret"}.get(last, last if last in FORMATS else None)
