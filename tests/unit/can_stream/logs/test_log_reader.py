"""Opening logs: which format, which frames, what could not be read and where."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.logs.log_blocks import MAX_CHANNELS, MAX_LINE_BYTES, MAX_PROBLEMS
from can_stream.logs.log_reader import LogReader, open_log

DATA = Path(__file__).parents[3] / "data" / "logs"
S = 1_000_000_000


def frames_of(reader: LogReader) -> FrameBatch:
    return concatenate([batch.frames for batch in reader])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_text_that_ends_within_a_line_says_so_and_the_line_is_read(tmp_path: Path, packed: bool) -> None:
    text = b"(1.0) can0 123#01\n(2.0) can0 123#01"
    for content, has_open_end in ((text, True), (text + b"\n", False), (text + b"\r", False), (b"", False)):
        log = gzip.compress(content) if packed else content
        reader = open_log(written(tmp_path / "drive.log", log))
        assert len(frames_of(reader)) == (2 if content else 0)
        assert reader.books.has_open_end == has_open_end


def test_every_candump_dialect_in_one_file() -> None:
    reader = open_log(DATA / "dialects.candump.log")
    batches = list(reader)
    frames = concatenate([batch.frames for batch in batches])
    assert reader.format == "candump"
    assert reader.channels == ["can0", "can1", "vcan_long0"]
    assert np.concatenate([batch.channel for batch in batches]).tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 2, 0]
    assert (frames.timestamp_ns - 1_700_000_000 * S).tolist() == [
        *(0, 100_000, 100_000, 50_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000_000)
    ]
    assert frames.dlc().tolist() == [4, 8, 0, 0, 8, 12, 8, 9, 3, 1]
    assert frames.data_length().tolist() == [4, 8, 0, 0, 0, 8, 8, 12, 3, 1]
    assert frames.flags[2] == FrameFlag.TX
    assert frames.flags[6] == FrameFlag.ERROR
    assert (reader.frames, reader.unreadable, reader.others, reader.items) == (
        *(10, 1, {"blank lines": 1, "comments": 1}, 13),
    )
    (problem,) = reader.problems
    assert (problem.line, problem.excerpt) == (12, "user@gateway:~$ candump can0")
    assert "line 12" in str(problem)


def test_human_readable_candump_without_times() -> None:
    reader = open_log(DATA / "human.txt")
    frames = frames_of(reader)
    assert not reader.has_timestamps
    assert frames.timestamp_ns.tolist() == [0, 0, 0]
    assert frames.arbitration_id.tolist() == [0x09F8027F, 0x123, 0x123]


def test_differences_are_found_out_from_the_first_lines(tmp_path: Path) -> None:
    stamps = (0, 900, 20, 870, 30, 850, 40)
    text = b"".join(b" (000.%06d)  can0  123   [0]\n" % stamp for stamp in stamps)
    reader = open_log(written(tmp_path / "d.log", text))
    assert reader.has_timestamps
    assert frames_of(reader).timestamp_ns.tolist() == [1000 * total for total in np.cumsum(stamps)]


def test_gvret() -> None:
    reader = open_log(DATA / "gvret.csv")
    frames = frames_of(reader)
    assert reader.format == "gvret"
    assert reader.channels == ["can0", "can1"]
    assert frames.timestamp_ns.tolist() == [1_000_000, 2_000_000, -5000]
    assert frames.flags.tolist() == [0, FrameFlag.EXTENDED | FrameFlag.TX, 0]
    assert bytes(frames.data[0]) == b"\x01\x02\x03\0\0\0\0\0"
    assert [(problem.line, problem.reason) for problem in reader.problems] == [(5, "fewer than 3 data bytes")]


def test_gvret_columns_follow_the_header(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", b"Bus,LEN,ID,Time Stamp,D1,D2\r\n1,2,7ff,40,AA,BB\r\n1,1,1,50,CC\r\n")
    reader = open_log(path)
    frames = frames_of(reader)
    assert reader.channels == ["can1"]
    assert frames.timestamp_ns.tolist() == [40_000, 50_000]
    assert frames.arbitration_id.tolist() == [0x7FF, 1]
    assert frames.data[:, :2].tolist() == [[0xAA, 0xBB], [0xCC, 0]]


def test_gvret_fd_rows_and_odd_fields(tmp_path: Path) -> None:
    header = b"Time Stamp,ID,Extended,Dir,Bus,LEN," + b",".join(b"D%d" % n for n in range(1, 65)) + b"\n"
    rows = [
        b"1,123,false,Rx,0,12," + b"0A," * 12,
        b"2,0x123,FALSE,tx,12,1,0xB,",
        b"3,800,false,Rx,0,0,",
        b"4,123,maybe,Rx,0,0,",
        b"5,123,false,Rx,0,9," + b"00," * 9,
        b"6,123,false,Rx,999,0,",
        b"7,123,false,Sideways,0,0,",
        b"8,20000000,true,Rx,0,0,",
        b"eight,123,false,Rx,0,0,",
        header.strip(),
    ]
    reader = open_log(written(tmp_path / "fd.csv", header + b"\n".join(rows)))
    frames = frames_of(reader)
    assert frames.flags.tolist() == [FrameFlag.FD, FrameFlag.TX, FrameFlag.EXTENDED]
    assert frames.length.tolist() == [12, 1, 0]
    assert reader.channels == ["can0", "can12"]
    assert [problem.line for problem in reader.problems] == [5, 6, 7, 8, 9, 10]
    assert reader.others == {"header lines": 2}


def test_crtd() -> None:
    reader = open_log(DATA / "drive.crtd")
    frames = frames_of(reader)
    assert reader.format == "crtd"
    assert reader.channels == ["can1", "can2"]
    assert (frames.timestamp_ns - 1_700_000_000 * S).tolist() == [200_000, 1_000_000, 4_000_000]
    assert frames.flags.tolist() == [0, FrameFlag.EXTENDED | FrameFlag.TX, 0]
    assert bytes(frames.data[1][:3]) == b"\x02\x01\x0c"
    assert [(problem.line, problem.reason) for problem in reader.problems] == [
        (6, "identifier FFF has more than 11 bits")
    ]


def test_asc() -> None:
    reader = open_log(DATA / "measurement.asc")
    frames = frames_of(reader)
    assert reader.format == "asc"
    assert reader.channels == ["can0", "can1"]
    assert np.diff(frames.timestamp_ns).tolist() == [1_000_000]
    assert frames.flags.tolist() == [0, FrameFlag.EXTENDED | FrameFlag.TX]


def test_python_can_csv_is_told_from_gvret_and_read_on_behind_a_bad_line() -> None:
    reader = open_log(DATA / "python_can.csv")
    frames = frames_of(reader)
    assert reader.format == "csv"
    assert frames.timestamp_ns.tolist() == [1_700_000_000 * S + 100_000, 1_700_000_000 * S + 300_000]
    assert reader.unreadable == 1
    assert reader.problems[0].line == 3
    assert "nonsense" in reader.problems[0].excerpt


def test_blf_written_by_python_can(tmp_path: Path) -> None:
    import can

    path = tmp_path / "x.blf"
    with can.BLFWriter(path) as writer:
        for number in range(5000):
            stamp = 1_700_000_000 + number / 1000
            writer(can.Message(stamp, number % 0x800, is_extended_id=False, data=[number & 255], channel=0))
        writer(can.Message(1_700_000_010, 5, is_fd=True, bitrate_switch=True, data=bytes(64), channel=1))
    reader = open_log(path)
    frames = frames_of(reader)
    assert reader.format == "blf"
    assert (reader.frames, reader.unreadable) == (5001, 0)
    assert frames.arbitration_id[4999] == 4999 % 0x800
    assert frames.flags[5000] == FrameFlag.EXTENDED | FrameFlag.FD | FrameFlag.BRS
    assert frames.length[5000] == 64

    content = bytearray(path.read_bytes())
    content[200:] = bytes(len(content) - 200)
    damaged = open_log(written(tmp_path / "damaged.blf", bytes(content)))
    assert list(damaged) == []
    assert damaged.unreadable == 1
    assert damaged.problems[0].line is None


def test_trc_lines_that_the_library_drops_are_counted(tmp_path: Path) -> None:
    text = b";$FILEVERSION=1.1\n;$STARTTIME=45000.5\n;\n"
    text += b"     1)         9.0  Rx         0260  2  00 6A \n     2)\n"
    text += b"     3)         x.0  Rx         0260  2  00 6A \n"
    text += b"     4)        12.0  Rx         0261  1  6A \n"
    reader = open_log(written(tmp_path / "x.trc", text))
    assert frames_of(reader).arbitration_id.tolist() == [0x260, 0x261]
    assert [problem.line for problem in reader.problems] == [5, 6]


def test_an_overlong_line_of_a_library_format_is_one_fault(tmp_path: Path) -> None:
    lines = (DATA / "python_can.csv").read_bytes().splitlines(keepends=True)
    path = written(tmp_path / "x.csv", b"".join([*lines[:2], b"x" * 100_000 + b"\n", lines[3]]))
    reader = open_log(path)
    assert len(frames_of(reader)) == 2
    assert [problem.line for problem in reader.problems] == [3]


def test_mf4_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("asammdf") is not None:
        pytest.skip("asammdf is installed")
    with pytest.raises(LogError, match=r"python-can\[mf4\]"):
        open_log(written(tmp_path / "x.mf4", b"MDF     4.10"))


@pytest.mark.parametrize(
    "name",
    ["dialects.candump.log", "human.txt", "gvret.csv", "drive.crtd", "measurement.asc", "python_can.csv"],
)
def test_compressed_logs_read_the_same(name: str, tmp_path: Path) -> None:
    plain = open_log(DATA / name)
    packed = open_log(written(tmp_path / f"{name}.gz", gzip.compress((DATA / name).read_bytes())))
    assert frames_of(plain).equals(frames_of(packed))
    assert (packed.format, packed.unreadable) == (plain.format, plain.unreadable)


def test_damaged_compression_keeps_what_came_before(tmp_path: Path) -> None:
    text = b"".join(b"(%d.000000) can0 123#%08X\n" % (n, n * 2654435761 % 2**32) for n in range(100_000))
    packed = gzip.compress(text)
    reader = open_log(written(tmp_path / "x.log.gz", packed[: len(packed) // 2]))
    frames = frames_of(reader)
    assert 0 < len(frames) < 100_000
    assert reader.unreadable == 1
    assert "cannot be read on" in reader.problems[0].reason


@pytest.mark.parametrize("name", ["x.log", "x.csv", "x.crtd", "x.asc", "x.trc", "x", "x.log.gz"])
def test_an_empty_file_has_no_frames_and_no_faults(name: str, tmp_path: Path) -> None:
    content = gzip.compress(b"") if name.endswith(".gz") else b""
    reader = open_log(written(tmp_path / name, content))
    assert list(reader) == []
    assert (reader.frames, reader.unreadable) == (0, 0)


def test_what_is_no_log_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "holiday.jpg", bytes(range(256)) * 20)
    with pytest.raises(LogError, match=r"holiday\.jpg: not a log of a known format") as refused:
        open_log(path)
    assert refused.value.path == path


def test_missing_files_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="No such file"):
        open_log(tmp_path / "missing.log")
    with pytest.raises(LogError, match="Is a directory"):
        open_log(tmp_path)
    with pytest.raises(LogError, match="unknown log format 'holiday'"):
        open_log(DATA / "gvret.csv", format="holiday")
    with pytest.raises(LogError, match="not a BLF log"):
        open_log(DATA / "gvret.csv", format="blf")


def test_the_format_can_be_forced() -> None:
    reader = open_log(DATA / "gvret.csv", format="crtd")
    assert list(reader) == []
    assert reader.unreadable == 5


def test_only_the_first_problems_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    lines = [b"(1.0) can0 123#11"] + [b"garbage %d" % number for number in range(1000)]
    reader = open_log(written(tmp_path / "x.log", b"\n".join(lines)))
    assert len(frames_of(reader)) == 1
    assert reader.unreadable == 1000
    assert [problem.line for problem in reader.problems] == list(range(2, 2 + MAX_PROBLEMS))


def test_overlong_lines_are_one_fault_each(tmp_path: Path) -> None:
    good = b"(1.000000) can0 123#11\n"
    path = tmp_path / "x.log"
    written(path, good + b"x" * 3_000_000 + b"\n" + good + b"y" * (MAX_LINE_BYTES + 1) + b"\n" + good)
    reader = open_log(path)
    assert len(frames_of(reader)) == 3
    assert [problem.line for problem in reader.problems] == [2, 4]
    assert all(len(problem.excerpt) < 200 for problem in reader.problems)


def test_zero_bytes_are_counted_and_not_shown(tmp_path: Path) -> None:
    frame, zeros = b"(1.000000) can0 123#01\n", b"\0" * 100
    (tmp_path / "cut.log").write_bytes(frame + zeros + frame + b"\0" * 5000 + frame + zeros)
    reader = open_log(tmp_path / "cut.log")
    assert sum(len(batch.frames) for batch in reader) == 1
    assert [(problem.line, problem.reason, problem.excerpt) for problem in reader.problems] == [
        (2, "100 zero bytes stand before it", "(1.000000) can0 123#01"),
        (3, "line longer than 4096 bytes, which begins with zero bytes", ""),
        (4, "100 zero bytes, as a loss of power leaves them", ""),
    ]


def test_a_log_of_endless_channel_names_is_bounded(tmp_path: Path) -> None:
    lines = [b"(1.000000) c%d 123#11" % number for number in range(1000)]
    reader = open_log(written(tmp_path / "x.log", b"\n".join(lines)))
    assert len(frames_of(reader)) == MAX_CHANNELS
    assert len(reader.channels) == MAX_CHANNELS
    assert reader.unreadable == 1000 - MAX_CHANNELS
    assert reader.problems[0].line == MAX_CHANNELS + 1


def test_python_can_stays_unloaded_for_our_own_formats() -> None:
    code = (
        "import sys; from pathlib import Path; from can_stream.logs.log_reader import open_log;"
        f"list(open_log(Path({str(DATA / 'gvret.csv')!r}))); assert 'can' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_prompt_with_the_word_date_does_not_make_it_a_vector_log(tmp_path: Path) -> None:
    path = written(tmp_path / "x.txt", b"date of the drive unknown\n(1.000000) can0 123#11\n")
    assert open_log(path).format == "candump"


@pytest.mark.parametrize("compressed", [False, True])
def test_how_far_a_log_is_read_grows_to_its_size(tmp_path: Path, compressed: bool) -> None:
    text = b"".join(b"(%d.000000) can0 123#%08X\n" % (number, number) for number in range(40_000))
    path = tmp_path / "drive.log"
    path.write_bytes(gzip.compress(text) if compressed else text)
    reader = open_log(path)
    seen = [reader.bytes_read for _ in reader]
    assert seen == sorted(seen)
    assert reader.size_bytes is not None
    assert 0 < seen[0] < reader.size_bytes or compressed
    assert reader.bytes_read == reader.size_bytes == path.stat().st_size
