"""The gateway's clocks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from can_stream.protocol.clock_record import WALL_PERIOD_SECONDS
from edge_agent.host import clock
from edge_agent.host.clock import Clock


def test_monotonic_time_never_goes_back_and_seconds_are_the_same_clock() -> None:
    ours = Clock()
    before, seconds, after = ours.monotonic_ns(), ours.monotonic_seconds(), ours.monotonic_ns()
    assert before / 1e9 <= seconds <= after / 1e9


def test_a_wall_clock_beyond_what_a_packet_holds_begins_anew() -> None:
    class SetClock(Clock):
        def __init__(self, system_ns: int) -> None:
            self._system_ns = system_ns

        def system_ns(self) -> int:
            return self._system_ns

    period_ns = WALL_PERIOD_SECONDS * 10**9
    assert period_ns < 2**62
    for system_ns, wall_ns in (
        (1_766_417_462 * 10**9, 1_766_417_462 * 10**9),
        (period_ns - 1, period_ns - 1),
        (period_ns, 0),
        (2**63 + 5, 2**63 + 5 - 2 * period_ns),
    ):
        assert SetClock(system_ns).wall_ns() == wall_ns


def test_the_boot_id_is_the_kernels() -> None:
    path = Path("/proc/sys/kernel/random/boot_id")
    if not path.exists():
        pytest.skip("this machine has no /proc")
    assert Clock().boot_id() == path.read_text().strip()


def test_without_a_boot_id_there_is_a_word_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "none")
    assert Clock().boot_id() == "unknown"


def test_synchronised_agrees_with_timedatectl() -> None:
    command = shutil.which("timedatectl")
    if command is None:
        pytest.skip("no timedatectl here to compare with")
    arguments = [command, "show", "-p", "NTPSynchronized", "--value"]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip(f"timedatectl does not work here: {shown.stderr.strip()}")
    assert Clock().synchronised() == (shown.stdout.strip() == "yes")


@pytest.mark.parametrize(("error_us", "expected"), [(0, True), (15_999_999, True), (16_000_000, False)])
def test_a_clock_that_nobody_disciplines_is_not_synchronised(
    monkeypatch: pytest.MonkeyPatch, error_us: int, expected: bool
) -> None:
    monkeypatch.setattr(clock, "_kernel_clock_error_us", lambda: error_us)
    assert Clock().synchronised() is expected


def test_where_the_kernel_cannot_be_asked_timesyncd_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flag = tmp_path / "synchronized"
    monkeypatch.setattr(clock, "_kernel_clock_error_us", lambda: None)
    monkeypatch.setattr(clock, "_TIMESYNCD_FLAG", flag)
    assert Clock().synchronised() is False
    flag.touch()
    assert Clock().synchronised() is True
