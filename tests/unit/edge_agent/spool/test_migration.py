"""Files of versions 1 and 2, which agents of before left: what they hold is read, and sent as it is."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from can_stream.frames.batches import batch_of
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LedgerEntry
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet, decode_packet, encode_frames, encode_gap
from edge_agent.config.sections import SpoolSection
from edge_agent.host.clock import Clock
from edge_agent.lanes.trim import trim
from edge_agent.spool.directory import FILE_NAME, kept_files
from edge_agent.spool.spool import Spool
from edge_agent.spool.store import Moment, SpoolStore
from edge_agent.state import StatusCode
from tests.helpers.spooled_lanes import (
    START,
    a_spooled_lane,
    acknowledge_all,
    load,
    offer_left,
    random_frames,
    store_all,
    window_of,
)

OLD = "0a" * 8
NOW = Moment("this boot", 100.0, None)
VERSION_1: Final = """
CREATE TABLE lanes (lane INTEGER PRIMARY KEY, dongle_id TEXT NOT NULL, name TEXT NOT NULL,
  UNIQUE (dongle_id, name));
CREATE TABLE starts (start INTEGER PRIMARY KEY, start_id TEXT NOT NULL UNIQUE, boot_id TEXT NOT NULL,
  boot_wall_ms INTEGER);
CREATE TABLE marks (lane INTEGER NOT NULL, start INTEGER NOT NULL, marks TEXT NOT NULL,
  PRIMARY KEY (lane, start)) WITHOUT ROWID;
CREATE TABLE packets (id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, start INTEGER NOT NULL,
  first_seq INTEGER NOT NULL, seq INTEGER NOT NULL, frames INTEGER, gap INTEGER, first_ns INTEGER,
  last_ns INTEGER, made_ms INTEGER NOT NULL);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
PRAGMA user_version=1;
"""
"""To the letter what agents made before."""
SECOND: Final = """
ALTER TABLE packets ADD COLUMN position INTEGER;
CREATE TABLE ledger (lane INTEGER NOT NULL, start INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  frames INTEGER NOT NULL, acknowledged INTEGER NOT NULL, PRIMARY KEY (lane, start)) WITHOUT ROWID;
DROP TABLE IF EXISTS marks;
PRAGMA user_version=2;
"""
"""And what made version 2 of it, likewise."""
MARKER: Final = Marker(activation_name("ab" * 16, 3))


def old_packets() -> list[bytes]:
    """A gap of what the disk had let go, and three packets of ten frames."""
    gap = encode_gap(PacketNumber(OLD, 4), Gap(GapReason.SPOOL, 1, 40, 0, 9))
    frames = [batch_of([(seq * 1_000 + i, 1, 0, 1, b"\1") for i in range(10)]) for seq in (5, 6, 7)]
    numbers = [PacketNumber(OLD, seq) for seq in (5, 6, 7)]
    return [gap, *(encode_frames(number, batch, 1) for number, batch in zip(numbers, frames, strict=True))]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("PRAGMA page_size=512")
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_1)
        db.execute("INSERT INTO lanes VALUES (1, 'van7-can0', 'frames')")
        db.execute("INSERT INTO starts VALUES (1, ?, 'this boot', NULL)", (OLD,))
        db.execute("INSERT INTO marks VALUES (1, 1, '7 5-6')")
        for row, packet in enumerate(old_packets(), 11):
            decoded = decode_packet(packet)
            reason = GapReason.SPOOL if isinstance(decoded.body, Gap) else None
            numbers = (decoded.first_seq, decoded.number.seq, decoded.frames, reason, None, None)
            db.execute("INSERT INTO packets VALUES (?, 1, 1, ?, ?, ?, ?, ?, ?, 90000)", (row, *numbers))
            db.execute("INSERT INTO bodies VALUES (?, ?)", (row, zlib.compress(packet, 3)))
        db.commit()
    return tmp_path


def test_what_is_in_it_is_listed_without_positions_and_sent_to_the_letter(directory: Path) -> None:
    store = SpoolStore(directory, 10_000_000, NOW)
    lane = a_spooled_lane()
    offer_left(store, lane, NOW)
    lane.take_frames(random_frames(10), 100.0)
    hello = lane.connect(100.0)
    assert hello.backlog == [
        BacklogRange(OLD, 1, 7, None, 70, 10.0),
        BacklogRange(START, 1, 1, 0, 10, 0.0),
    ]
    assert hello.complete
    assert hello.starts == [LedgerEntry(START, 1, 10, 0)], "nobody counted what the old one made"
    assert load(store, lane, NOW) == 4
    sent = []
    while (packet := lane.next_packet()) is not None:
        sent.append(packet[1])
    assert sent[:4] == old_packets()
    assert [decode_packet(one).position for one in sent] == [None] * 4 + [0]
    lane.acknowledged(RangeKind.BACKLOG, PacketNumber(START, 1))
    assert lane.is_empty
    store_all(store, lane, NOW)
    assert store.left(NOW)["van7-can0", "frames"].backlog.packets == 0
    store.close()


def test_new_packets_come_behind_it_in_the_same_file(directory: Path) -> None:
    store = SpoolStore(directory, 10_000_000, NOW)
    lane = a_spooled_lane()
    offer_left(store, lane, NOW)
    lane.take_frames(random_frames(10), 100.0)
    store_all(store, lane, NOW)
    store.close()
    store = SpoolStore(directory, 10_000_000, NOW)
    after = a_spooled_lane(start_id="02" * 8)
    offer_left(store, after, NOW)
    listed = [(one.start_id, one.position, one.frames) for one in after.connect(100.0).backlog]
    assert listed == [(OLD, None, 70), (START, 0, 10)]
    numbers = []
    while load(store, after, NOW):
        numbers += acknowledge_all(after)
    assert numbers == [4, 5, 6, 7, 1]
    store.close()


def test_what_has_to_go_is_a_gap_of_version_1(directory: Path) -> None:
    store = SpoolStore(directory, 10_000_000, NOW)
    lane = a_spooled_lane()
    offer_left(store, lane, NOW)
    plan = trim(window_of(lane).disk, store.oldest(NOW)["van7-can0", "frames"])
    (gap,) = plan.puts
    assert decode_packet(gap.packet) == Packet(PacketNumber(OLD, 7), Gap(GapReason.SPOOL, 1, 70), None)
    store.close()


async def test_the_agent_says_nothing_of_it_and_sets_nothing_aside(directory: Path) -> None:
    spool = Spool(
        SpoolSection(str(directory)),
        [a_spooled_lane()],
        Clock(),
        greet_again=lambda: None,
        on_state=lambda _: None,
    )
    running = asyncio.create_task(spool.run())
    await asyncio.wait_for(spool.opened.wait(), 30)
    assert (spool.state.code, spool.frames) == (StatusCode.OK, 30)
    spool.stop()
    await asyncio.wait_for(running, 30)
    assert kept_files(directory) == []
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        tables = db.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name").fetchall()
    assert [name for (name,) in tables] == ["activations", "bodies", "lanes", "ledger", "packets", "starts"]


def test_a_file_of_version_2_is_carried_for_no_activation_and_of_unknown_age(directory: Path) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        db.executescript(SECOND)
    store = SpoolStore(directory, 10_000_000, NOW)
    lane = a_spooled_lane()
    offer_left(store, lane, NOW)
    lane.take_marker(MARKER, 100.0)
    lane.take_frames(random_frames(10), 100.0, 99_000_000_000)
    store_all(store, lane, NOW)
    store.close()
    store = SpoolStore(directory, 10_000_000, NOW)
    after = a_spooled_lane(start_id="02" * 8)
    offer_left(store, after, NOW)
    listed = [(one.start_id, one.frames, one.activation) for one in after.connect(100.0).backlog]
    assert listed == [(OLD, 70, None), (START, 10, MARKER.activation)]
    born = []
    while load(store, after, NOW):
        while (sent := after.next_held()) is not None:
            born.append(sent[1].born_ns)
            after.acknowledged(sent[0], sent[1].number)
    assert born == [0, 0, 0, 0, 0, 99_000_000_000]
    store.close()


def test_of_another_boot_no_age_is_known(tmp_path: Path) -> None:
    store = SpoolStore(tmp_path, 10_000_000, NOW)
    lane = a_spooled_lane()
    lane.take_frames(random_frames(10), 100.0, 99_000_000_000)
    store_all(store, lane, NOW)
    store.close()
    for boot_id, known in (("this boot", True), ("that boot", False)):
        moment = Moment(boot_id, 100.0, None)
        store = SpoolStore(tmp_path, 10_000_000, moment)
        (row,) = store.oldest(moment)["van7-can0", "frames"]
        assert (row.born_ns > 0) is known
        store.close()


def test_without_a_name_for_this_boot_no_age_is_known(tmp_path: Path) -> None:
    nameless = Moment("unknown", 100.0, None)
    store = SpoolStore(tmp_path, 10_000_000, nameless)
    lane = a_spooled_lane()
    lane.take_frames(random_frames(10), 100.0, 99_000_000_000)
    store_all(store, lane, nameless)
    (row,) = store.oldest(nameless)["van7-can0", "frames"]
    assert row.born_ns == 0
    store.close()
