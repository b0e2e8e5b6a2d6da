"""The kernel's answer about a CAN interface, and what it says when there is none."""

from __future__ import annotations

import errno
import struct

import pytest

from edge_agent.errors import LinkError
from edge_agent.host.can_link import DeviceStatistics, parse_link, read_can_link
from edge_agent.host.rtnetlink import link_request
from tests.helpers.can_links import (
    ARPHRD_CAN,
    IFF_NOARP,
    STATES,
    attribute,
    controller_data,
    controller_link,
    link_answer,
    message,
    refusal,
    virtual_link,
)


def test_a_controller_is_told_with_all_its_settings_and_counters() -> None:
    link = controller_link(
        {"rx_packets": 2**40, "tx_packets": 7, "rx_errors": 9, "rx_over_errors": 5, "rx_fifo_errors": 4,
         "rx_missed_errors": 3, "rx_dropped": 2, "rx_crc_errors": 99, "rx_length_errors": 98},
        statistics=(11, 12, 13, 14, 15, 16), state="error-passive", bitrate=250_000, sample_point=800,
        modes=0x22, restart_ms=100, berr=(136, 12), data_bitrate=2_000_000, mtu=72,
    )  # fmt: skip
    assert (link.channel, link.index, link.kind, link.is_up, link.has_carrier) == (
        "can0",
        3,
        "can",
        True,
        True,
    )
    assert (link.bitrate, link.sample_point_permille, link.data_bitrate) == (250_000, 800, 2_000_000)
    assert (link.fd, link.listen_only, link.loopback, link.restart_ms) == (True, True, False, 100)
    assert (link.state, link.tx_errors, link.rx_errors) == ("error-passive", 136, 12)
    assert (link.mtu_bytes, link.tx_queue_length, link.has_controller) == (72, 10, True)
    assert link.statistics == DeviceStatistics(11, 12, 13, 14, 15, 16)
    counters = link.counters
    assert (counters.rx_packets, counters.tx_packets, counters.rx_errors) == (2**40, 7, 9)
    assert (counters.rx_over_errors, counters.rx_fifo_errors, counters.rx_missed_errors) == (5, 4, 3)
    assert (counters.rx_dropped, counters.tx_dropped) == (2, 0)


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_controller_has_its_name(state: str) -> None:
    assert controller_link(state=state).state == state


def test_whether_the_driver_itself_gives_back_what_is_sent_is_told() -> None:
    assert virtual_link(flags=0x4_0001).echoes
    assert not virtual_link(flags=0x1_0001).echoes


def test_what_a_driver_does_not_tell_is_none() -> None:
    link = controller_link(berr=None, bitrate=0, sample_point=0)
    assert (link.bitrate, link.sample_point_permille, link.data_bitrate) == (None, None, None)
    assert (link.tx_errors, link.rx_errors) == (None, None)


def test_a_virtual_bus_has_no_controller() -> None:
    link = virtual_link({"rx_packets": 3}, mtu=72)
    assert (link.kind, link.has_controller, link.state, link.bitrate) == ("vcan", False, None, None)
    assert (link.fd, link.listen_only, link.restart_ms, link.statistics) == (True, False, None, None)
    assert not virtual_link(mtu=16).fd


def test_another_drivers_settings_are_not_taken_for_those_of_a_controller() -> None:
    peer = attribute(1, struct.pack("=BxHiII", 0, 280, 8, 0, 0), nested=True)  # VXCAN_INFO_PEER
    link = parse_link(link_answer("vxcan0", "vxcan", peer, statistics=(1, 1, 1, 1, 1, 1)))
    assert link is not None
    assert (link.kind, link.bitrate, link.statistics) == ("vxcan", None, None)
    unnamed = parse_link(link_answer("slcan0", ""))
    assert unnamed is not None
    assert (unnamed.kind, unnamed.state) == ("", None)


def test_an_interface_that_is_down_is_told_as_down() -> None:
    link = parse_link(link_answer(info_data=controller_data("stopped"), flags=IFF_NOARP))
    assert link is not None
    assert (link.is_up, link.has_carrier, link.state) == (False, False, "stopped")


def test_no_interface_is_none_and_any_other_refusal_an_error() -> None:
    assert parse_link(refusal(errno.ENODEV)) is None
    with pytest.raises(LinkError, match="EPERM"):
        parse_link(refusal(errno.EPERM))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "message: 0 bytes instead of 16"),
        (message(16, b"")[:-1], "message"),
        (struct.pack("=IHHII", 99, 16, 0, 1, 0), "an answer of 99 bytes, 16 of which are there"),
        (message(3, b""), "an answer of type 3"),
        (message(2, b""), "error: 0 bytes instead of 4"),
        (message(16, b"\0" * 15), "interface: 15 bytes instead of 16"),
        (
            link_answer("eth0", "").replace(struct.pack("=H", ARPHRD_CAN), b"\1\0", 1),
            "eth0 is no CAN interface",
        ),
        (link_answer()[:-4], "an answer of"),
        (link_answer(info_data=attribute(4, b"\0")), "attribute 4: 1 bytes instead of 4"),
        (link_answer(info_data=struct.pack("=HH", 3, 4)), "an attribute of 3 bytes where 4 are left"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_why(answer: bytes, reason: str) -> None:
    with pytest.raises(LinkError, match=reason):
        parse_link(answer)


def test_the_kernel_is_asked_by_name() -> None:
    request = link_request(b"can0")
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", request)
    assert (length, kind, flags) == (len(request), 18, 1)  # RTM_GETLINK, NLM_F_REQUEST
    assert request[32:] == attribute(3, b"can0\0")


def test_the_kernel_of_this_machine_answers() -> None:
    with pytest.raises(LinkError, match="lo is no CAN interface"):
        read_can_link("lo")
    for channel in ("can-not-there", "", "a name too long for any", "lo\0"):
        assert read_can_link(channel) is None
