"""What is said of an adapter's lines: faults do not flap, and each has the remedy that fits."""

from __future__ import annotations

import pytest

from edge_agent.bus.slcan_clock import StampReader
from edge_agent.bus.slcan_words import Unread, form_text, remedy_for, shown


def periods(unread: Unread, *each: tuple[int, int]) -> list[str]:
    """The fault after each period with so many lines read and unread."""
    faults = []
    for read, lost in each:
        unread.take(read, 0, [b"t12"] * lost, unread.now_seconds)
        unread.look(unread.now_seconds + 2.0)
        faults.append(unread.fault)
    return faults


def test_a_fault_takes_two_periods_to_come_and_two_to_go() -> None:
    bad, good = (90, 10), (100, 0)
    faults = periods(Unread(0.0), bad, good, bad, bad, good, bad, good, good, good)
    assert faults == ["", "", "", "unreadable", "unreadable", "unreadable", "unreadable", "", ""]


@pytest.mark.parametrize("seldom", [(0, 2), (1_000, 19), (0, 0)])
def test_noise_now_and_then_is_no_fault(seldom: tuple[int, int]) -> None:
    assert periods(Unread(0.0), seldom, seldom, seldom) == ["", "", ""]


def test_nothing_but_lines_that_cannot_be_read_is_a_fault() -> None:
    unread = Unread(0.0)
    assert periods(unread, (0, 200), (0, 200))[-1] == "unreadable"
    assert unread.text("/dev/ttyACM0", 115_200).startswith(
        "200 of 200 lines from /dev/ttyACM0 cannot be read, for example `t12`: it looks like a frame"
    )


def test_what_an_adapter_says_when_it_starts_is_no_line_that_is_lost() -> None:
    unread = Unread(0.0)
    unread.begin(0.0)
    unread.take(0, 0, [b"ets Jul 29 2019 12:21:46", b"#", b"close driver", b"+Board: x\tSlcan: 105"], 1.0)
    assert unread.lines == 0
    unread.take(0, 0, [b"t12", b"????", b"\xff\xfe", b"t123Zabc", b"q1238AABB"], 1.0)
    assert unread.lines == 5
    unread.take(0, 0, [b"ets Jul 29 2019 12:21:46"], 4.0)
    assert unread.lines == 6


def test_noise_without_any_line_has_an_example_too() -> None:
    unread = Unread(0.0)
    unread.take_garbage(b"\xff\x00" * 3_000)
    assert unread.look(0.1)
    assert "is not slcan, for example `\\xff\\x00" in unread.text("/dev/ttyUSB0", 9_600)
    unread.take_garbage(b"")
    assert unread.look(0.2)
    assert unread.fault == ""


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (b"\xf8\x00\xff\x80t", "options.serial_baudrate"),
        (b"????", "options.serial_baudrate"),
        (b"", "options.serial_baudrate"),
        (b"t12Z8AABB", "dialect that is not known"),
        (b"t1A811223344", "dialect that is not known"),
        (b"&t1230", "dialect that is not known"),
        (b"$GPGGA,123519,4807.038,N", "another protocol"),
        (b"ELM327 v1.5", "another protocol"),
        (b"NO DATA", "another protocol"),
        (b"rst:0x1 (POWERON_RESET)", "another protocol"),
        (b"(1436509052.249713) can0 123#00", "another protocol"),
    ],
)
def test_the_remedy_fits_what_the_line_looks_like(line: bytes, remedy: str) -> None:
    assert remedy in remedy_for(shown(line), 115_200)


def test_what_is_shown_is_printable() -> None:
    assert shown(bytes(range(256))).isprintable()
    assert shown(b"t1230\x07") == "`t1230\\x07`"


def test_whose_time_frames_have_is_said() -> None:
    stamps = StampReader()
    assert form_text(stamps, b"", asked=True) == ""
    assert form_text(stamps, b"L", asked=False) == (
        "; frames have the time at which they are read; what stands behind its frames, as `L`, is left out"
    )
