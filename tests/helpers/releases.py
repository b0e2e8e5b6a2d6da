"""Programs of an older release, run beside those of this tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.processes import Argument, installed_command, run_command

# The last one whose two sides spoke version 1 of the wire protocol alone.
VERSION_1: Final = "c11d5d3"
_ROOT: Final = Path(__file__).resolve().parents[2]
_MAIN: Final = {
    "edge-agent": "from edge_agent.cli import main; main()",
    "stream-server": "from stream_server.cli import main; main()",
}


def unpack(commit: str, directory: Path) -> None:
    """Put the tree of a commit of this repository there. Raises LookupError where history is missing."""
    try:
        archive = subprocess.run(["git", "archive", commit], cwd=_ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        raise LookupError("git is missing: it holds the older release") from None
    if archive.returncode:
        said = archive.stderr.decode(errors="replace").strip()
        raise LookupError(f"the older release, commit {commit}, is not in this repository: {said}")
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)


def older_release(commit: str, directory: Path) -> Path:
    """The tree of a commit, and it alone is what its programs import. Skips the test where it is missing."""
    try:
        unpack(commit, directory)
    except LookupError as error:
        pytest.skip(str(error))
    found = run_command([*_python(directory), "import edge_agent; print(edge_agent.__file__)"])
    assert Path(found).is_relative_to(directory), f"another one is run: {found}"
    return directory


def program(name: str, release: Path | None) -> list[Argument]:
    """The command line of a script of the release in that directory; None: of this tree."""
    return installed_command(name) if release is None else [*_python(release), _MAIN[name]]


def _python(release: Path) -> list[Argument]:
    # -P: nothing is imported from where it is started, which is this tree.
    return ["env", f"PYTHONPATH={release}", sys.executable, "-P", "-c"]
