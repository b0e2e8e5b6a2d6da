"""Whether a dongle could be read, without a word to its bus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from can_stream.frames.batches import FrameBatch, batch_of, empty_batch
from edge_agent.bus.slcan_port import SlcanPort
from edge_agent.config.dongle import DongleSection
from edge_agent.diagnosis.diagnosis import Fact
from edge_agent.diagnosis.dongle_probe import LISTEN_SECONDS, dongle_facts
from edge_agent.errors import LinkError, SourceError
from edge_agent.host.adapter import Adapter
from edge_agent.host.can_link import CanLink
from edge_agent.host.clock import Clock
from tests.helpers.agent_parts import StandingClock, slcan_section
from tests.helpers.can_links import controller_link
from tests.helpers.lawicel import LawicelAdapter

PROBE = "edge_agent.diagnosis.dongle_probe"


def facts(section: DongleSection, adapters: Sequence[Adapter] = (), clock: Clock | None = None) -> list[Fact]:
    return list(dongle_facts(section, adapters, clock or Clock()))


def faults(section: DongleSection, adapters: Sequence[Adapter] = ()) -> list[str]:
    return [one.fault for one in facts(section, adapters)]


@pytest.fixture
def adapter() -> Iterator[LawicelAdapter]:
    with LawicelAdapter() as plugged:
        yield plugged


# -- slcan


def test_a_port_that_is_there_and_free_is_well_and_hears_nothing_of_it(adapter: LawicelAdapter) -> None:
    assert facts(slcan_section(adapter.path)) == []
    assert adapter.commands == []
    SlcanPort(adapter.path, 115_200, Clock()).close()  # it was given back


def test_a_port_that_another_has_is_said(adapter: LawicelAdapter) -> None:
    with closing(SlcanPort(adapter.path, 115_200, Clock())):
        (fact,) = facts(slcan_section(adapter.path))
    assert (fact.fault, fact.about) == ("busy", "van7-can0")
    assert f"{adapter.path} is in use: stop " in fact.text


def test_a_device_id_is_looked_for_among_what_is_plugged_in(adapter: LawicelAdapter) -> None:
    section = DongleSection(id="van7-a1", interface="slcan", bitrate=500_000, device_id="A1")
    there = Adapter("slcan", adapter.device, 1, frozenset({adapter.device}), device_id="A1")
    other = Adapter("slcan", "/dev/no-such-port", 2, frozenset({"/dev/no-such-port"}), device_id="B2")
    assert facts(section, [other, there]) == []
    (fact,) = facts(section, [other])
    assert (fact.fault, fact.about) == ("unplugged", "van7-a1")
    assert "the adapter A1 is not there: plug it in" in fact.text
    assert "B2 (/dev/no-such-port)" in fact.text


# -- logs and drivers


def test_a_log_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    section = DongleSection(str(path), id="van7-log", interface="log")
    (fact,) = facts(section)
    assert fact.about == "van7-log"
    assert str(path) in fact.text
    path.write_text("(1.000000) can0 100#01\n")
    assert facts(section) == []


def test_a_driver_is_only_looked_for_and_never_opened(mocker: MockerFixture) -> None:
    opened = mocker.patch("can.Bus")
    assert facts(DongleSection("0", id="van7-x", interface="virtual")) == []
    (fact,) = facts(DongleSection("0", id="van7-x", interface="virtuall"))
    assert fact.fault == "unknown_interface"
    assert "did you mean 'virtual'?" in fact.text
    assert opened.call_count == 0


def test_a_driver_that_is_missing_says_how_to_get_it(mocker: MockerFixture) -> None:
    mocker.patch(f"{PROBE}.import_module", side_effect=ImportError("no module named canalystii"))
    (fact,) = facts(DongleSection("0", id="van7-x", interface="canalystii"))
    assert fact.fault == "no_driver"
    assert "pip install 'python-can[canalystii]'" in fact.text


# -- socketcan, for which no machine of tests has an interface


class Bus:
    """An opened interface that gives one frame after so many looks of half a second; None: never."""

    info = "socketcan can0"
    malformed = 0
    can_wait = False

    def __init__(self, clock: StandingClock, looks: int | None) -> None:
        self._clock = clock
        self._looks = looks
        self.is_closed = False

    def read(self, timeout_seconds: float) -> FrameBatch:
        self._clock.seconds += min(timeout_seconds, 0.5)
        if self._looks is not None:
            self._looks -= 1
        return batch_of([(1, 1, 0, 0, b"")]) if self._looks == 0 else empty_batch()

    def close(self) -> None:
        self.is_closed = True


class Socketcan:
    """A probe of can0 that stands as `link` says."""

    def __init__(self, mocker: MockerFixture, link: CanLink | None, looks: int | None = 1) -> None:
        self.clock = StandingClock()
        self.bus = Bus(self.clock, looks)
        self.link = mocker.patch(f"{PROBE}.read_can_link", return_value=link)
        self.opened = mocker.patch(f"{PROBE}.open_source", return_value=self.bus)

    def facts(self, **section: Any) -> list[Fact]:
        return facts(DongleSection("can0", id="van7-can0", **section), clock=self.clock)


def test_an_interface_that_hears_frames_is_well(mocker: MockerFixture) -> None:
    probe = Socketcan(mocker, controller_link(), looks=3)
    assert probe.facts(bitrate=500_000) == []
    assert probe.bus.is_closed
    assert probe.clock.seconds == 1000.0 + 1.5, "no longer than it takes"


def test_a_bus_that_is_silent_is_worth_knowing(mocker: MockerFixture) -> None:
    probe = Socketcan(mocker, controller_link(), looks=None)
    (fact,) = probe.facts()
    assert fact.fault == "silent"
    assert "no frame for the 2 s that were listened" in fact.text
    assert probe.clock.seconds == 1000.0 + LISTEN_SECONDS
    assert probe.bus.is_closed


@pytest.mark.parametrize(
    ("state", "fault", "words"),
    [
        ("bus-off", "bus_off", "can0 is bus-off: check `bitrate`, the wiring"),
        ("error-passive", "error_passive", "can0 is error-passive"),
        ("stopped", "down", "can0 is stopped"),
    ],
)
def test_a_controller_in_trouble_is_said(state: str, fault: str, words: str, mocker: MockerFixture) -> None:
    (fact,) = Socketcan(mocker, controller_link(state=state)).facts()
    assert (fact.fault, fact.about) == (fault, "van7-can0")
    assert words in fact.text


def test_another_bit_rate_than_configured_says_both_ways_out(mocker: MockerFixture) -> None:
    probe = Socketcan(mocker, controller_link(bitrate=250_000))
    (fact,) = probe.facts(bitrate=500_000)
    assert fact.fault == "wrong_bitrate"
    assert fact.text == (
        "can0 has a bit rate of 250000 bit/s, the configuration says 500000: run "
        "`sudo ip link set can0 down; sudo ip link set can0 up type can bitrate 500000`, or correct `bitrate`"
    )
    assert Socketcan(mocker, controller_link(bitrate=250_000)).facts() == [], (
        "where none is configured, none is wrong"
    )


def test_an_interface_that_is_not_there_is_said_once_by_opening_it(mocker: MockerFixture) -> None:
    probe = Socketcan(mocker, None)
    probe.opened.side_effect = SourceError("NO_DEVICE", "can0 is not there", "plug it in")
    assert probe.facts(bitrate=500_000) == [Fact("unplugged", "van7-can0", "can0 is not there: plug it in")]


def test_a_network_interface_that_is_none_for_can_is_said(mocker: MockerFixture) -> None:
    probe = Socketcan(mocker, None)
    probe.link.side_effect = LinkError("eth0 is no CAN interface")
    assert [one.fault for one in probe.facts()] == ["not_can"]
