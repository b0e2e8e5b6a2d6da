"""TOML files, read with a cap on their size."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from can_stream.strict_config.checking import check
from can_stream.strict_config.errors import ConfigError, Problem

MAX_FILE_BYTES: Final = 1 << 20

_StructT = TypeVar("_StructT", bound=msgspec.Struct)
_PLACE = re.compile(r"^(?P<reason>.*) \(at (?P<place>line \d+, column \d+|end of document)\)$", re.DOTALL)


def load(path: Path, struct_type: type[_StructT]) -> _StructT:
    """The file at `path` as a `struct_type`. Raises ConfigError with every problem of the file."""
    document = read_document(path)
    try:
        return check(document, struct_type)
    except ConfigError as error:
        raise ConfigError(error.problems, path) from None


def read_document(path: Path) -> dict[str, Any]:
    """The tables of the TOML file at `path`. Raises ConfigError with the place of the first fault."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            [Problem("", f"cannot be read: {reason}: name the file with --config")], path
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([Problem("", f"is larger than {MAX_FILE_BYTES} bytes")], path)
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError([_fault(error, content)], path) from error


def _fault(error: Exception, content: bytes) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("", "is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        line, column = _line_and_column(content, error.start)
        return Problem(f"line {line}, column {column}", "is not UTF-8 text")
    place = _PLACE.match(str(error))
    if place is None:
        return Problem("", f"is not valid TOML: {error}")
    return Problem(place["place"], place["reason"])


def _line_and_column(content: bytes, offset: int) -> tuple[int, int]:
    before = content[:offset]
    return before.count(b"\n") + 1, offset - before.rfind(b"\n")
