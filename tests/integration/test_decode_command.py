"""`edge-agent decode` and `edge-agent dbc lint` as installed, on our own databases and the demo drive."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.processes import installed_command

ROOT: Final = Path(__file__).resolve().parents[2]
DATABASES: Final = sorted((ROOT / "dbc").glob("*.dbc"))


def edge_agent(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*map(str, installed_command("edge-agent")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def databases() -> list[str | Path]:
    return [part for path in DATABASES for part in ("--dbc", path)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "drive.log"
    made = subprocess.run([sys.executable, ROOT / "demo" / "drive.py"], capture_output=True, check=True)
    path.write_bytes(made.stdout)
    return path


def decoded(log: Path, *options: str | Path) -> list[dict[str, Any]]:
    done = edge_agent("decode", log, *databases(), *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_frame_of_the_demo_drive_has_its_message_and_plausible_values(log: Path) -> None:
    frames = decoded(log)
    assert len(frames) == len(log.read_text().splitlines())
    assert all("message" in frame and frame["signals"] for frame in frames)
    speeds = [f["signals"]["WheelBasedVehicleSpeed"] for f in frames if f["id"] == "0x18FEF100"]
    assert speeds[0] < 1
    assert 45 < max(speeds) < 55
    assert not any("undecoded" in frame for frame in frames)


def test_signals_ids_and_raw_numbers_are_chosen(log: Path) -> None:
    frames = decoded(log, "--signals", "*.WheelBasedVehicleSpeed", "--raw")
    assert {frame["id"] for frame in frames} == {"0x18FEF100"}
    assert all(set(frame["signals"]) == {"WheelBasedVehicleSpeed"} for frame in frames)
    assert all(
        f["signals_raw"]["WheelBasedVehicleSpeed"] == f["signals"]["WheelBasedVehicleSpeed"] * 256
        for f in frames
    )
    assert {frame["id"] for frame in decoded(log, "--id", "7E8")} == {"0x7E8"}


def test_csv_has_a_row_for_each_value(log: Path) -> None:
    done = edge_agent("decode", log, *databases(), "--format", "csv", "--id", "7E8", "--raw")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["message"] for row in rows} == {"ObdAnswer1"}
    assert len({row["ts"] for row in rows}) == sum(" 7E8#" in line for line in log.read_text().splitlines())
    assert all(row["raw"] for row in rows)


def test_what_could_not_be_decoded_is_summed_up_and_still_shown(tmp_path: Path) -> None:
    log = tmp_path / "odd.log"
    log.write_text("(1.000000) can0 100#00\n(2.000000) can0 5AA#0102\nno frame\n")
    done = edge_agent("decode", log, *databases())
    short, unknown = (json.loads(line) for line in done.stdout.splitlines())
    assert short["undecoded"]
    assert "message" not in unknown
    assert "1 frames of 1 unknown ids" in done.stderr
    assert "line 3" in done.stderr


def test_errors_are_one_sentence(tmp_path: Path, log: Path) -> None:
    for arguments, said in (
        (("decode", log, "--dbc", tmp_path / "missing.dbc"), "missing.dbc"),
        (("decode", tmp_path / "missing.log", "--dbc", DATABASES[0]), "missing.log"),
    ):
        done = edge_agent(*arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_lint_finds_nothing_wrong_with_our_own_databases_and_names_what_is_wrong_elsewhere(
    tmp_path: Path,
) -> None:
    ours = edge_agent("dbc", "lint", *DATABASES)
    assert ours.returncode == 0
    assert all(": info: " in line for line in ours.stdout.splitlines())
    broken = tmp_path / "broken.dbc"
    broken.write_text(
        'VERSION ""\nBO_ 256 Good: 8 Vector__XXX\n SG_ A : 0|8@1+ (1,0) [0|0] "" Vector__XXX\n'
        "\nBO_ nonsense\n"
    )
    found = edge_agent("dbc", "lint", broken)
    assert found.returncode == 1
    assert f"{broken}:5: error" in found.stdout
