"""A serial port at a pseudo terminal: read in bulk, asked and answered, gone, and in use."""

from __future__ import annotations

import os
import pty
import re
import threading
import tty
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.bus import slcan_port
from edge_agent.bus.slcan_port import SlcanPort, users_of
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock

DONE = re.compile(rb"\r")
VERSION = re.compile(rb"V[0-9]{4}\r")


class Line:
    """The other end of a serial line, whose words are the test's."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        tty.setraw(self.theirs)
        self.path = os.ttyname(self.theirs)
        self.port = SlcanPort(self.path, 115_200, Clock())

    def say(self, content: bytes) -> None:
        os.write(self.ours, content)

    def hear(self, count: int) -> bytes:
        return os.read(self.ours, count)

    def unplug(self) -> None:
        for descriptor in (self.theirs, self.ours):
            os.close(descriptor)
        self.theirs = self.ours = -1


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.port.close()
    if made.ours >= 0:
        made.unplug()


# -- reading


def test_a_read_takes_all_that_is_there(line: Line) -> None:
    line.say(b"t0010\r" * 500)
    assert line.port.read(5.0) == b"t0010\r" * 500


def test_a_read_of_a_silent_line_is_empty_and_in_time(line: Line) -> None:
    assert line.port.read(0.01) == b""
    assert line.port.read(0.0) == b""


def test_a_read_waits_for_the_first_byte(line: Line) -> None:
    said = threading.Timer(0.05, line.say, [b"t0010\r"])
    said.start()
    assert line.port.read(30.0) == b"t0010\r"
    said.join()


def test_that_it_has_gone_is_told_behind_what_came_before(line: Line) -> None:
    line.say(b"t0020\r")
    assert line.port.ask("V", VERSION, 0.05) is None
    line.unplug()
    assert line.port.read(5.0) == b"t0020\r"
    for _ in range(2):
        with pytest.raises(SourceError) as gone:
            line.port.read(5.0)
        assert gone.value.code == "READ_FAILED"
        assert f"reading slcan {line.path} failed" in gone.value.reason


def test_who_writes_to_what_has_gone_is_told(line: Line) -> None:
    line.unplug()
    with pytest.raises(SourceError) as gone:
        line.port.write("F")
    assert gone.value.code == "READ_FAILED"


def test_an_adapter_that_takes_nothing_does_not_hold_the_reader(mocker: MockerFixture) -> None:
    mocker.patch.object(slcan_port, "_WRITE_TIMEOUT_SECONDS", 0.02)
    line = Line()
    with pytest.raises(SourceError, match=r"[Tt]imeout"):
        list(map(line.port.write, ["t" * 4096] * 100))
    line.port.close()
    line.unplug()


def test_closing_it_is_possible_though_it_has_gone_and_more_than_once(line: Line) -> None:
    line.unplug()
    line.port.close()
    line.port.close()


# -- asking


def test_a_command_is_asked_with_its_end_and_answered(line: Line) -> None:
    line.say(b"V1013\r")
    found = line.port.ask("V", VERSION, 5.0)
    assert found is not None
    assert found[0] == b"V1013\r"
    assert line.hear(10) == b"V\r"


def test_what_comes_beside_an_answer_is_read_later_and_in_order(line: Line) -> None:
    line.say(b"t0010\rV1013\rt0020\r")
    assert line.port.ask("V", VERSION, 5.0) is not None
    assert line.port.read(0.0) == b"t0010\rt0020\r"
    assert line.port.read(0.0) == b""


def test_an_answer_may_come_in_pieces_over_a_long_time(line: Line) -> None:
    def dribble() -> None:
        for letter in b"t0010\rV1013\r":
            line.say(bytes([letter]))

    assert line.port.ask("X", re.compile(b"never"), 0.0) is None
    speaker = threading.Thread(target=dribble)
    speaker.start()
    assert line.port.ask("V", VERSION, 30.0) is not None
    speaker.join()
    assert line.port.read(0.0) == b"t0010\r"


def test_silence_is_no_answer_and_what_came_instead_is_kept(line: Line) -> None:
    line.say(b"t0010\r")
    assert line.port.ask("V", VERSION, 0.05) is None
    line.say(b"V1013\r")
    assert line.port.ask("V", VERSION, 5.0) is not None
    assert line.port.read(0.0) == b"t0010\r"


def test_an_answer_that_was_there_before_the_question_counts(line: Line) -> None:
    line.say(b"\r\r")
    assert line.port.ask("C", DONE, 5.0) is not None
    assert line.port.ask("C", DONE, 5.0) is not None


def test_an_adapter_that_talks_without_end_is_not_listened_to_without_end(
    line: Line, mocker: MockerFixture
) -> None:
    mocker.patch.object(slcan_port, "_MAX_HELD_BYTES", 1000)
    line.say(b"t0010\r" * 400)
    assert line.port.ask("V", VERSION, 600.0) is None
    assert len(line.port.read(0.0)) == 2400


def test_the_question_to_what_has_gone_is_told(line: Line) -> None:
    line.unplug()
    with pytest.raises(SourceError, match="check that the adapter is still plugged in"):
        line.port.ask("V", VERSION, 5.0)


def test_what_is_dropped_is_all_until_it_is_quiet(line: Line) -> None:
    line.say(b"t0010\r" * 100)
    line.port.discard(0.01)
    assert line.port.read(0.0) == b""
    line.say(b"t0020\r")
    assert line.port.read(5.0) == b"t0020\r"


# -- opening


def test_a_port_is_had_by_one_at_a_time_and_the_other_is_named(line: Line) -> None:
    with pytest.raises(SourceError) as busy:
        SlcanPort(line.path, 115_200, Clock())
    assert (busy.value.code, busy.value.reason) == ("BUSY", f"{line.path} is in use")
    assert f"(process {os.getpid()})" in busy.value.remedy
    line.port.close()
    with closing(SlcanPort(line.path, 115_200, Clock())):
        pass


def test_a_user_that_may_not_be_seen_is_not_named(line: Line, mocker: MockerFixture) -> None:
    mocker.patch.object(slcan_port, "users_of", return_value=iter([]))
    with pytest.raises(SourceError) as busy:
        SlcanPort(line.path, 115_200, Clock())
    assert busy.value.remedy == "stop the other program that uses it; ModemManager tries new ports"


def test_users_are_found_by_another_name_of_the_port(line: Line, tmp_path: Path) -> None:
    link = tmp_path / "can-adapter"
    link.symlink_to(line.path)
    (mine,) = [one for one in users_of(str(link)) if one.endswith(f"(process {os.getpid()})")]
    assert mine.partition(" (")[0] == Path("/proc/self/comm").read_text().strip()
    assert list(users_of(str(tmp_path / "nobody"))) == []


@pytest.mark.parametrize(("channel", "code"), [("/dev/no-such-port", "NO_DEVICE"), ("/", "CANNOT_OPEN")])
def test_a_port_that_does_not_open_says_what_to_do(channel: str, code: str) -> None:
    with pytest.raises(SourceError) as failed:
        SlcanPort(channel, 115_200, Clock())
    assert failed.value.code == code
    assert failed.value.remedy
