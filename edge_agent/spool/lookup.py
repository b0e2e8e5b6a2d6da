"""The tables `lanes`, `starts` and `activations`: which numbers stand for them in the other tables of the
spool's file."""

from __future__ import annotations

import sqlite3
from typing import Final

from msgspec import Struct

from can_stream.protocol.marker import is_activation
from edge_agent.spool.changes import LaneKey, Moment

_NO_BOOT_ID: Final = "unknown"
_CLOCK_STEP_MS: Final = 1000


class Start(Struct):
    """A start of an agent; `boot_wall_ms`: the wall clock when its boot's monotonic one was 0, if known."""

    start_id: str
    boot_id: str
    boot_wall_ms: int | None

    def age_seconds(self, made_ms: int, now: Moment) -> float | None:
        """Of what it made then by the monotonic clock; None where the clocks cannot be believed."""
        if self.boot_id == now.boot_id:
            return now.monotonic_seconds - made_ms / 1000
        if self.boot_wall_ms is None or now.wall_ms is None:
            return None
        return max(0.0, (now.wall_ms - self.boot_wall_ms - made_ms) / 1000)

    def is_of_boot(self, boot_id: str) -> bool:
        """Whether it was certainly in this boot, so that a time of its clocks means something."""
        return self.boot_id == boot_id != _NO_BOOT_ID


class LookupTables:
    """What is known of these tables, so that not each packet asks; it begins no transaction itself."""

    def __init__(self, db: sqlite3.Connection, boot_id: str) -> None:
        self.starts: dict[int, Start] = {}
        self._db = db
        self._boot_id = boot_id
        self._lane_numbers: dict[LaneKey, int] = {}
        self._start_numbers: dict[str, int] = {}
        self._activations: dict[int, str] = {}

    def keys(self) -> dict[int, LaneKey]:
        """All lanes that the file knows, by number."""
        found = self._db.execute("SELECT lane, dongle_id, name FROM lanes")
        return {lane: (str(dongle_id), str(name)) for lane, dongle_id, name in found}

    def lane(self, key: LaneKey) -> int:
        """Its number, which it has from now on if it had none."""
        if key not in self._lane_numbers:
            self._db.execute("INSERT OR IGNORE INTO lanes (dongle_id, name) VALUES (?, ?)", key)
            select = "SELECT lane FROM lanes WHERE dongle_id=? AND name=?"
            (self._lane_numbers[key],) = self._db.execute(select, key).fetchone()
        return self._lane_numbers[key]

    def start(self, start_id: str, now: Moment) -> int:
        """Its number, which it has from now on if it had none; what `now` says of this boot is remembered."""
        if start_id not in self._start_numbers:
            new = (start_id, now.boot_id, now.boot_wall_ms)
            insert = "INSERT OR IGNORE INTO starts (start_id, boot_id, boot_wall_ms) VALUES (?, ?, ?)"
            self._db.execute(insert, new)
            self.read_starts()
        number = self._start_numbers[start_id]
        start, told_ms = self.starts[number], now.boot_wall_ms
        known_ms = start.boot_wall_ms
        is_news = told_ms is not None and (known_ms is None or abs(told_ms - known_ms) > _CLOCK_STEP_MS)
        if start.boot_id == now.boot_id and is_news:
            self._db.execute("UPDATE starts SET boot_wall_ms=? WHERE start=?", (told_ms, number))
            start.boot_wall_ms = told_ms
        return number

    def start_of(self, number: int) -> Start:
        """Which start has that number. Raises KeyError where none has."""
        if number not in self.starts:
            self.read_starts()
        return self.starts[number]

    def carried(self, activation: str) -> int | None:
        """The number of an activation, which it has from now on if it had none; None for none."""
        if not activation:
            return None
        for number, name in self._activations.items():
            if name == activation:
                return number
        self._db.execute("INSERT OR IGNORE INTO activations (name) VALUES (?)", (activation,))
        self._read_activations()
        return self.carried(activation)

    def activation_of(self, carried: int | None) -> str:
        """The name of the activation of that number, "" for None. Raises KeyError where none has it."""
        if carried is None:
            return ""
        if carried not in self._activations:
            self._read_activations()
        return self._activations[carried]

    def is_of_this_boot(self, start: int) -> bool:
        """Whether this boot's monotonic clock says when that start made a packet."""
        return self.starts[start].boot_id == self._boot_id

    def read_starts(self) -> None:
        """All that the file knows. Raises ValueError for what is no start."""
        found = self._db.execute("SELECT start, start_id, boot_id, boot_wall_ms FROM starts").fetchall()
        self.starts = {number: Start(*columns) for number, *columns in found}
        for start in self.starts.values():
            is_known = isinstance(start.boot_wall_ms, int | None)
            if len(bytes.fromhex(start.start_id)) != 8 or start.boot_id is None or not is_known:
                raise ValueError(f"start {start.start_id} is none")
        self._start_numbers = {start.start_id: number for number, start in self.starts.items()}

    def _read_activations(self) -> None:
        found = self._db.execute("SELECT carried, name FROM activations")
        self._activations = {number: str(name) for number, name in found}
        for name in self._activations.values():
            if not is_activation(name):
                raise ValueError(f"activation {name} is none")
