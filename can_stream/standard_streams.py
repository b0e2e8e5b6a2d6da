"""Standard input, output and error, where whoever has started the process closed some of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_closed: Final[set[str]] = set()


def was_closed(name: str) -> bool:
    """Whether `stdin`, `stdout` or `stderr` was closed when the process began, and leads nowhere now."""
    return name in _closed or getattr(sys, name) is None


def open_closed_streams() -> None:
    """Has those that are closed lead nowhere.

    Python leaves None in their place, which nobody expects. And the next file or socket that is opened gets
    the free number, so that a library's words to standard error would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Open for as long as the process lives.
            nowhere = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(nowhere.fileno(), True)
            setattr(sys, name, nowhere)
            _closed.add(name)
