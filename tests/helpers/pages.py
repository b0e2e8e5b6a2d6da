"""The commands that README.md and docs/*.md tell a reader to run, and a terminal that runs them so."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

import msgspec

# The guest has the tests alone where they are on the host, and the whole tree beside them.
ROOT: Final = Path("/src") if "IN_GUEST" in os.environ else Path(__file__).resolve().parents[2]
PAGES: Final = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# These need systemd or a bus of the kernel, which no bare root has; the guest of the lane `vm` has both.
_GUEST: Final = re.compile(
    r"systemctl|journalctl|sysctl|install --system|socketcan:|type vcan|/var/lib/|edge-agent (status|doctor)"
)
EXCEPTED: Final[Mapping[str, Mapping[str, str]]] = {
    "docs/development.md": {
        "make test": "an hour, and nothing else than continuous integration does",
        "sudo apt install curl": "a browser and a guest, which .ci/run installs and builds so",
        ".venv/bin/python scripts/lanes.py unit property": "ten minutes of tests, measured",
        ".venv/bin/pytest tests/vm": "boots the guest, which the lane vm does all the time",
    },
    "docs/performance.md": {"make bench": "35 minutes in which nothing else may run"},
}
"""What is not run, by page and beginning, and why. No reader's first day needs one of these."""

STAYS: Final[Mapping[str, str]] = {
    "make demo": "Ctrl-C ends it all",
    "stream-server run": "sign in with",
    "curl -N": "event: ",
    "journalctl -u edge-agent -f": "streaming to",
    "edge-agent simulate --dbc demo-vehicle --to socketcan:vcan0 ": "frames per second",
}
"""Commands that go on until Ctrl-C, and what they have written once they do what they are for."""

_PATIENCE_SECONDS: Final = 30.0
_PREAMBLE: Final = """
set -m
trap 'for job in $(jobs -p); do kill -INT -- "-$job" || true; done; wait' EXIT
command -v sudo > /dev/null || sudo() { "$@"; }
stays() {
  local ready=$1 log problem=; log=$(mktemp); shift
  "$@" > "$log" 2>&1 < /dev/null &
  SECONDS=0
  until grep -q -e "$ready" "$log"; do
    [ $SECONDS -lt 400 ] || { problem="it is not ready after 400 s"; break; }
    kill -0 $! 2> /dev/null || { problem="it ended"; break; }
    sleep 0.1
  done
  cat "$log"
  [ -z "$problem" ] || { echo "$problem"; return 1; }
}
"""


class Block(msgspec.Struct, frozen=True):
    """A fenced block of commands; `line` is that of its first command."""

    page: str
    line: int
    commands: str

    @property
    def is_for_the_guest(self) -> bool:
        """Whether it needs systemd or a bus of the kernel."""
        return _GUEST.search(self.commands) is not None

    @property
    def exception(self) -> str | None:
        """The beginning by which EXCEPTED names it, None for a block that is run."""
        beginnings = EXCEPTED.get(self.page, {})
        return next((one for one in beginnings if self.commands.startswith(one)), None)


def fences_of(text: str) -> list[tuple[str, str, int]]:
    """Language, content and first line of every fenced block."""
    return [(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in _FENCE.finditer(text)]


def blocks_of(page: str) -> list[Block]:
    """The commands of a page, in order."""
    fences = fences_of((ROOT / page).read_text())
    return [Block(page, line, content) for language, content, line in fences if language == "sh"]


class Terminal:
    """One shell in which blocks run one after the other, as typed; what stays is interrupted at the end.

    `shell` is a command whose standard input is a script of bash with `errexit`.
    """

    def __init__(self, shell: Sequence[str | Path], substitutes: Mapping[str, str]) -> None:
        self._substitutes = substitutes
        self._process = subprocess.Popen(
            shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        self._input.write(_PREAMBLE)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def run(self, block: Block, timeout_seconds: float = 500.0) -> str:
        """What the block wrote. AssertionError where one of its commands fails or does not end."""
        end = f"{uuid4().hex}\n"
        with contextlib.suppress(BrokenPipeError):
            self._input.write(f"{{\n{self._typed(block.commands)}}} < /dev/null\nprintf {end!r}\n")
            self._input.flush()
        written = self._read_until(end, time.monotonic() + timeout_seconds)
        if written.endswith(end):
            return written.removesuffix(end)
        raise AssertionError(f"{block.page}, line {block.line}:\n{block.commands}said\n{written}")

    def _read_until(self, end: str, deadline_seconds: float) -> str:
        written = b""
        # Not by lines: what a command has left running may hold the output open for ever.
        while not written.endswith(end.encode()):
            left = deadline_seconds - time.monotonic()
            if left <= 0 or not select.select([self._output], [], [], left)[0]:
                return f"{written.decode(errors='replace')}\nand did not end"
            piece = os.read(self._output.fileno(), 65_536)
            if not piece:
                break
            written += piece
        return written.decode(errors="replace")

    def _typed(self, commands: str) -> str:
        for placeholder, value in self._substitutes.items():
            commands = commands.replace(placeholder, value)
        lines = commands.splitlines(keepends=True)
        return "".join(f"{_stays(line)}{line}" for line in lines)


def _stays(line: str) -> str:
    ready = next((ready for command, ready in STAYS.items() if line.startswith(command)), None)
    return "" if ready is None else f"stays '{ready}' "
