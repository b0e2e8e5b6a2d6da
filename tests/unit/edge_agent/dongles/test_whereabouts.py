"""Which adapter a dongle of the configuration is, wherever it is plugged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from can_stream.protocol.control import decode_agent_control_message, encode_control_message
from edge_agent.config.dongle import DongleSection
from edge_agent.dongles.whereabouts import DiscoveryKind, Whereabouts, discovery
from edge_agent.errors import SourceError
from edge_agent.host.adapter import Adapter, identified

BY_ID = DongleSection(device_id="A1", id="van7-a1")
BY_NAME = DongleSection("can0", id="van7-can0")


def can(channel: str, serial_number: str = "", node: int = 1, **changes: Any) -> Adapter:
    given = {"port_id": f"1d50:606f@{channel}", **changes}
    return Adapter("socketcan", channel, node, frozenset({channel}), serial_number=serial_number, **given)


def port(channel: str, serial_number: str = "", *names: str) -> Adapter:
    known = frozenset({channel, *names})
    return Adapter("slcan", channel, 1, known, serial_number=serial_number, port_id=f"16d0:117e@{channel}")


def failure(locate: Callable[[], object]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        locate()
    return caught.value


def test_a_device_id_is_found_under_any_name() -> None:
    at = Whereabouts(BY_ID)
    assert (at.channel, at.device_id, at.remark) == ("A1", "A1", "")
    assert at.locate(identified([can("can0", "B2"), can("can7", "A1")])) == "can7"
    assert (at.channel, at.device_id) == ("can7", "A1")
    assert "A1" in at.remark


def test_the_place_is_an_id_too_and_stays_one_when_a_twin_comes() -> None:
    at = Whereabouts(DongleSection(device_id="1d50:606f@can1"))
    assert at.locate(identified([can("can1", "0001")])) == "can1"
    assert at.locate(identified([can("can0", "0001"), can("can1", "0001")])) == "can1"


def test_a_device_id_that_is_not_there_is_told_with_what_is() -> None:
    at = Whereabouts(BY_ID)
    at.locate(identified([can("can0", "A1")]))
    error = failure(lambda: at.locate(identified([can("can0", "B2"), port("/dev/ttyACM0", "C3")])))
    assert error.code == "NO_DEVICE"
    assert "A1 is not there" in error.reason
    assert "B2 (can0), C3 (/dev/ttyACM0)" in error.remedy
    assert at.channel == "A1"
    assert "none with a device_id" in failure(lambda: at.locate([])).remedy


def test_many_adapters_make_no_long_sentence() -> None:
    many = identified([can(f"can{number}", f"B{number}") for number in range(64)])
    assert "and 56 more" in failure(lambda: Whereabouts(BY_ID).locate(many)).remedy


def test_twins_are_told_with_the_ids_that_tell_them_apart() -> None:
    twins = identified([can("can0", "A1"), can("can1", "A1")])
    error = failure(lambda: Whereabouts(BY_ID).locate(twins))
    assert error.code == "AMBIGUOUS"
    assert '"1d50:606f@can0" (can0), "1d50:606f@can1" (can1)' in error.remedy


def test_twins_in_one_place_can_only_be_named() -> None:
    twins = identified([can("can0", "A1", port_id="p"), can("can1", "A1", port_id="p")])
    assert failure(lambda: Whereabouts(BY_ID).locate(twins)).remedy == "set `channel` instead"


def test_another_interface_than_configured_is_told() -> None:
    error = failure(lambda: Whereabouts(BY_ID).locate(identified([port("/dev/ttyACM0", "A1")])))
    assert error.code == "WRONG_INTERFACE"
    assert error.remedy == 'set `interface = "slcan"` and its `bitrate`'
    serial = Whereabouts(DongleSection(device_id="A1", interface="slcan", bitrate=500_000))
    error = failure(lambda: serial.locate(identified([can("can0", "A1")])))
    assert error.remedy == 'set `interface = "socketcan"`'


def test_a_stick_with_both_interfaces_is_what_the_configuration_says() -> None:
    both = identified([can("can0", "A1"), port("/dev/ttyACM0", "A1")])
    assert Whereabouts(BY_ID).locate(both) == "can0"


def test_a_channel_wins_over_the_adapter_that_was_read_under_it() -> None:
    at = Whereabouts(BY_NAME)
    assert at.locate(identified([can("can0", "A1")])) == "can0"
    at.opened([])
    assert at.device_id == "A1"
    assert at.locate(identified([can("can0", "B2"), can("can1", "A1")])) == "can0"
    assert (at.device_id, at.remark) == ("B2", "")


def test_an_adapter_that_has_another_name_now_is_followed() -> None:
    at = Whereabouts(BY_NAME)
    at.locate(identified([can("can0", "A1")]))
    at.opened([])
    assert at.locate([]) == "can0"
    assert at.device_id == "A1"
    assert at.locate(identified([can("can1", "A1", node=2)])) == "can1"
    assert at.remark == "this is the adapter A1, which was can0"


def test_an_adapter_that_was_never_read_is_not_followed() -> None:
    at = Whereabouts(BY_NAME)
    at.locate(identified([can("can0", "A1")]))
    assert at.locate(identified([can("can1", "A1")])) == "can0"


def test_an_adapter_that_the_configuration_names_otherwise_is_not_followed() -> None:
    at = Whereabouts(BY_NAME, claimed=["can0", "can1"])
    at.locate(identified([can("can0", "A1")]))
    at.opened([])
    assert at.locate(identified([can("can1", "A1", node=2)])) == "can0"


@pytest.mark.parametrize("before", [[], [can("can0", port_id=None)]])
def test_an_adapter_that_comes_or_gets_its_alias_late_is_known_by_it(before: list[Adapter]) -> None:
    at = Whereabouts(BY_NAME)
    at.locate(before)
    at.opened(identified([can("can0", port_id="engine bus")]))
    assert at.device_id == "engine bus"
    assert at.locate(identified([can("can1", port_id="engine bus", node=2)])) == "can1"


def test_a_port_is_known_by_the_link_that_the_configuration_names() -> None:
    link = "/dev/can-A1"
    at = Whereabouts(DongleSection(link, interface="slcan", bitrate=500_000), claimed=[link])
    there = identified([port("/dev/ttyACM0", "A1", link)])
    assert at.locate(there) == link
    at.opened([])
    assert (at.device_id, at.remark) == ("A1", "")
    assert at.is_at(there[0])
    assert at.is_at(identified([port("/dev/ttyACM1", "A1")])[0])  # its link may come a little later


def test_whose_an_adapter_is() -> None:
    mine, other = identified([can("can0", "A1"), can("can1", "B2")])
    for at in (Whereabouts(BY_NAME), Whereabouts(BY_ID)):
        assert at.is_at(mine)
        assert not at.is_at(other)
        assert not at.is_at(identified([port("/dev/ttyACM0", "A1")])[0])


@pytest.mark.parametrize("kind", list(DiscoveryKind))
def test_a_discovery_can_be_said(kind: DiscoveryKind) -> None:
    (one,) = identified([can("can0", "A1 \ufffd")])
    said = discovery(kind, one, "van7-can0", 5)
    assert decode_agent_control_message(encode_control_message(said)) == said
    assert said.kind == kind.value
    assert said.slug == "a1--"
    assert said.details["channel"] == "can0"
