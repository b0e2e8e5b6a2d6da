"""Which frames of which logs are played: bounds, ids, names, and what is said of the logs themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from can_stream.errors import LogError
from edge_agent.errors import ReplayError
from edge_agent.logs import selected_frames
from edge_agent.logs.selected_frames import SelectedFrames, check_logs, shifted
from edge_agent.logs.selection import (
    IdRange,
    Selection,
    TimeBound,
    parse_id_range,
    parse_start_time,
    parse_time_bound,
)

SECOND_NS = 10**9
FIRST_NS = 1_766_417_462 * SECOND_NS  # 2025-12-22T15:31:02Z
DRIVE = """\
(1766417462.000000) can0 100#01
(1766417463.000000) can1 7E8#02
(1766417464.000000) can0 18DAF110#03
(1766417465.000000) can0 7FF#04
(1766417466.000000) can1 000007E8#05
"""


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    path = tmp_path / "drive.log"
    path.write_text(DRIVE)
    return path


def played(source: SelectedFrames) -> list[tuple[str, int]]:
    """The channel and the first byte of every frame, which says its place in the log."""
    rows = []
    for frames, channel in source:
        names = [source.channels[number] for number in channel]
        rows += list(zip(names, frames.data[:, 0].tolist(), strict=True))
    return rows


def numbers(path: Path, **selection: Any) -> list[int]:
    return [number for _, number in played(SelectedFrames(Selection([path], **selection)))]


# -- what nothing fits


def test_what_of_the_selection_nothing_fits_is_said(drive: Path) -> None:
    ids = [parse_id_range(text) for text in ("7E8", "123", "700-7E0", "18DAF111")]
    source = SelectedFrames(Selection([drive], ids=ids, channels={"can1": "bus", "can5": "x"}))
    assert len(played(source)) == 1
    assert source.unmatched == [
        "--id 123: no frame has it",
        "--id 700-7E0: no frame has it",
        "--id 18DAF111: no frame has it",
        "--map can5=x: no channel is called can5; there is can0, can1",
    ]


def test_a_selection_that_fits_has_nothing_to_be_said(drive: Path) -> None:
    source = SelectedFrames(Selection([drive], ids=[parse_id_range("100")], channels={"can1": "bus"}))
    assert played(source) == [("can0", 1)]
    assert source.unmatched == []


# -- bounds


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [1, 2, 3, 4, 5]),
        ("1", None, [2, 3, 4, 5]),
        ("1.5", "3", [3]),
        (None, "0", []),
        ("2025-12-22T15:31:04", None, [3, 4, 5]),
        ("2025-12-22T15:31:03Z", "2025-12-22T15:31:05Z", [2, 3]),
        ("2025-12-22T16:31:04+01:00", None, [3, 4, 5]),
        ("1", "2025-12-22T15:31:05", [2, 3]),
    ],
)
def test_a_frame_at_the_start_is_played_and_one_at_the_end_is_not(
    start: str | None, end: str | None, expected: list[int], drive: Path
) -> None:
    bounds = [None if text is None else parse_time_bound(text) for text in (start, end)]
    assert numbers(drive, start=bounds[0], end=bounds[1]) == expected


def test_seconds_count_from_the_first_frame_of_each_log(drive: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.log"
    later.write_text(DRIVE.replace("(17664174", "(17664274"))
    source = SelectedFrames(Selection([drive, later], start=parse_time_bound("3")))
    assert [number for _, number in played(source)] == [4, 5, 4, 5]


def test_the_first_frame_counts_though_it_is_not_selected_and_lies_blocks_before(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("".join(f"({1000 + n}.000000) can0 100#{n:02X}\n" for n in range(200)))
    source = SelectedFrames(Selection([path], start=parse_time_bound("197")), block_bytes=64)
    assert [number for _, number in played(source)] == [197, 198, 199]


def test_times_are_exact_to_the_microsecond() -> None:
    assert parse_time_bound("2025-12-22T15:31:02.123457Z") == TimeBound(FIRST_NS + 123_457_000, True)
    assert parse_time_bound("0.000001") == TimeBound(1000, False)
    assert parse_time_bound("-2") == TimeBound(-2 * SECOND_NS, False)


@pytest.mark.parametrize("text", ["", "noon", "12:00", "1,5", "inf", "2025-13-01T00:00:00", "1s"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="neither seconds nor a time like 2025-01-05T08:00:00"):
        parse_time_bound(text)


# -- ids


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["100"], [1]),
        (["7E8"], [2]),
        (["000007E8"], [5]),
        (["0x7e8", "18DAF110"], [2, 3]),
        (["700-7FF"], [2, 4]),
        (["0-7FF"], [1, 2, 4]),
        (["0000-1FFFFFFF"], [3, 5]),
        (["7E9"], []),
    ],
)
def test_ids_are_selected_by_value_and_kind(texts: list[str], expected: list[int], drive: Path) -> None:
    assert numbers(drive, ids=[parse_id_range(text) for text in texts]) == expected


def test_ids_and_bounds_count_together(drive: Path) -> None:
    assert numbers(drive, ids=[parse_id_range("700-7FF")], start=parse_time_bound("2")) == [4]


def test_a_range_is_extended_where_either_end_is() -> None:
    assert parse_id_range("0-0x0800") == IdRange(0, 0x800, is_extended=True)
    assert parse_id_range(" 7e0 - 7ef ") == IdRange(0x7E0, 0x7EF, is_extended=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no arbitration id"),
        ("0x", "is no arbitration id"),
        ("7G8", "is no arbitration id"),
        ("1-2-3", "is no arbitration id"),
        ("-7E8", "is no arbitration id"),
        ("+7E8", "is no arbitration id"),
        ("800", "is out of range"),
        ("7FF-700", "is out of range"),
        ("20000000", "is out of range"),
        ("F" * 5000, "is out of range"),
    ],
)
def test_what_is_no_id_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_id_range(text)


# -- channels


def test_channels_are_renamed_and_may_become_one(drive: Path) -> None:
    source = SelectedFrames(Selection([drive], channels={"can0": "engine", "can9": "none"}))
    assert played(source)[:2] == [("engine", 1), ("can1", 2)]
    assert source.channels == ["engine", "can1"]
    source = SelectedFrames(Selection([drive], channels={"can0": "both", "can1": "both"}))
    assert {name for name, _ in played(source)} == {"both"}
    assert source.channels == ["both"]


def test_a_channel_has_one_number_in_all_logs(drive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_text("(1766417470.000000) can1 001#09\n(1766417471.000000) can2 001#0A\n")
    source = SelectedFrames(Selection([drive, other]))
    assert played(source)[-2:] == [("can1", 9), ("can2", 10)]
    assert source.channels == ["can0", "can1", "can2"]


# -- the logs themselves


def test_how_far_it_is_grows_to_all_of_all_logs(drive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_text(DRIVE)
    source = SelectedFrames(Selection([drive, other]), block_bytes=64)
    assert source.fraction == 0
    fractions = [*(source.fraction for _ in source), source.fraction]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 4
    assert any(0.5 < one < 1 for one in fractions)
    assert fractions[-1] == 1.0


def test_an_empty_log_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "empty.log"
    path.touch()
    source = SelectedFrames(Selection([path]))
    assert source.fraction == 1.0


def test_a_second_pass_gives_the_same_under_the_same_numbers(drive: Path) -> None:
    source = SelectedFrames(Selection([drive]))
    first = played(source)
    assert played(source) == first
    assert source.channels == ["can0", "can1"]
    assert source.fraction == 1.0


def test_what_cannot_be_read_is_counted_over_all_logs_and_the_rest_is_played(tmp_path: Path) -> None:
    paths = []
    for name in ("a.log", "b.log"):
        path = tmp_path / name
        path.write_text(DRIVE + "garbage\n(1.0) can0 XYZ#00\n")
        paths.append(path)
    source = SelectedFrames(Selection(paths))
    assert len(played(source)) == 10
    assert source.unreadable == 4
    assert [(one.path, one.line) for one in source.problems] == [
        (paths[0], 6),
        (paths[0], 7),
        (paths[1], 6),
        (paths[1], 7),
    ]


def test_who_stops_reading_early_still_learns_what_was_wrong(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.000000) can0 100#01\ngarbage\n" + DRIVE)
    source = SelectedFrames(Selection([path, path]))
    for _ in source:
        break
    assert source.unreadable == 1
    assert [problem.line for problem in source.problems] == [2]


def test_a_log_that_holds_no_times_is_named(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "shown.log"
    path.write_text("  can0  123   [2]  01 02\n  can0  124   [1]  03\n")
    source = SelectedFrames(Selection([drive, path]))
    assert len(played(source)) == 7
    assert [book.path for book in source.books if not book.has_timestamps] == [path]


def test_logs_are_checked_before_anything_is_played(drive: Path, tmp_path: Path) -> None:
    check_logs([drive])
    with pytest.raises(ReplayError, match="name at least one log"):
        check_logs([])
    with pytest.raises(LogError, match=r"missing\.log"):
        check_logs([drive, tmp_path / "missing.log"])
    picture = tmp_path / "picture.log"
    picture.write_bytes(b"\xff\xd8\xff\xe0" * 500)
    with pytest.raises(LogError, match=r"picture\.log"):
        check_logs([picture])


def test_a_pipe_is_left_for_who_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setattr(selected_frames, "was_closed", lambda _: True)
    with pytest.raises(ReplayError, match="standard input is closed"):
        check_logs([Path("-")])
    monkeypatch.setattr(selected_frames, "was_closed", lambda _: False)
    check_logs([fifo, Path("-")])  # opening it would wait for who writes
    assert Selection([fifo]).is_stream
    with pytest.raises(ReplayError, match="standard input can be read once"):
        check_logs([Path("-"), Path("/dev/stdin")])


# -- logs without a date

COUNTING = "(0.500000) can0 100#01\n(1.500000) can0 100#02\n"


def test_logs_without_a_date_move_together_to_the_start_time(drive: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text(COUNTING)
    second.write_text(COUNTING.replace("(0", "(7"))
    start_ns = parse_start_time("2025-01-05T09:00:00+01:00")
    assert start_ns == parse_start_time("2025-01-05T08:00:00") == 1_736_064_000 * SECOND_NS
    source = SelectedFrames(Selection([first, drive, second], start_time_ns=start_ns))
    times = [int(ns) for frames, _ in source for ns in frames.timestamp_ns]
    assert [(one - start_ns) / SECOND_NS for one in times[:2]] == [0, 1]
    assert times[2] == FIRST_NS
    assert [(one - start_ns) / SECOND_NS for one in times[7:]] == [7, 1]


def test_bounds_count_from_the_start_time(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(COUNTING)
    start_ns = parse_start_time("2025-01-05T08:00:00")
    bound = parse_time_bound("2025-01-05T08:00:01")
    assert numbers(path, start=bound, start_time_ns=start_ns) == [2]


def test_a_start_time_moves_no_time_out_of_range() -> None:
    times = np.array([-(2**63), 0, 2**63 - 1])
    assert shifted(times, 5).tolist() == [-(2**63) + 5, 5, 2**63 - 1]
    assert shifted(times, -5).tolist() == [-(2**63), -5, 2**63 - 6]


@pytest.mark.parametrize("text", ["soon", "1", "3000-01-01T00:00:00"])
def test_what_is_no_start_time_is_refused(text: str) -> None:
    if text == "1":
        assert parse_start_time(text) == SECOND_NS
        return
    with pytest.raises(ValueError, match=text):
        parse_start_time(text)


def test_bounds_that_leave_nothing_are_said_with_where_the_frames_are(drive: Path) -> None:
    source = SelectedFrames(Selection([drive], start=parse_time_bound("2026-06-01T00:00:00")))
    assert played(source) == []
    (said,) = source.unmatched
    assert said == (
        "--start: no frame lies there; they are from 2025-12-22T15:31:02.000000Z to "
        "2025-12-22T15:31:06.000000Z"
    )


def test_books_are_those_of_the_last_pass_over_each_log(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.log"
    path.write_text(DRIVE + "garbage\n# said\n")
    source = SelectedFrames(Selection([drive, path]))
    for _ in range(3):
        played(source)
    assert [(book.path, book.items, book.frames, book.unreadable) for book in source.books] == [
        (drive, 5, 5, 0),
        (path, 7, 5, 1),
    ]
    assert source.unreadable == len(source.problems) == 1
