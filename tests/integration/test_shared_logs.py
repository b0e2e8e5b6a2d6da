"""Every recording of the shared folder, with the counts of its index."""

from __future__ import annotations

import csv
from pathlib import Path

import can
import pytest

from can_stream.frames.batches import FrameFlag, concatenate
from can_stream.logs.log_reader import open_log
from can_stream.text.candump_format import format_candump
from tests.helpers.shared_data import KONA, SHARED_DATA

pytestmark = pytest.mark.recorded
INDEX = SHARED_DATA / "logs_index.csv"
# Their CAN objects are filled with a pattern: length code 51, a 31-bit identifier, a request to send.
PATTERNS = {"test_CanMessage.blf": 2, "test_CanFdMessage.blf": 2}


def indexed() -> list[dict[str, str]]:
    if not INDEX.exists():
        return []
    with INDEX.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", indexed(), ids=lambda row: Path(row["path"]).name)
def test_a_recording_is_read_whole(row: dict[str, str]) -> None:
    reader = open_log(SHARED_DATA / row["path"])
    frames = concatenate([batch.frames for batch in reader])
    assert reader.problems == []
    assert reader.frames + sum(reader.others.values()) == reader.items
    assert reader.others.get("transmit requests", 0) == PATTERNS.get(reader.path.name, 0)
    assert reader.frames == len(frames)
    assert (reader.frames > 0) == (reader.path.name not in PATTERNS)
    if row["frames"]:
        assert reader.frames == int(row["frames"])
        extended = (frames.flags & FrameFlag.EXTENDED) != 0
        if row["format"] != "Vector asc":  # whose index does not count them
            assert int(extended.sum()) == int(row["extended"])
            assert len(set(frames.arbitration_id.tolist())) == int(row["ids"])


def test_a_recording_comes_out_as_it_went_in() -> None:
    frames = concatenate([batch.frames for batch in open_log(KONA)])
    assert format_candump(frames, "can0") == KONA.read_bytes()


def test_the_same_drive_in_gvret_and_crtd_is_the_same_frames() -> None:
    folder = SHARED_DATA / "logs" / "SavvyCAN" / "examples"
    gvret, crtd = (
        concatenate([batch.frames for batch in open_log(folder / name)])
        for name in ("GVRET_Log.csv", "CRTD_Log.txt")
    )
    assert gvret.equals(crtd)


def python_can_reads(path: Path) -> list[can.Message]:
    with can.LogReader(path, **({"relative_timestamp": False} if path.suffix == ".asc" else {})) as messages:
        return list(messages)


PEERS = [
    row
    for row in indexed()
    if Path(row["path"]).suffix in (".asc", ".trc", ".blf")
    # python-can takes the patterns for frames, and eight bits for a length code of four.
    and Path(row["path"]).name not in {*PATTERNS, "test_CanErrorFrameExt.blf"}
]


@pytest.mark.parametrize("row", PEERS, ids=lambda row: Path(row["path"]).name)
def test_what_python_can_reads_is_the_same(row: dict[str, str]) -> None:
    path = SHARED_DATA / row["path"]
    frames = concatenate([batch.frames for batch in open_log(path)])
    messages = python_can_reads(path)
    assert frames.arbitration_id.tolist() == [one.arbitration_id for one in messages]
    lengths = frames.data_length().tolist()
    data = [bytes(row[:length]) for row, length in zip(frames.data, lengths, strict=True)]
    assert data == [b"" if one.is_remote_frame else bytes(one.data) for one in messages]
    is_fd = ((frames.flags & FrameFlag.FD) != 0).tolist()
    assert is_fd == [one.is_fd for one in messages] or path.name in MARKED_OTHERWISE


# Classic frames on lines of `CANFD`: Vector's flags say what they are, and asc2log reads them so. An error
# frame on such a line is of neither kind.
MARKED_OTHERWISE = {"test_CanFdMessage.asc", "test_CanFdRemoteMessage.asc", "test_CanErrorFrames.asc"}
