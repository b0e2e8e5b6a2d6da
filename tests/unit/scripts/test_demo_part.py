"""The demo's parts end with it, whenever its end is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
# A signal that arrives between the start of a part and the return of what starts it.
DEMO: Final = """
import contextlib, os, pathlib, subprocess, sys, threading, time
from scripts.demo_part import Part, end_at_signals

class Interrupted(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        started.append(self)
        if len(started) == int(sys.argv[2]):
            os.kill(os.getpid(), int(sys.argv[3]))
            time.sleep(0.1)  # a thread that takes signals has it by then

started, subprocess.Popen = [], Interrupted
end_at_signals()
try:
    with contextlib.ExitStack() as parts:
        for log in ("first", "second"):
            command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
            part = Part.start(parts, command, pathlib.Path(sys.argv[1], log), threading.Event())
            part.after("up")
finally:
    print([process.wait(0) for process in started])
"""


@pytest.mark.parametrize("number", [2, 15, 3], ids=["SIGINT", "SIGTERM", "SIGQUIT"])
@pytest.mark.parametrize("which", [1, 2])
def test_a_signal_while_a_part_starts_leaves_none_behind(tmp_path: Path, which: int, number: int) -> None:
    command = [sys.executable, "-c", DEMO, str(tmp_path), str(which), str(number)]
    demo = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (demo.returncode, demo.stderr) == (0, "")
    assert demo.stdout == f"{[-15] * which}\n"
