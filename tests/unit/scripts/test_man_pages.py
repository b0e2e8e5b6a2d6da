"""The manual pages say what the help says, and are pages that man takes without a warning."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

from can_stream.command_line.listed_group import ListedGroup
from scripts.man_pages import PROGRAMS, ROOT, page


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_the_pages_are_those_of_the_help(program: ListedGroup) -> None:
    kept = (ROOT / "man" / f"{program.name}.1").read_text()
    assert kept == page(program), "run scripts/man_pages.py"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_every_command_option_and_example_is_in_the_page(program: ListedGroup) -> None:
    plain = page(program).replace("\\-", "-").replace("\\e", "\\")
    groups = {name.split()[0] for name in program.listed if " " in name}
    for name, row in program.listed.items():
        if name in groups:
            continue
        assert f".SS {program.name} {name}" in plain
        assert all(line in plain for example in row.examples for line in example.splitlines())
    assert "--config FILE" in plain
    assert ".B 130" in plain


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_man_takes_it_without_a_warning(program: ListedGroup) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is missing: `apt install groff`")
    file = ROOT / "man" / f"{program.name}.1"
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z", file], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_a_wheel_brings_them_where_man_looks(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(wheel) as archive:
        found = {name.partition(".data/data/")[2] for name in archive.namelist()}
    assert {"share/man/man1/edge-agent.1", "share/man/man1/stream-server.1"} <= found
