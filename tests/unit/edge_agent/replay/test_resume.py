"""A replay is taken up again under its own start id, and nothing else is."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from can_stream.protocol.identity import START_ID_BYTES
from edge_agent.errors import ReplayError
from edge_agent.logs.selection import Selection, parse_id_range, parse_time_bound
from edge_agent.replay.resume import resumed_start_id
from tests.helpers.signal_tables import gear_table, odd_values_table


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    path = tmp_path / "drive.log"
    path.write_text("(1.000000) can0 100#01\n")
    return path


def start_id(path: Path, drive: Path, **changes: Any) -> str:
    selected = {name: changes.pop(name) for name in ("start", "end", "ids", "channels") if name in changes}
    selection = Selection([drive], **selected)
    return resumed_start_id(
        path, selection, changes.pop("agent_id", "van7"), changes.pop("flush", 0.05), **changes
    )


def test_the_same_replay_has_the_same_start(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "resume.json"
    first = start_id(path, drive)
    assert len(bytes.fromhex(first)) == START_ID_BYTES
    assert start_id(path, drive) == first
    assert start_id(tmp_path / "other.json", drive) != first


def test_the_same_log_by_another_way_is_the_same(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resume.json"
    first = start_id(path, drive)
    monkeypatch.chdir(tmp_path)
    assert start_id(path, Path("drive.log")) == first


def test_channels_in_another_order_are_the_same(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "resume.json"
    first = start_id(path, drive, channels={"can0": "a", "can1": "b"})
    assert start_id(path, drive, channels={"can1": "b", "can0": "a"}) == first


@pytest.mark.parametrize(
    "changes",
    [
        {"start": parse_time_bound("1")},
        {"end": parse_time_bound("1")},
        {"ids": [parse_id_range("100")]},
        {"channels": {"can0": "engine"}},
        {"agent_id": "van8"},
        {"flush": 0.1},
        {"table": gear_table()},
    ],
)
def test_another_replay_is_refused_for_its_numbers_would_mean_other_frames(
    changes: dict[str, Any], drive: Path, tmp_path: Path
) -> None:
    path = tmp_path / "resume.json"
    start_id(path, drive)
    before = path.read_bytes()
    with pytest.raises(ReplayError, match="belongs to another replay: the same logs, databases"):
        start_id(path, drive, **changes)
    assert path.read_bytes() == before


def test_other_databases_are_another_replay(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "resume.json"
    first = start_id(path, drive, table=gear_table())
    assert start_id(path, drive, table=gear_table()) == first
    for other in (odd_values_table(), None):
        with pytest.raises(ReplayError, match="belongs to another replay"):
            start_id(path, drive, table=other)


def test_a_log_that_was_changed_is_another_one(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "resume.json"
    start_id(path, drive)
    status = drive.stat()
    os.utime(drive, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    with pytest.raises(ReplayError, match="belongs to another replay"):
        start_id(path, drive)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"start_id":"zz","replays":""}',
        b'{"start_id":"' + b"0" * 200_000,
        b"[" * 9000,
    ],
)
def test_what_is_no_resume_file_is_said_and_kept(content: bytes, drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_bytes(content)
    with pytest.raises(ReplayError, match=r"precious\.txt is no resume file .*; name another"):
        start_id(path, drive)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_used_is_said(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot be read: Is a directory"):
        start_id(tmp_path, drive)
    with pytest.raises(ReplayError, match="cannot be written: No such file or directory"):
        start_id(tmp_path / "none" / "resume.json", drive)


def test_only_its_owner_reads_it_and_nothing_is_left_beside_it(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / "resume" / "resume.json"
    path.parent.mkdir()
    start_id(path, drive)
    assert [entry.name for entry in path.parent.iterdir()] == ["resume.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_place_among_other_frames_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, path = tmp_path / "drive.asc", tmp_path / "resume.json"
    log.write_text("base hex timestamps absolute\n 0.1 1 123 Rx d 1 0A\n")
    with monkeypatch.context() as before:  # a release whose reader left out the first frame
        before.setattr("edge_agent.replay.resume._READERS", {})
        start_id(path, log)
    with pytest.raises(ReplayError, match="belongs to another replay"):
        start_id(path, log)
    path.unlink()
    assert start_id(path, log) == start_id(path, log)
