"""Which commands set an interface up, and that none is needed where it is set up."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.config.can_settings import CanSettings
from edge_agent.config.dongle import DongleSection
from edge_agent.host.can_set_up import differences, missing_setting, set_up_by_hand, set_up_commands
from edge_agent.host.rtnetlink import parse_link
from tests.helpers.can_links import IFF_NOARP, controller_data, controller_link, link_answer, virtual_link

LISTEN_ONLY, FD = 2, 0x20
SET = ["ip", "link", "set", "can0"]


def commands(settings: CanSettings, **link: Any) -> list[str]:
    return [" ".join(command) for command in set_up_commands(settings, controller_link(**link))]


def test_an_interface_that_is_set_up_is_left_alone() -> None:
    settings = CanSettings("can0", True, 500_000, 870, tx_queue_length=10)
    assert commands(settings, modes=LISTEN_ONLY) == []
    assert commands(CanSettings("can0", listen_only=False, restart_ms=100), restart_ms=100) == []


def test_only_an_interface_that_is_down_can_be_changed() -> None:
    settings = CanSettings("can0", True, 250_000, 800, tx_queue_length=100)
    assert commands(settings) == [
        "ip link set can0 txqueuelen 100",
        "ip link set can0 down",
        "ip link set can0 type can bitrate 250000 sample-point 0.800 listen-only on",
        "ip link set can0 up",
    ]


def test_can_fd_is_taken_together_with_both_bit_rates() -> None:
    settings = CanSettings("can0", False, 500_000, fd=True, data_bitrate=2_000_000, restart_ms=100)
    assert commands(settings)[1] == (
        "ip link set can0 type can bitrate 500000 dbitrate 2000000 fd on listen-only off restart-ms 100"
    )
    assert "fd off" in commands(CanSettings("can0"), modes=FD | LISTEN_ONLY, data_bitrate=2_000_000)[1]
    kept = CanSettings("can0", fd=True)
    assert "bitrate 500000 dbitrate 2000000 fd on" in commands(kept, modes=FD, data_bitrate=2_000_000)[1]


def test_an_interface_that_is_down_is_only_taken_up_where_nothing_else_differs() -> None:
    answer = link_answer(info_data=controller_data("stopped", modes=LISTEN_ONLY), flags=IFF_NOARP)
    link = parse_link(answer)
    assert link is not None
    assert set_up_commands(CanSettings("can0"), link) == [(*SET, "up")]
    down = parse_link(link_answer("vcan0", "vcan", flags=IFF_NOARP))
    assert down is not None
    assert set_up_commands(CanSettings("vcan0", bitrate=500_000), down) == [
        ("ip", "link", "set", "vcan0", "up")
    ]


def test_a_virtual_bus_has_only_a_queue() -> None:
    settings = CanSettings("vcan0", False, 500_000, 875, fd=True, data_bitrate=2_000_000, restart_ms=5)
    assert set_up_commands(settings, virtual_link()) == []
    assert differences(settings, virtual_link()) == []


def test_a_sample_point_near_the_wanted_one_is_that() -> None:
    assert not differences(CanSettings("can0", sample_point_permille=851), controller_link(modes=LISTEN_ONLY))
    found = differences(CanSettings("can0", sample_point_permille=750), controller_link(modes=LISTEN_ONLY))
    assert [str(one) for one in found] == ["sample_point_permille 875 -> 750"]


@pytest.mark.parametrize(
    ("settings", "link", "missing"),
    [
        (CanSettings("can0"), {"bitrate": 0}, "bitrate"),
        (CanSettings("can0"), {}, None),
        (CanSettings("can0", bitrate=500_000), {"bitrate": 0}, None),
        (CanSettings("can0", fd=True), {}, "data_bitrate"),
        (CanSettings("can0", fd=True), {"data_bitrate": 2_000_000}, None),
    ],
)
def test_what_the_kernel_needs_to_know_is_asked_for(
    settings: CanSettings, link: dict[str, Any], missing: str | None
) -> None:
    assert missing_setting(settings, controller_link(**link)) == missing


def test_by_hand_it_is_one_line() -> None:
    settings = CanSettings("can0", True, 250_000)
    assert set_up_by_hand(settings, None) == "sudo ip link set can0 up type can bitrate 250000 listen-only on"
    assert set_up_by_hand(settings, controller_link()).startswith(
        "sudo ip link set can0 down; sudo ip link set"
    )
    assert set_up_by_hand(settings, virtual_link()) == "sudo ip link set can0 up"


def test_the_configuration_says_how_an_interface_is_to_be() -> None:
    section = DongleSection(
        "can0", mode="normal", bitrate=500_000, fd=True, data_bitrate=2_000_000, sample_point_permille=800,
        restart_seconds=0.25, tx_queue_length=100,
    )  # fmt: skip
    assert section.can_settings() == CanSettings("can0", False, 500_000, 800, True, 2_000_000, 250, 100)
    assert DongleSection("can0", mode="normal").can_settings().restart_ms == 100
    assert DongleSection("can0", mode="normal", restart_seconds=0).can_settings().restart_ms == 0
    assert DongleSection("can0").can_settings() == CanSettings("can0")
