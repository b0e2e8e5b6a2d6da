"""Whether the wall clock can be believed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from can_stream import wall_clock
from can_stream.wall_clock import is_synchronised


def test_synchronised_agrees_with_timedatectl() -> None:
    command = shutil.which("timedatectl")
    if command is None:
        pytest.skip("no timedatectl here to compare with")
    arguments = [command, "show", "-p", "NTPSynchronized", "--value"]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip(f"timedatectl does not work here: {shown.stderr.strip()}")
    assert is_synchronised() == (shown.stdout.strip() == "yes")


@pytest.mark.parametrize(("error_us", "expected"), [(0, True), (15_999_999, True), (16_000_000, False)])
def test_a_clock_that_nobody_disciplines_is_not_synchronised(
    monkeypatch: pytest.MonkeyPatch, error_us: int, expected: bool
) -> None:
    monkeypatch.setattr(wall_clock, "_kernel_clock_error_us", lambda: error_us)
    assert is_synchronised() is expected


def test_where_the_kernel_cannot_be_asked_timesyncd_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flag = tmp_path / "synchronized"
    monkeypatch.setattr(wall_clock, "_kernel_clock_error_us", lambda: None)
    monkeypatch.setattr(wall_clock, "_TIMESYNCD_FLAG", flag)
    assert is_synchronised() is False
    flag.touch()
    assert is_synchronised() is True
