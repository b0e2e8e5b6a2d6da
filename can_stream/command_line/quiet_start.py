"""Ctrl-C while a command is still being loaded: the process ends of it at once, without a traceback."""

from __future__ import annotations

import signal


def end_at_ctrl_c() -> None:
    """Until `take_ctrl_c`. What was started to ignore it, in the background, goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def take_ctrl_c() -> None:
    """It is KeyboardInterrupt again: what is begun from here on is ended in order."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
