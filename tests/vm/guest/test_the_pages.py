"""The commands of the README and the docs that need systemd or a bus, in their order, as root types them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.pages import PAGES, ROOT, Terminal, blocks_of

ENVIRONMENT: Final = Path("/opt/can-edge-agent")
COMMANDS: Final = ("edge-agent", "stream-server")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OFFLINE: Final[Mapping[str, str]] = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
LEFT_BEHIND: Final = """
edge-agent uninstall --system
systemctl disable --now systemd-networkd systemd-networkd.socket
networkctl reload
ip link delete can0
rm -rf /etc/edge-agent /etc/stream-server /etc/systemd/network/80-can.network* /backups
rm -rf /etc/systemd/system/edge-agent-helper.socket.d
rm -rf /var/lib/edge-agent /var/lib/stream-server /var/lib/private/edge-agent /var/lib/private/stream-server
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """The sources, and the commands as the README's first block of "Install" leaves them.

    The guest has no network, so the environment sees the libraries of another one, pip and hatchling too.
    """
    subprocess.run(["bash", "-c", LEFT_BEHIND], check=False, capture_output=True)
    directory = tmp_path / "can-edge-agent"
    directory.mkdir()
    for name in ("can_stream", "edge_agent", "stream_server", "dbc", "systemd"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    venv.create(ENVIRONMENT)
    site = ENVIRONMENT.joinpath(*Path(sysconfig.get_path("purelib")).parts[-3:])
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    pip = ENVIRONMENT / "bin/pip"
    pip.write_text(f'#!/bin/sh\nexec {ENVIRONMENT}/bin/python -m pip "$@"\n')
    pip.chmod(0o755)
    (wheel,) = Path("/exchange").glob("*.whl")
    subprocess.run(
        [
            ENVIRONMENT / "bin/pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--ignore-installed",
            wheel,
        ],
        check=True,
    )
    for command in COMMANDS:
        Path("/usr/local/bin", command).symlink_to(ENVIRONMENT / "bin" / command)
    yield directory
    subprocess.run(["bash", "-c", LEFT_BEHIND], check=False, capture_output=True)
    for command in COMMANDS:
        Path("/usr/local/bin", command).unlink()
    shutil.rmtree(ENVIRONMENT)


@pytest.mark.timeout(900)
def test_what_needs_systemd_or_a_bus_works_as_it_stands_there(clone: Path) -> None:
    settings = [f"{name}={value}" for name, value in {**OFFLINE, "PATH": PATH, "HOME": "/root"}.items()]
    shell = ["env", "-i", "-C", str(clone), *settings, "bash", "-euo", "pipefail"]
    for page in PAGES:
        with Terminal(shell, {}) as terminal:
            for block in blocks_of(page):
                if block.is_for_the_guest and not block.exception:
                    sys.stdout.write(f"--- {page}, line {block.line}\n{terminal.run(block)}")
