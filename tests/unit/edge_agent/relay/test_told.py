"""What a start without a network is carried for: what the server said last, if that can be read."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from can_stream.protocol.marker import activation_name
from edge_agent.relay.told import ToldActivations

FIRST, SECOND = activation_name("ab" * 16, 1), activation_name("ab" * 16, 2)


def test_the_next_start_knows_what_this_one_was_told(tmp_path: Path) -> None:
    path = tmp_path / "state" / "activations-van7.json"
    told = ToldActivations(path)
    assert told.activations == {}
    assert told.take("van7-can0", FIRST)
    assert told.take("van7-can1", FIRST)
    assert told.take("van7-can0", SECOND)
    assert not told.take("van7-can0", SECOND)
    told.write()
    assert ToldActivations(path).activations == {"van7-can0": SECOND, "van7-can1": FIRST}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told.take("van7-can0", None)
    assert not told.take("van7-can0", None)
    told.write()
    assert ToldActivations(path).activations == {"van7-can1": FIRST}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"van7-can0": 1}',
        b'{"van7-can0": "x"}',
        b'{"V": "' + FIRST.encode() + b'"}',
        b"\xff",
    ],
)
def test_what_a_power_cut_left_says_nothing(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "activations-van7.json"
    path.write_bytes(content)
    told = ToldActivations(path)
    assert told.activations == {}
    assert "cannot be read" in caplog.text
    told.take("van7-can0", FIRST)
    told.write()
    assert ToldActivations(path).activations == {"van7-can0": FIRST}


def test_a_file_cut_anywhere_says_all_or_nothing(tmp_path: Path) -> None:
    whole = msgspec.json.encode({"van7-can0": FIRST, "van7-can1": SECOND})
    path = tmp_path / "activations-van7.json"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert len(ToldActivations(path).activations) == (2 if cut == len(whole) else 0)


def test_a_full_disk_is_said_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    told = ToldActivations(tmp_path / "file" / "activations-van7.json")
    told.take("van7-can0", FIRST)
    told.write()
    assert "cannot be written" in caplog.text
    assert told.activations == {"van7-can0": FIRST}
