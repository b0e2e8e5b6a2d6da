"""What replay and simulate leave alone: a bus that somebody has said is for listening."""

from __future__ import annotations

import pytest

from edge_agent.transmit.by_hand import ReadBus, refusal

CAN0 = ReadBus("/etc/agent.toml", "van7-can0", "socketcan", "can0", "listen_only")
PORT = ReadBus("the running agent van7", "van7-stick", "slcan", "/dev/ttyACM0", "listen_only")


def test_the_sentence_names_who_says_so_the_dongle_and_what_to_do() -> None:
    assert refusal("socketcan", "can0", [PORT, CAN0]) == (
        'nothing is sent to socketcan:can0: /etc/agent.toml has it as van7-can0, mode = "listen_only". '
        'Set `mode = "normal"` there where this bus may be sent to, or give --force'
    )


@pytest.mark.parametrize(
    ("interface", "channel", "refused"),
    [
        ("socketcan", "can0", True),
        ("socketcan", "can1", False),
        ("virtual", "can0", False),
        ("slcan", "/dev/ttyACM0", True),
        ("serial", "/dev/ttyACM0", True),
        ("slcan", "/dev/ttyACM1", False),
    ],
)
def test_it_is_the_same_bus_by_driver_and_name_or_by_its_port(
    interface: str, channel: str, *, refused: bool
) -> None:
    assert (refusal(interface, channel, [CAN0, PORT]) is not None) is refused


def test_a_bus_in_an_active_group_is_left_to_the_relay() -> None:
    active = ReadBus("the running agent van7", "van7-can0", "socketcan", "can0", "normal", relayed=True)
    assert refusal("socketcan", "can0", [active]) == (
        "nothing is sent to socketcan:can0: the running agent van7 has it as van7-can0, which is in an "
        "active group. Have the group deactivated first, or give --force"
    )
    assert refusal("socketcan", "can1", [active]) is None
    in_the_file = ReadBus("/etc/agent.toml", "van7-can0", "socketcan", "can0", "normal")
    assert "active group" in (refusal("socketcan", "can0", [in_the_file, active]) or "")


def test_one_who_says_listen_is_enough_and_one_who_does_not_say_is_too() -> None:
    normal = ReadBus("another", "x", "socketcan", "can0", "normal")
    assert refusal("socketcan", "can0", [normal]) is None
    assert "/etc/agent.toml" in (refusal("socketcan", "can0", [normal, CAN0]) or "")
    old = ReadBus("the running agent old", "x", "socketcan", "can0", "")
    assert "does not say in which mode" in (refusal("socketcan", "can0", [old]) or "")
