"""What a user installs is three packages and nothing beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zipfile import ZipFile

from hatchling.builders.wheel import WheelBuilder

ROOT: Final = Path(__file__).resolve().parents[2]


def test_the_wheel_puts_three_names_into_site_packages(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(wheel) as archive:
        top_level = {name.split("/", 1)[0] for name in archive.namelist()}
    (metadata,) = (name for name in top_level if name.endswith(".dist-info"))
    assert metadata.startswith("can_edge_agent-")
    assert top_level - {metadata} == {"can_stream", "edge_agent", "stream_server"}
