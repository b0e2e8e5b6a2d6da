"""Recordings with a damaged page: made, damaged, salvaged, and compared with what was in them."""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from sqlalchemy import select

from can_stream.frames.batches import batch_of
from can_stream.protocol.control import LaneName
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, decode_packet, encode_frames
from stream_server.recording import retention_store
from stream_server.storage import migrations
from stream_server.storage.database import open_engine
from stream_server.storage.recording_schema import packets
from tests.helpers import recordings
from tests.helpers.server_parts import FIRST_NS, OTHER_START, START, gap_packet, values_packet

PAGE: Final = 4096
Number = tuple[str, str, str, int]
"""Dongle, lane, start, number of a packet."""
Damage = Literal["noise", "zeros", "other", "bit", "cut"]
DAMAGES: Final[tuple[Damage, ...]] = get_args(Damage)

_SHELLS: Final = (("sqlite3",), ("fossil", "sql", "--no-repository"))


class Lane(NamedTuple):
    """What a test records in a lane: packets of one start."""

    dongle_id: str
    lane: LaneName
    start_id: str
    bodies: list[bytes]


def lanes(seed: int, count: int) -> list[Lane]:
    """Small packets, packets larger than a page, gaps; two dongles, three lanes, two starts."""
    chance = random.Random(seed)

    def frames(start_id: str) -> list[bytes]:
        sizes = [chance.choice([1, 3, 40, 900]) for _ in range(count)]
        return [_frames_packet(seq, size, start_id) for seq, size in enumerate(sizes, 1)]

    def placed(start_id: str) -> list[bytes]:
        """With positions, and a gap in the middle."""
        bodies, position = [], 0
        for seq in range(1, count + 1):
            size = 50 if seq == count // 2 else chance.choice([1, 3, 40, 900])
            gap = Gap(GapReason.SPOOL, seq, size)
            made = gap_packet(seq, gap, start_id, position) if seq == count // 2 else None
            bodies.append(made or _frames_packet(seq, size, start_id, position))
            position += size
        return bodies

    gap = gap_packet(count + 1, Gap(GapReason.WINDOW, count + 1, 17))
    return [
        Lane("can0", "frames", OTHER_START, frames(OTHER_START)),
        Lane("can0", "frames", START, [*frames(START), gap]),
        Lane("can0", "signals", START, [values_packet(seq, 0, 1, 2) for seq in range(1, count + 1)]),
        Lane("can1", "frames", START, frames(START)),
        Lane("can2", "frames", START, placed(START)),
    ]


def _frames_packet(seq: int, count: int, start_id: str, position: int | None = None) -> bytes:
    """No two packets have pages alike: one in the place of another would be whole, but for its checksum."""
    rows = [
        (
            FIRST_NS + seq * 1_000_000 + i * 1000,
            0x100 + i % 0x100,
            0,
            8,
            bytes([seq, i & 0xFF, i >> 8]) + bytes(5),
        )
        for i in range(count)
    ]
    return encode_frames(PacketNumber(start_id, seq), batch_of(rows), 1000, position)


def make_recording(path: Path, recorded: Iterable[Lane], deleted: int = 0) -> None:
    """Record lane by lane; retention deletes the oldest `deleted` packets."""
    migrations.upgrade(path, migrations.RECORDING)
    engine = open_engine(path)
    with engine.begin() as connection:
        for lane in recorded:
            recordings.record(
                connection, *lane.bodies, lane=lane.lane, dongle_id=lane.dongle_id,
                received_ns=lambda _: time.time_ns(), span_ns=lambda seq: (seq * 1000, seq * 1000 + 1),
            )  # fmt: skip
        oldest = connection.execute(select(packets.c.id).order_by(packets.c.id).limit(deleted)).scalars()
        last_id = max(oldest, default=0)
        while retention_store.delete_oldest(connection, last_id).packets:
            pass
    engine.dispose()


def damage(path: Path, page: int, chance: random.Random, kind: Damage = "noise") -> None:
    """Something else where a page was; `cut`: the file ends within it."""
    with path.open("r+b") as file:
        whole = file.read()
        at = (page - 1) * PAGE
        file.seek(at)
        if kind == "cut":
            file.truncate(at + chance.choice([0, 1, PAGE // 2]))
        elif kind == "bit":
            place = at + chance.randrange(PAGE)
            file.seek(place)
            file.write(bytes([whole[place] ^ 1 << chance.randrange(8)]))
        elif kind == "other":
            other = chance.randrange(len(whole) // PAGE) * PAGE
            file.write(whole[other : other + PAGE])
        else:
            file.write(bytes(PAGE) if kind == "zeros" else chance.randbytes(PAGE))


def stored_packets(path: Path) -> dict[Number, bytes]:
    """Every packet of a recording."""
    with contextlib.closing(sqlite3.connect(path)) as plain:
        rows = plain.execute(
            "SELECT dongle_id, lane, start_id, seq, body FROM packets"
            " JOIN lane_starts ON packets.start_pk = lane_starts.id JOIN lanes ON lane_id = lanes.id"
        )
        return {(dongle, lane, start, seq): body for dongle, lane, start, seq, body in rows}


def taken_numbers(path: Path) -> set[Number]:
    """Every number that the recording says is taken."""
    import json

    with contextlib.closing(sqlite3.connect(path)) as plain:
        rows = plain.execute(
            "SELECT dongle_id, lane, start_id, taken FROM lane_starts JOIN lanes ON lane_id = lanes.id"
        ).fetchall()
    return {
        (dongle, lane, start, seq)
        for dongle, lane, start, taken in rows
        for first, last in json.loads(taken)
        for seq in range(first, last + 1)
    }


def readable_bodies(path: Path, last_id: int) -> set[bytes]:
    """The bodies that SQLite itself gets, asked for one row after the other."""
    found: set[bytes] = set()
    with contextlib.closing(sqlite3.connect(path)) as plain:
        for packet_id in range(1, last_id + 1):
            with contextlib.suppress(sqlite3.Error):
                query = "SELECT body FROM packets WHERE id = ?"
                found.update(body for (body,) in plain.execute(query, (packet_id,)) if is_packet(body))
    return found


def recovered_bodies(path: Path, scratch: Path) -> set[bytes]:
    """The bodies that SQLite's own recovery gets from a damaged file, in whatever table it puts them.

    Without those whose start it does not get: nothing says any more which dongle they are of. Only where
    there is a `recovering_shell`.
    """
    shell = recovering_shell()
    assert shell is not None
    # It opens the file to write, and would put what is in the log into it.
    for tail in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"{path}{tail}", f"{scratch}{tail}")
    found: set[object] = set()
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as plain:
        plain.executescript(_recovery(shell, scratch))
        names = [name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            found.update(value for row in plain.execute(f'SELECT * FROM "{name}"') for value in row)
    for file in scratch.parent.glob(f"{scratch.name}*"):
        file.unlink()
    bodies = {value for value in found if isinstance(value, bytes) and is_packet(value)}
    return {body for body in bodies if decode_packet(body).number.start_id in found}


def is_packet(body: bytes) -> bool:
    """Whether the bytes are a packet, and not what a damaged page has made of one."""
    with contextlib.suppress(Exception):
        decode_packet(body)
        return True
    return False


@functools.cache
def recovering_shell() -> tuple[str, ...] | None:
    """The first of `_SHELLS` that is here and whose `.recover` recovers something."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "whole")
        with contextlib.closing(sqlite3.connect(path)) as plain:
            plain.executescript("CREATE TABLE whole (x); INSERT INTO whole VALUES (4711)")
        for shell in _SHELLS:
            if shutil.which(shell[0]) and "4711" in _recovery(shell, path):
                return shell
    return None


def _recovery(shell: tuple[str, ...], path: Path) -> str:
    done = subprocess.run([*shell, path, ".recover"], capture_output=True, check=False)
    # Newer shells begin with settings of their own.
    return "".join(line for line in done.stdout.decode().splitlines(True) if not line.startswith("."))


RECOVERY_HINT: Final = (
    "SQLite's recovery is compared with: `sudo apt install sqlite3`, on Debian 12 `sudo apt install fossil` "
    "(whose own sqlite3 has a library without the table `sqlite_dbpage`, and recovers nothing)"
)
