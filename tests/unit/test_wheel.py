"""What a user installs: three packages and nothing beside them, whole, and the same from every build."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from email import message_from_bytes
from hashlib import sha256
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("can_stream", "edge_agent", "stream_server")
DATABASES: Final = sorted(path.name for path in (ROOT / "dbc").glob("*.dbc"))
# An answer to an OBD-II request: 1,726 revolutions per minute.
LOG: Final = "(1736035200.000000) can0 7E8#04410C1AF8000000\n"


def build_wheel(root: Path, directory: Path) -> Path:
    (wheel,) = WheelBuilder(str(root)).build(directory=str(directory), versions=["standard"])
    return Path(wheel)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_puts_three_names_into_site_packages(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        top_level = {name.split("/", 1)[0] for name in archive.namelist()}
    (metadata,) = (name for name in top_level if name.endswith(".dist-info"))
    assert metadata.startswith("can_edge_agent-")
    # What goes beside site-packages: the manual pages.
    assert top_level - {metadata, metadata.replace(".dist-info", ".data")} == set(PACKAGES)


def test_types_and_databases_are_in_it(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert sorted(name.rsplit("/", 1)[1] for name in names if name.endswith(".dbc")) == DATABASES


def test_a_database_of_the_wheel_is_found_by_its_name(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site-packages")
    (tmp_path / "drive.log").write_text(LOG)
    decode = [sys.executable, "-c", "from edge_agent.cli.main import main; main()", "decode", "drive.log"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site-packages")}
    lines = subprocess.run(
        [*decode, "--dbc", "obd2"], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(lines)["signals"]["EngineSpeed"] == 1726


def test_two_builds_are_the_same_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    # Through the source distribution, whose files have other times, places and modes.
    (archive,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(archive) as sources:
        sources.extractall(tmp_path, filter="data")
    (root,) = tmp_path.glob("can_edge_agent-*/")
    for path in root.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    shutil.rmtree(root / "tests")
    again = build_wheel(root, tmp_path / "again")
    assert sha256(again.read_bytes()).hexdigest() == sha256(wheel.read_bytes()).hexdigest()


def test_an_index_shows_a_readme_without_links_that_lead_nowhere(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    text = metadata.get_payload()
    assert isinstance(text, str)
    assert "| docs/edge-agent.md |" in text
    assert [target for target in re.findall(r"\]\(([^)]*)\)", text) if not target.startswith("https:")] == []
