"""What a list of dongles says of their recordings."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert

from stream_server.recording import start_store
from stream_server.recording.lane_numbers import LaneNumbers, frames_lanes
from stream_server.storage import recording_schema as schema
from stream_server.storage.database import open_engine
from tests.helpers.server_parts import OTHER_START, START, new_recording


def test_a_dongle_comes_with_the_books_of_its_frames_lane(tmp_path: Path) -> None:
    engine = open_engine(new_recording(tmp_path))
    with engine.begin() as storage:
        for lane in ("frames", "signals"):
            lane_id = start_store.lane_id_of(storage, "can0", lane)
            for start_id in (START, OTHER_START):
                row = {"lane_id": lane_id, "start_id": start_id, "taken": "[]", "packets": 2, "frames": 30}
                storage.execute(insert(schema.lane_starts).values(row))
            deleted = {"lane_id": lane_id, "packets": 1, "frames": 10, "bytes": 99}
            storage.execute(insert(schema.retention_totals).values(deleted))
        start_store.lane_id_of(storage, "can1", "frames")
        assert frames_lanes(storage) == {"can0": LaneNumbers(4, 60, 1, 10), "can1": LaneNumbers()}
        assert frames_lanes(storage, "can0") == {"can0": LaneNumbers(4, 60, 1, 10)}
        assert frames_lanes(storage, "can2") == {}
    engine.dispose()
