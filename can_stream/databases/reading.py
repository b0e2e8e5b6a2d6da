"""Database files as text, with the caps that keep a hostile one from filling the memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from can_stream.errors import DatabaseError
from can_stream.signals.checking import MAX_MESSAGES

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
FORMATS: Final = ("dbc", "kcd", "sym", "arxml")
# Bit counts of five digits and more, in the places where each format has them.
_HUGE: Final = {
    "kcd": re.compile(r"""\b(?:length|offset)\s*=\s*["']\s*[-+]?\d{5,}"""),
    "sym": re.compile(r"(?i)\b(?:Len|DLC)\s*=\s*\d{5,}|\b(?:unsigned|signed)\s+\d{5,}|,\s*\d{5,}"),
    "arxml": re.compile(r"<(?:LENGTH|START-POSITION|FRAME-LENGTH|BIT-\w+|\w+-LENGTH)>\s*\d{6,}"),
}


# Of each of these ids cantools makes a message.
_SYM_IDS: Final = re.compile(r"(?i)\bID\s*=\s*(-?\d[0-9A-F]*)h\s*-?(\d[0-9A-F]*)h")


def format_of(path: Path) -> str:
    """The format that the suffix names. Raises DatabaseError."""
    name = path.suffix[1:].lower()
    if name not in FORMATS:
        raise DatabaseError(path, 1, f"files ending in {path.suffix or 'nothing'!r} are no databases that "
                                     f"can be read: {', '.join(FORMATS)} are")  # fmt: skip
    return name


def read_text(path: Path) -> str:
    """The text of `path`: UTF-8 where it is valid, else code page 1252. Raises DatabaseError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DatabaseError(path, 1, error.strerror or str(error)) from error
    if len(content) > MAX_FILE_BYTES:
        raise DatabaseError(path, 1, f"more than {MAX_FILE_BYTES} bytes")
    return text_of(content)


def text_of(content: bytes) -> str:
    """Decoded, with one kind of line end."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_sizes(path: Path, database_format: str, text: str) -> None:
    """Raises DatabaseError where a format other than DBC declares something enormous."""
    huge = _HUGE[database_format].search(text)
    if huge:
        line = text.count("\n", 0, huge.start()) + 1
        raise DatabaseError(path, line, f"{huge.group()!r} is more than any frame has")
    ids = 0
    for found in _SYM_IDS.finditer(text) if database_format == "sym" else ():
        ids += max(int(found[2], 16) - int(found[1], 16), 0)
        if ids > MAX_MESSAGES:
            line = text.count("\n", 0, found.start()) + 1
            raise DatabaseError(path, line, f"{found.group()!r} makes more than {MAX_MESSAGES} messages")


def line_about(text: str, reason: str) -> int:
    """The line that an error message speaks of: the one it names, else the first with its longest word."""
    named = re.search(r"line (\d{1,9})", reason)
    if named and 0 < int(named.group(1)) <= text.count("\n") + 1:
        return int(named.group(1))
    lowered = text.lower()
    words = (word.strip(".:") for word in re.findall(r"[\w./:-]{4,}", reason.lower()))
    at = max(((len(word), lowered.find(word)) for word in words if word in lowered), default=(0, 0))[1]
    return lowered.count("\n", 0, at) + 1
