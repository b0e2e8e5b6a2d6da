"""The databases that come along, by name: `obd2` is `dbc/obd2.dbc` in a clone and in an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGED: Final = Path(__file__).with_name("dbc_files")
DIRECTORY: Final = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "dbc"


def bundled_names() -> list[str]:
    """In alphabetical order."""
    return sorted(path.stem for path in DIRECTORY.glob("*.dbc"))


def bundled(name: str) -> Path | None:
    """The database of this name, None where none comes along: a path of the user's own then.

    Nothing is taken from the user: a database without a suffix could not be read, and `./obd2` is a path.
    """
    return DIRECTORY / f"{name}.dbc" if name in bundled_names() else None


def bundled_hint(path: str) -> str:
    """`, did you mean ...?` for a file that is not there and nearly has a bundled name; else empty."""
    import difflib  # noqa: PLC0415 - only a mistake is worth its memory

    near = difflib.get_close_matches(Path(path).stem[:64].lower(), bundled_names(), n=1)
    return f", did you mean the database `{near[0]}` that comes along?" if near else ""
