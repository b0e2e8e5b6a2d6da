"""A damaged recording: what SQLite can read of it is there again, and the books fit."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from can_stream.protocol.packet_head import PacketKind, head_of
from stream_server.errors import StartError
from stream_server.salvage import salvage as salvage_module
from stream_server.salvage import salvaging
from stream_server.salvage.salvaging import salvage
from stream_server.storage.recording_file import prepare_recording
from stream_server.storage.setting_aside import KEPT, damaged_recordings
from tests.helpers.damaged_recordings import (
    DAMAGES,
    PAGE,
    RECOVERY_HINT,
    damage,
    lanes,
    make_recording,
    readable_bodies,
    recovered_bodies,
    recovering_shell,
    stored_packets,
    taken_numbers,
)
from tests.helpers.lanes import require_lane

PAGES = int(os.environ.get("DAMAGED_PAGES", "20"))
LANES = lanes(1, 40)
NAME = "recording.sqlite3"
GAP_FRAMES = 50
GAPS = {
    (lane.dongle_id, lane.lane, *head_of(body).number)
    for lane in LANES
    for body in lane.bodies
    if head_of(body).kind == PacketKind.GAP
}


def told(_text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module", params=[0, 50], ids=["whole", "after retention"])
def original(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    path = tmp_path_factory.mktemp("original") / NAME
    make_recording(path, LANES, request.param)
    return path


def copy(original: Path, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return Path(shutil.copy(original, directory / NAME))


def repaired(path: Path) -> Path | None:
    """The damaged file, where the recording had to be set aside; what can be read is in the new one."""
    prepare_recording(path)
    salvage(path, told)
    return damaged_recordings(path.parent)[0] if damaged_recordings(path.parent) else None


def page_of(table: str, path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as plain:
        (page,) = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        assert isinstance(page, int)
        return page


def books(path: Path) -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(path)) as plain:
        (report,) = plain.execute("SELECT value FROM recording_state WHERE key = 'damage_report'").fetchone()
        sums = "SELECT COALESCE(SUM(packets), 0), COALESCE(SUM(bytes), 0) FROM"
        recorded = plain.execute(f"{sums} lane_starts").fetchone()
        deleted = plain.execute(f"{sums} retention_totals").fetchone()
        here = plain.execute(
            "SELECT COALESCE(SUM(kind != 3), 0), COALESCE(SUM(size_bytes), 0) FROM packets"
        ).fetchone()
        holes = plain.execute(
            "SELECT first_unit, last_unit, holes.frames, known IS NOT NULL FROM holes"
            " JOIN lane_starts ON start_pk = lane_starts.id"
        ).fetchall()
        query = "SELECT COALESCE(SUM(gaps.frames), 0) FROM gaps JOIN lane_starts ON start_pk = lane_starts.id"
        (in_gaps,) = plain.execute(f"{query} WHERE known IS NOT NULL").fetchone()
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
    assert tuple(a - b for a, b in zip(recorded, deleted, strict=True)) == here
    holes_of = [[hole[:3] for hole in holes if hole[3] == is_placed] for is_placed in (False, True)]
    return {"report": json.loads(report), "holes": holes_of[0], "placed": holes_of[1], "in_gaps": in_gaps}


def test_one_damaged_page_after_the_other(original: Path, tmp_path: Path) -> None:
    before, taken = stored_packets(original), taken_numbers(original)
    chance, size = random.Random(os.environ.get("DAMAGED_SEED", "1")), original.stat().st_size // PAGE
    for number in range(PAGES):
        kind, page = DAMAGES[number % len(DAMAGES)], chance.randint(1, size)
        place = f"{number}: page {page} of {size}, {kind}"
        path = copy(original, tmp_path / str(number))
        damage(path, page, chance, kind)
        changed = path.with_name("changed")
        shutil.copy(path, changed)
        damaged = repaired(path)
        after = stored_packets(path)
        theirs = readable_bodies(changed, len(taken))
        if recovering_shell():
            theirs |= recovered_bodies(changed, tmp_path / "recovered")
        assert theirs & set(before.values()) <= set(after.values()), place
        if damaged is None:
            assert after == before, place
        else:
            assert_books_fit(path, original, place)
        shutil.rmtree(path.parent)
    require_lane("unit", recovering_shell() is not None, RECOVERY_HINT)


def assert_books_fit(path: Path, original: Path, place: str) -> None:
    """What is not there of the original is said to be lost, in the report, in `taken` and in holes."""
    before, after, taken = stored_packets(original), stored_packets(path), taken_numbers(original)
    assert after.items() <= before.items(), place
    found = books(path)
    untaken = taken - taken_numbers(path)
    # A gap has a number too, and its record may be on the page.
    lost = (before.keys() - after.keys()) | (untaken & GAPS)
    if not found["report"]["is_sure"]:
        return  # Of a start whose row is lost nobody knows what retention deleted.
    assert untaken == lost, place
    assert sum(one["packets"] for one in found["report"]["lost"]) == len(lost), place
    # Of a start with positions each frame has its own; of another each packet its number.
    placed = [head_of(before[one]) for one in lost & before.keys()]
    placed = [head for head in placed if head.position is not None]
    assert sum(last - first + 1 for first, last, _ in found["holes"]) == len(lost) - len(placed), place
    missing = sum(head.rows for head in placed) + GAP_FRAMES - found["in_gaps"]
    assert sum(last - first + 1 for first, last, _ in found["placed"]) == missing, place


@pytest.mark.parametrize("change", ["seq = 1000", "frames = 5", "position = 7", "received_ns = 1"])
def test_a_packet_is_taken_over_though_something_beside_it_has_changed(
    original: Path, tmp_path: Path, change: str
) -> None:
    path = copy(original, tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute(f"UPDATE packets SET {change} WHERE id = (SELECT MAX(id) FROM packets)")
    assert repaired(path) is not None
    assert stored_packets(path) == stored_packets(original)
    assert books(path)["report"]["lost"] == []


def test_a_log_that_has_changed_costs_one_page_and_not_all_that_is_behind_it(tmp_path: Path) -> None:
    whole = tmp_path / "whole" / NAME
    whole.parent.mkdir()
    make_recording(whole, LANES[:2])
    original = copy(whole, tmp_path / "original")
    with contextlib.closing(sqlite3.connect(whole)) as reader:
        reader.execute("SELECT 1 FROM lanes").fetchone()
        for lane in LANES[2:]:
            make_recording(whole, [lane])
        for tail in ("", "-wal"):
            shutil.copy(f"{whole}{tail}", f"{original}{tail}")
    size = original.with_name(f"{NAME}-wal").stat().st_size
    chance = random.Random(os.environ.get("DAMAGED_SEED", "1"))
    for number in range(PAGES // 4):
        path = copy(original, tmp_path / str(number))
        log = bytearray(original.with_name(f"{NAME}-wal").read_bytes())
        at = chance.randrange(32, size // 2)
        log[at : at + 8] = chance.randbytes(8)
        path.with_name(f"{NAME}-wal").write_bytes(log)
        assert repaired(path) is not None
        assert_books_fit(path, whole, f"{number}: {at} of {size}")
        assert len(stored_packets(path)) > 0.9 * len(stored_packets(whole))
        shutil.rmtree(path.parent)


@pytest.mark.parametrize("table", ["lane_starts", "retention_totals", "lanes"])
def test_a_file_that_no_longer_says_how_much_there_was_says_that(
    original: Path, tmp_path: Path, table: str
) -> None:
    path = copy(original, tmp_path)
    damage(path, page_of(table, path), random.Random(1), "cut")
    assert repaired(path) is not None
    report = books(path)["report"]
    assert not report["is_sure"]
    assert stored_packets(path).items() <= stored_packets(original).items()


@pytest.mark.parametrize(
    "destroy",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(50_000)),
        lambda path: os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE),
        lambda path: os.truncate(path, path.stat().st_size // 2 + 77),
    ],
    ids=["empty", "noise", "half", "half a page too"],
)
def test_whatever_is_done_to_it_a_recording_is_there(
    original: Path, tmp_path: Path, destroy: Callable[[Path], None]
) -> None:
    path = copy(original, tmp_path)
    destroy(path)
    assert repaired(path) is not None
    assert stored_packets(path).items() <= stored_packets(original).items()
    books(path)


def test_what_was_recorded_before_a_column_was_there_is_taken_over_and_so_are_holes(
    original: Path, tmp_path: Path
) -> None:
    path = copy(original, tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as plain:
        plain.execute("ALTER TABLE packets DROP COLUMN checksum")
        plain.execute("ALTER TABLE packets ADD COLUMN checksum BIGINT")
        plain.execute("INSERT INTO holes VALUES (1, 5000, 5009, 70, 12345678901, 98765432109)")
        plain.commit()
    before = stored_packets(path)
    damage(path, page_of("last_values", path), random.Random(1))
    assert repaired(path) is not None
    assert stored_packets(path) == before
    assert (5000, 5009, 70) in books(path)["holes"]


def test_packets_that_come_later_are_behind_those_that_were_there(original: Path, tmp_path: Path) -> None:
    path = copy(original, tmp_path)
    damage(path, path.stat().st_size // PAGE, random.Random(1))
    with contextlib.closing(sqlite3.connect(original)) as plain:
        (last,) = plain.execute("SELECT seq FROM sqlite_sequence WHERE name = 'packets'").fetchone()
    repaired(path)
    with contextlib.closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT seq FROM sqlite_sequence WHERE name = 'packets'").fetchone() == (last,)


def killed_at(step: int, path: Path) -> bool:
    """Repair in a child that is killed where it opens, links, renames or removes for the nth time."""
    child = os.fork()
    if not child:
        left = step

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in {"sqlite3.connect", "os.rename", "os.link", "os.remove", "os.chmod", "open"} and str(
                arguments[0]
            ).startswith(str(path.parent)):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        repaired(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def test_a_kill_at_any_step_costs_nothing_more(original: Path, tmp_path: Path) -> None:
    whole = copy(original, tmp_path / "whole")
    damage(whole, 40, random.Random(1))
    expected = stored_packets(path) if (path := copy(whole, tmp_path / "once")) and repaired(path) else {}
    for step in range(100):
        path = copy(whole, tmp_path / str(step))
        if not killed_at(step, path):
            break
        repaired(path)
        assert stored_packets(path) == expected
        assert len(damaged_recordings(path.parent)) == 1
        assert sorted(file.name for file in path.parent.iterdir()) == [
            damaged_recordings(path.parent)[0].name, NAME,
        ]  # fmt: skip
    assert 5 < step < 99


def test_a_full_disk_leaves_the_rest_where_it_is(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salvage_module, "SPARE_BYTES", 1 << 62)
    path = copy(original, tmp_path)
    damage(path, 40, random.Random(1))
    assert repaired(path) is not None
    assert stored_packets(path) == {}
    assert books(path)["report"]["unread_pages"] > 30


def test_the_last_three_damaged_ones_are_kept(original: Path, tmp_path: Path) -> None:
    for _ in range(KEPT + 2):
        path = copy(original, tmp_path)
        damage(path, 1, random.Random(1))
        prepare_recording(path)
    assert len(damaged_recordings(tmp_path)) == KEPT


def test_a_damaged_file_that_is_gone_stops_nothing(original: Path, tmp_path: Path) -> None:
    path = copy(original, tmp_path)
    damage(path, 40, random.Random(1))
    prepare_recording(path)
    damaged_recordings(tmp_path)[0].unlink()
    salvage(path, told)
    assert stored_packets(path) == {}
    assert books(path)["report"]["lanes"] == 0


def test_whoever_waits_is_told_how_far_it_is(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salvaging, "_TOLD_SECONDS", -1.0)
    path = copy(original, tmp_path)
    damage(path, 40, random.Random(1))
    prepare_recording(path)
    texts: list[str] = []
    salvage(path, texts.append)
    pages = original.stat().st_size // PAGE
    assert texts == [f"reads the damaged recording: page {pages} of {pages}"]


def test_a_recording_that_takes_no_writes_is_an_error_with_its_name(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy(original, tmp_path)
    damage(path, 40, random.Random(1))
    prepare_recording(path)
    monkeypatch.setattr("stream_server.storage.database.BUSY_TIMEOUT_MS", 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StartError, match=r"recording\.sqlite3: database is locked"):
            salvage(path, told)
    salvage(path, told)
    assert stored_packets(path)
