"""Every recording of the shared folder, with the counts of its index."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from can_stream.frames.batches import FrameFlag, concatenate
from can_stream.logs.log_reader import open_log
from can_stream.text.candump_format import format_candump

DATA = Path(__file__).parents[3] / "shared" / "data"
INDEX = DATA / "logs_index.csv"
KONA = DATA / "logs" / "kona_comp_can_heating.converted.candump.log"


def indexed() -> list[dict[str, str]]:
    if not INDEX.exists():
        return []
    with INDEX.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not INDEX.exists(), reason="needs the shared recordings (shared/data/logs)")
@pytest.mark.parametrize("row", indexed(), ids=lambda row: Path(row["path"]).name)
def test_a_recording_is_read_whole(row: dict[str, str]) -> None:
    reader = open_log(DATA / row["path"])
    frames = concatenate([batch.frames for batch in reader])
    assert reader.problems == []
    assert reader.frames == len(frames) > 0
    if row["frames"]:
        assert reader.frames == int(row["frames"])
        extended = (frames.flags & FrameFlag.EXTENDED) != 0
        if row["format"] != "Vector asc":  # whose index does not count them
            assert int(extended.sum()) == int(row["extended"])
            assert len(set(frames.arbitration_id.tolist())) == int(row["ids"])


@pytest.mark.skipif(not KONA.exists(), reason=f"needs the shared recording {KONA.name}")
def test_a_recording_comes_out_as_it_went_in() -> None:
    frames = concatenate([batch.frames for batch in open_log(KONA)])
    assert format_candump(frames, "can0") == KONA.read_bytes()


@pytest.mark.skipif(not INDEX.exists(), reason="needs the shared recordings (shared/data/logs)")
def test_the_same_drive_in_gvret_and_crtd_is_the_same_frames() -> None:
    folder = DATA / "logs" / "SavvyCAN" / "examples"
    gvret, crtd = (
        concatenate([batch.frames for batch in open_log(folder / name)])
        for name in ("GVRET_Log.csv", "CRTD_Log.txt")
    )
    assert gvret.equals(crtd)
