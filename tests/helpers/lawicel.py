"""A fake slcan adapter at a pseudo terminal, right and wrong in the ways that adapters are."""

from __future__ import annotations

import os
import pty
import tempfile
import threading
import tty
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from select import select
from types import TracebackType
from typing import Final, Self

DONE: Final = b"\r"
REFUSED: Final = b"\a"
FRAMES: Final = frozenset("tTrRdDbB")
_LOOK_AGAIN_SECONDS: Final = 0.02


class LawicelAdapter:
    """Answers commands like a CANUSB, as long as it is plugged in; its `bus` says what the test says.

    `mute`: never answers. `refuses`: letters of commands answered with BELL. `flags`: the answer to `F`,
    None: BELL. `line_end` ends every answer. `answers`: by letter, others than a CANUSB's, None: silence.
    `deaf`: drops what it hears, as while it restarts. It takes frames where it was opened with `O`: `sent`
    are their lines.
    """

    def __init__(
        self,
        *,
        mute: bool = False,
        refuses: str = "",
        flags: int | None = 0,
        line_end: bytes = DONE,
        deaf: bool = False,
        answers: Mapping[str, bytes | None] | None = None,
    ) -> None:
        self._answers = answers or {}
        self.mute, self.refuses, self.flags, self.deaf = mute, refuses, flags, deaf
        self.commands: list[str] = []
        self.sent: list[str] = []
        self._may_send = False
        self.opened = threading.Event()
        self._line_end = line_end
        self._speaking = threading.Lock()
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.device = os.ttyname(self._theirs)
        # As udev does: a name of its own that goes with the adapter. The number of a terminal is given to the
        # next one, at which whoever still looks for this adapter would open it.
        self._place = tempfile.TemporaryDirectory(prefix="adapter.")
        link = Path(self._place.name) / "port"
        link.symlink_to(self.device)
        self.path = str(link)
        self._unplugged = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def send(self, content: bytes) -> None:
        """Says this, answers between lines only; returns once there was room for all of it, or unplugged."""
        for line in content.splitlines(keepends=True):
            with self._speaking:
                self._write(line)

    def unplug(self) -> None:
        """The port is gone; once more is no harm."""
        if self._unplugged.is_set():
            return
        self._unplugged.set()
        self._place.cleanup()
        self._thread.join()
        with self._speaking:
            os.close(self._theirs)
            os.close(self._ours)

    def _serve(self) -> None:
        heard = b""
        while not self._unplugged.is_set():
            if not select([self._ours], [], [], _LOOK_AGAIN_SECONDS)[0]:
                continue
            *commands, heard = (heard + os.read(self._ours, 4096)).split(DONE)
            for command in commands:
                if not self.deaf:
                    self._obey(command.decode("ascii"))

    def _obey(self, command: str) -> None:
        answer = REFUSED if command[:1] in self.refuses else self._answer(command)
        self.commands.append(command)
        is_opened = command[:1] in ("O", "L") and answer != REFUSED
        if is_opened:
            self._may_send = command[:1] == "O"
        if command[:1] in FRAMES and answer != REFUSED:
            self.sent.append(command)
        if command[:1] in self._answers:
            answer = self._answers[command[:1]] or b""
        with self._speaking:
            if not self.mute:
                self._write(answer)
            if is_opened:  # after its answer: whoever waits for this speaks next
                self.opened.set()

    def _write(self, content: bytes) -> None:
        while content and not self._unplugged.is_set():
            if select([], [self._ours], [], _LOOK_AGAIN_SECONDS)[1]:
                with suppress(BlockingIOError):
                    content = content[os.write(self._ours, content) :]

    def _answer(self, command: str) -> bytes:
        is_open = self.opened.is_set()
        match command[:1]:
            case "V" | "N":
                return {"V": b"V1013", "N": b"NA12F"}[command[:1]] + self._line_end
            case "F" if self.flags is not None and is_open:
                return b"F%02X" % self.flags + self._line_end
            case "C" if is_open:
                self.opened.clear()
                return self._line_end
            case "t" | "r" | "d" | "b" | "T" | "R" | "D" | "B" if is_open and self._may_send:
                return (b"z" if command[:1].islower() else b"Z") + self._line_end
            case "S" | "Y" | "Z" | "O" | "L" if not is_open:
                return self._line_end
        return REFUSED
