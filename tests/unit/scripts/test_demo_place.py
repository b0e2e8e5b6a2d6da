"""Where a demo runs, and what is said where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from scripts.demo_place import hold


def test_a_directory_of_another_user_is_said_with_the_remedy(tmp_path: Path, mocker: MockerFixture) -> None:
    """As after `sudo make demo`."""
    refused = mocker.patch("os.open", side_effect=PermissionError)
    with pytest.raises(SystemExit, match=f"`sudo rm -rf {tmp_path}/demo-data` removes it"):
        hold(tmp_path / "demo-data")
    mocker.stop(refused)
    assert hold(tmp_path / "demo-data") > 2
