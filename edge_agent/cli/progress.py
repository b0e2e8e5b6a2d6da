"""How far a command is, on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

import click

PERIOD_SECONDS: Final = 0.5
_STEPS: Final = 1000


class Progress:
    """A bar on standard error for as long as this is open; nothing where that is no terminal, or `hidden`."""

    def __init__(self, *, hidden: bool = False) -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._bar = click.progressbar(
            length=_STEPS,
            file=sys.stderr,
            hidden=self._hidden,
            width=24,
            show_eta=False,
            item_show_func=_shown,
        )
        self._due_seconds = 0.0

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    @property
    def is_due(self) -> bool:
        """Whether somebody sees it and half a second has passed."""
        return not self._hidden and time.monotonic() >= self._due_seconds

    def show(self, fraction: float, text: str) -> None:
        """Draws the bar anew: `fraction` from 0 to 1; never goes back."""
        self._due_seconds = time.monotonic() + PERIOD_SECONDS
        self._bar.current_item = text
        self._bar.update(max(0, int(fraction * _STEPS) - self._bar.pos))
        self._bar.render_progress()


def _shown(text: str | None) -> str | None:
    return text
