"""Database files as text, with the caps that keep a hostile one from filling the memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from can_stream.databases.encodings import Text, decoded
from can_stream.databases.options import is_encoding, unknown_encoding
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


# The lines that have hex numbers, from where they have them on.
_SYM_NUMBERS: Final = re.compile(
    r"""(?m)^([ \t]*(?:ID|Color)[ \t]*=|"""
    r"""[ \t]*Mux[ \t]*=[ \t]*(?:"[^"\n]*"|[^\n,"]*)[ \t]\d{1,9}[ \t]*,[ \t]*\d{1,9}[ \t])"""
    r"""((?:(?!//)[^\n])*)"""
)
_SYM_HEX: Final = re.compile(r"(?<!\w)([0-9A-Fa-f]{1,16})[hH](?!\w)")


def format_of(path: Path) -> str:
    """The format that the suffix names. Raises DatabaseError."""
    name = path.suffix[1:].lower()
    if name not in FORMATS:
        raise DatabaseError(path, 0, f"files ending in {path.suffix or 'nothing'!r} are no databases that "
                                     f"can be read: {', '.join(FORMATS)} are")  # fmt: skip
    return name


def read_text(path: Path, encoding: str | None = None) -> Text:
    """The text of `path`, see `decoded`. Raises DatabaseError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DatabaseError(path, 0, f"{error.strerror or error}: check the name of the database") from error
    if len(content) > MAX_FILE_BYTES:
        raise DatabaseError(path, 1, f"more than {MAX_FILE_BYTES} bytes")
    if encoding is not None and not is_encoding(encoding):
        raise DatabaseError(path, 0, unknown_encoding(encoding))
    return decoded(content, encoding)


def sym_with_plain_numbers(text: str) -> str:
    """A SYM file whose hex numbers begin with a digit and have large letters, as cantools wants them."""
    return _SYM_NUMBERS.sub(lambda line: line[1] + _SYM_HEX.sub(_plain_number, line[2]), text)


def _plain_number(found: re.Match[str]) -> str:
    digits = found[1].upper()
    return digits + "h" if digits[0].isdigit() else f"0{digits}h"


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
    """The line that an error message speaks of: its number, a message that it names, or its longest word."""
    named = re.search(r"line (\d{1,9})", reason)
    if named and 0 < int(named.group(1)) <= text.count("\n") + 1:
        return int(named.group(1))
    if (at := _named_place(text, reason)) >= 0:
        return text.count("\n", 0, at) + 1
    lowered = text.lower()
    words = (word.strip(".:") for word in re.findall(r"[\w./:-]{4,}", reason.lower()))
    at = max(((len(word), lowered.find(word)) for word in words if word in lowered), default=(0, 0))[1]
    return lowered.count("\n", 0, at) + 1


def _named_place(text: str, reason: str) -> int:
    """Where the message, or the signal of it, stands that cantools names, -1 where it names none."""
    of_message = re.search(r"\bmessage (\S+?)\.?$", reason)
    place = _whole_word(text, of_message[1], 0) if of_message else -1
    of_signal = re.search(r"\bsignal (\S+)", reason) if place >= 0 else None
    return max(place, _whole_word(text, of_signal[1], place)) if of_signal else place


def _whole_word(text: str, word: str, begin: int) -> int:
    found = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)").search(text, begin)
    return found.start() if found else -1
