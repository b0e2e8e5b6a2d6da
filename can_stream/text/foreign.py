"""Text that came from outside, made fit to be shown: it moves no cursor, ends no line, hides nothing.

What a terminal, a log or a spreadsheet would obey becomes the escape that Python writes, and with it all that
is not printable (Unicode's categories Other and Separator, but for its spaces): control characters, line
ends, what turns the direction of writing, what takes no room, surrogates.
"""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
# Unicode's category Space Separator; loading its tables would cost the agent a megabyte.
_SPACES: Final = frozenset("\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_QUOTED: Final = re.compile('[,"\r\n]')


def shown(text: str, most: int | None = None) -> str:
    """`text` on one line, of at most so many of its own characters."""
    text = text if most is None else text[:most]
    return text if text.isprintable() else "".join(map(_escaped, text))


def shown_lines(text: str) -> str:
    """`text` of our own making with foreign parts in it: its lines stay lines."""
    return "\n".join(map(shown, text.split("\n")))


def csv_cell(text: str) -> str:
    """`text` as a CSV cell (RFC 4180) that no spreadsheet obeys: a ' goes before what looks like a formula.

    Numbers stay what they are, and so does a single character, such as the unit "-".
    """
    guarded = f"'{text}" if text.startswith(_FORMULA) and len(text) > 1 and not _is_number(text) else text
    safe = shown(guarded)
    return '"' + safe.replace('"', '""') + '"' if _QUOTED.search(safe) else safe


def _escaped(character: str) -> str:
    if character.isprintable() or character in _SPACES:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.startswith(("\t", "\r"))
