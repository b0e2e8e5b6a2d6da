"""The gateway's clocks."""

from __future__ import annotations

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
