"""The record as a file of the runtime directory."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from can_stream.protocol.relay_control import Cursor, Totals
from edge_agent.errors import RelayError
from edge_agent.relay.record import RECORD_BYTES
from edge_agent.relay.record_file import open_record

WORKER = """
import sys
from pathlib import Path
from can_stream.protocol.relay_control import Cursor, Totals
from edge_agent.relay.record_file import open_record
record = open_record(Path(sys.argv[1]), "van-can0", "boot", 1_000)
position = 0
while True:
    position += 1
    record.settle(Cursor("other-can0", "00" * 8, position), 2_000, Totals(sent=1))
    print(position, flush=True)
"""


def test_a_process_that_is_killed_leaves_all_that_it_had_settled(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    (cursor,) = open_record(tmp_path, "van-can0", "boot", 9_000).cursors()
    assert cursor.position == cursor.totals.sent
    assert cursor.position in (told[-1], told[-1] + 1)


def test_it_is_for_this_user_alone_and_its_pages_are_there(tmp_path: Path) -> None:
    record = open_record(tmp_path, "van-can0", "boot", 1_000)
    record.settle(Cursor("other-can0", "00" * 8, 1), 2_000, Totals(sent=1))
    (path,) = tmp_path.iterdir()
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o600, RECORD_BYTES)
    assert open_record(tmp_path, "van-can1", "boot", 1_000).record_id != record.record_id
    assert open_record(tmp_path, "van-can0", "boot", 3_000).record_id == record.record_id


def test_one_that_is_too_short_begins_anew(tmp_path: Path) -> None:
    first = open_record(tmp_path, "van-can0", "boot", 1_000)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"x")
    second = open_record(tmp_path, "van-can0", "boot", 3_000)
    assert (second.is_new, second.floor_ns) == (True, 3_000)
    assert second.record_id != first.record_id


def test_where_there_is_none_nothing_is_relayed_and_a_link_is_not_followed(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match=r"van-can0\.record: No such file or directory: nothing is relayed"):
        open_record(tmp_path / "gone", "van-can0", "boot", 1_000)
    (tmp_path / "elsewhere").touch()
    (tmp_path / "relay-van-can0.record").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RelayError):
        open_record(tmp_path, "van-can0", "boot", 1_000)
    assert not (tmp_path / "elsewhere").stat().st_size
