"""Standard input, output and error, where some are closed or what they lead to is full."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

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


class _StandardOutput(io.FileIO):
    """Tells once that it cannot be written, and takes the rest in silence: so does the flush at the end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._failed = False

    def write(self, content: Any) -> int:
        if self._failed:
            return memoryview(content).nbytes
        try:
            return super().write(content)
        except BrokenPipeError:
            raise  # whoever reads has seen enough
        except OSError as error:
            self._failed = True
            raise click.ClickException(f"standard output: {error.strerror}") from error


def tell_full_output() -> None:
    """From here on standard output that cannot be written is click.ClickException, wherever it is noticed.

    An OSError would not say what it is about. What stands in the place of standard output is left alone.
    """
    now = sys.stdout
    if now is not sys.__stdout__ or not isinstance(now, io.TextIOWrapper):
        return
    now.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(now.fileno())),
        encoding=now.encoding,
        errors=now.errors,
        line_buffering=now.line_buffering,
        write_through=now.write_through,
    )
