"""A process whose standard input, output or error is closed goes on, and gives no file of its that number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from can_stream import standard_streams

CLOSED = ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
LOOK = f"""
import os, sys
from {standard_streams.__name__} import open_closed_streams
open_closed_streams()
here = os.open(os.environ["HERE"], os.O_WRONLY | os.O_CREAT)
assert here > 2, here
assert sys.stdin.read() == ""
print("out", flush=True), print("error", file=sys.stderr)
os.system("echo a child; echo a child >&2")
os.write(here, b"done")
"""


def closed(redirections: str, *command: str, here: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with these descriptors closed."""
    shell = ["sh", "-c", f'exec "$@" {redirections}', "sh", *command]
    environment = {"HERE": str(here), "PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        shell,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("redirections", CLOSED)
def test_what_is_closed_leads_nowhere(redirections: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    result = closed(redirections, sys.executable, "-c", LOOK, here=here)
    assert (result.returncode, here.read_text()) == (0, "done"), result.stderr
    assert result.stdout in ("", "out\na child\n")


def test_a_secret_from_a_closed_standard_input_is_missing_in_words(tmp_path: Path) -> None:
    code = "from edge_agent.cli.main import main; main()"
    options = [
        "--server",
        "http://127.0.0.1:1",
        "--agent-id",
        "x",
        "--token-file",
        "-",
        "--out",
        str(tmp_path / "t"),
    ]
    result = closed("<&-", sys.executable, "-c", code, "enroll", *options, here=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")


def test_only_what_is_closed_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = sys.stdout
    monkeypatch.setattr(sys, "stdin", None)
    standard_streams.open_closed_streams()
    with sys.stdin as nowhere:
        assert nowhere.read() == ""
    assert sys.stdout is kept
