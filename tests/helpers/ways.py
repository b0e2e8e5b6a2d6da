"""The ways of docs/architecture.md, and which functions of ours are entered while something goes one."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
_OURS: Final = ("can_stream.", "edge_agent.", "stream_server.")
_LIST: Final = re.compile(
    r"^An? (?P<name>[\w ]+),[^\n]*(?:\n[^\n]+)*\n\n(?P<stops>(?:\d+\. `[\w.]+`\n)+)", re.MULTILINE
)


def read_ways(page: str) -> dict[str, list[str]]:
    """The stops of each way, by what goes it: `frame`, `ack` and so on."""
    section = page.partition("\n## The ways\n")[2].partition("\n## ")[0]
    return {found["name"]: re.findall(r"`(.+)`", found["stops"]) for found in _LIST.finditer(section)}


class Entries:
    """Notes each function of ours that is entered, in this thread and those that start meanwhile, in order.

    A coroutine or a generator that goes on is not entered again.
    """

    def __init__(self) -> None:
        self._names: list[str] = []

    def __enter__(self) -> Self:
        self._before = sys.getprofile(), threading.getprofile()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine, threads = self._before
        sys.setprofile(mine)
        threading.setprofile(threads)

    def begin(self) -> None:
        """Forgets what was entered so far."""
        self._names.clear()

    def of(self, stops: list[str]) -> list[str]:
        """Which of these were entered, each time, in order."""
        return [name for name in list(self._names) if name in stops]

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith(_OURS) and not _goes_on(frame):
            self._names.append(f"{module}.{frame.f_code.co_qualname}")


def _goes_on(frame: FrameType) -> bool:
    # The lower bits of what RESUME is given say behind what: 0 is the beginning (docs.python.org, dis).
    return bool(frame.f_code.co_code[frame.f_lasti + 1] & 3)
