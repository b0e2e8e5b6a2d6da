"""A process of the demo, which does not outlive it, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

STOP_SECONDS: Final = 10.0
LAST_LINES: Final = 20
# Ctrl-C, a service manager, a terminal that is closed, Ctrl-\.
ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_PDEATHSIG: Final = 1  # prctl(2), which only Linux has
_PRCTL: Final = getattr(ctypes.CDLL(None), "prctl", None)


def end_at_signals() -> None:
    """From now on each of ENDINGS is SystemExit with status 0."""
    for number in ENDINGS:
        # What is ignored stays so: `nohup`, and Ctrl-C for what a shell script runs in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(*_: object) -> None:
    _ignore_signals()
    sys.exit(0)


def _ignore_signals() -> None:
    # Once is enough: a second signal must not leave a part behind.
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


class Part:
    """Ended where this is closed. What it writes goes into `log`; `ended` is set once it has ended."""

    def __init__(
        self, command: Sequence[object], log: Path, ended: threading.Event, descriptors: Sequence[int]
    ) -> None:
        self._log, self._ended = log, ended
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        demo = os.getpid()
        # In a session of its own, so that Ctrl-C reaches only this process, which ends all in order.
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            pass_fds=descriptors,
            preexec_fn=lambda: _follow(demo),  # noqa: PLW1509 - the other threads hold no lock of its
        )
        threading.Thread(target=self._read, daemon=True).start()

    @classmethod
    def start(
        cls,
        parts: contextlib.ExitStack,
        command: Sequence[object],
        log: Path,
        ended: threading.Event,
        descriptors: Sequence[int] = (),
    ) -> Self:
        """A part that `parts` closes; it keeps these descriptors open for as long as it runs."""
        with _signals_held():
            part = cls(command, log, ended, descriptors)
            parts.push(part)
        return part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _ignore_signals()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("w") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                self._lines.put(line)
        self._lines.put(None)
        self._ended.set()

    def after(self, beginning: str) -> str:
        """What stands behind these words on the next line that has them; SystemExit where it ends without."""
        while (line := self._lines.get()) is not None:
            if beginning in line:
                return line.partition(beginning)[2].strip()
        raise SystemExit(f"{self._log.stem} has ended. The last that it wrote:\n\n{self.last_lines()}")

    def last_lines(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text().splitlines()[-LAST_LINES:])


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """ENDINGS wait meanwhile, lest one leave a part behind that runs and is not yet among `parts`.

    A thread that is started meanwhile never takes one, else the next wait would hold nothing.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(demo: int) -> None:
    """In the child, before its program: SIGTERM once the demo ends, also where that is killed."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_DFL)
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != demo:  # it has ended before it could be followed
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
