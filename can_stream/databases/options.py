"""What is said of databases where their files do not say it: the entries of `database_options`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

MAX_OPTIONS: Final = 64
# Codecs of Python's own that no file is written in.
_NO_ENCODINGS: Final = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}

Text = Annotated[str, Meta(min_length=1, max_length=512)]


class DatabaseOptions(msgspec.Struct, frozen=True):
    """What is said of the databases that `match` fits: a glob on the file's name, on its path with a slash.

    `protocol`: how frames match; `bus`: whose messages of a KCD or ARXML file; `encoding`: of its text.
    """

    match: Text = "*"
    protocol: Literal["j1939", "can"] | None = None
    bus: Text | None = None
    encoding: Annotated[str, Meta(min_length=1, max_length=64)] | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """An entry that says nothing, an encoding that there is not."""
        if (self.protocol, self.bus, self.encoding) == (None, None, None):
            yield (
                "protocol",
                "is missing, and so are `bus` and `encoding`: nothing is said of these databases",
            )
        if self.encoding is not None and not is_encoding(self.encoding):
            yield "encoding", unknown_encoding(self.encoding)

    def fits(self, path: PurePath) -> bool:
        """Whether it is about this file."""
        return fnmatchcase(str(path) if "/" in self.match else path.name, self.match)


NOTHING_SAID: Final = DatabaseOptions()


def options_for(path: PurePath, options: Sequence[DatabaseOptions]) -> DatabaseOptions:
    """What all entries together say of a file; of each key the first entry that fits and has it counts."""
    fitting = [one for one in options if one.fits(path)]
    return DatabaseOptions(
        protocol=next((one.protocol for one in fitting if one.protocol is not None), None),
        bus=next((one.bus for one in fitting if one.bus is not None), None),
        encoding=next((one.encoding for one in fitting if one.encoding is not None), None),
    )


def is_encoding(name: str) -> bool:
    """Whether a text can be of the encoding of this name."""
    try:
        b"aaaa".decode(name)
    except UnicodeDecodeError:
        return True
    except (LookupError, ValueError):
        return False
    return name.lower().replace("-", "_") not in _NO_ENCODINGS


def unknown_encoding(name: str) -> str:
    """What is to be said of a name that no encoding has."""
    return f"no encoding is called {name!r}; they are called utf-8, cp1252, gbk, shift_jis, cp1251, utf-16"
