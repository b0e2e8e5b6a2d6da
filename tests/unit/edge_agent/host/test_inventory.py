"""What is plugged in, out of a /sys that is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.host.adapter import MAX_TEXT_CHARACTERS, Adapter
from edge_agent.host.inventory import MAX_ADAPTERS, Inventory
from tests.helpers.sysfs import SysTree


@pytest.fixture
def tree(tmp_path: Path) -> SysTree:
    return SysTree(tmp_path / "sys")


def adapters(tree: SysTree, *ports: str) -> dict[str, Adapter]:
    return {one.channel: one for one in Inventory(ports, tree.root).adapters()}


def device_ids(tree: SysTree) -> dict[str, str | None]:
    return {channel: one.device_id for channel, one in adapters(tree).items()}


def test_a_stick_is_described_with_everything_that_it_says(tree: SysTree) -> None:
    stick = tree.stick("1-1.2", serial=b"003A0027")
    tree.network("can0", tree.function(stick), flags=0x1003)
    (can,) = adapters(tree).values()
    assert (can.interface, can.channel, can.device_id, can.driver) == (
        "socketcan",
        "can0",
        "003A0027",
        "gs_usb",
    )
    assert (can.serial_number, can.manufacturer) == ("003A0027", "bytewerk")
    assert (can.usb_id, can.port_id) == ("1d50:606f", "1d50:606f@1-1.2")
    assert can.product == "candleLight USB to CAN adapter"
    assert can.is_up is True


def test_a_serial_port_is_found_behind_either_kind_of_driver(tree: SysTree) -> None:
    cdc = tree.function(tree.stick("1-1", serial=b"A1"), driver="cdc_acm")
    tree.serial_port("ttyACM0", cdc)
    port = tree.function(tree.stick("1-2", serial=b"B2"), driver="usb") / "ttyUSB0"
    port.mkdir()
    tree.serial_port("ttyUSB0", tree.driven(port, "ftdi_sio"))
    found = adapters(tree)
    assert {channel: (one.device_id, one.driver) for channel, one in found.items()} == {
        "/dev/ttyACM0": ("A1", "cdc_acm"),
        "/dev/ttyUSB0": ("B2", "ftdi_sio"),
    }
    assert {one.interface for one in found.values()} == {"slcan"}


def test_what_is_no_adapter_is_left_out(tree: SysTree) -> None:
    tree.network("eth0", tree.function(tree.stick()), kind="1")
    tree.serial_port("tty0")
    tree.serial_port("ttyS0", tree.board("serial8250", "serial8250"))
    tree.network("can\u2028", None)
    assert adapters(tree) == {}


def test_two_sticks_of_one_serial_number_are_told_apart_by_their_ports(tree: SysTree) -> None:
    for number in (1, 2):
        tree.network(f"can{number}", tree.function(tree.stick(f"1-{number}", serial=b"0001")))
    tree.network("can3", tree.function(tree.stick("1-3")))
    tree.network("can4", tree.function(tree.stick("1-4", serial=b" \n")))
    tree.serial_port("ttyACM0", tree.function(tree.stick("1-5", serial=b"0001", usb_id="16d0:117e")))
    assert device_ids(tree) == {
        "can1": "1d50:606f@1-1",
        "can2": "1d50:606f@1-2",
        "can3": "1d50:606f@1-3",
        "can4": "1d50:606f@1-4",
        "/dev/ttyACM0": "0001",
    }


@pytest.mark.parametrize("newer", [False, True])
def test_the_channels_of_one_stick_are_numbered(tree: SysTree, newer: bool) -> None:
    function = tree.function(tree.stick(serial=b"ABC"))
    for number in range(3):
        tree.network(f"can{number}", function, dev_id=0 if newer else number, dev_port=number * newer)
    assert device_ids(tree) == {"can0": "ABC", "can1": "ABC-1", "can2": "ABC-2"}


def test_a_channel_keeps_its_id_while_the_others_of_its_stick_go(tree: SysTree) -> None:
    function = tree.function(tree.stick(serial=b"ABC"))
    for number in range(2):
        tree.network(f"can{number}", function, dev_id=number)
    tree.unplug("can0")
    assert device_ids(tree) == {"can1": "ABC-1"}


def test_the_serial_ports_of_one_stick_are_numbered_by_function(tree: SysTree) -> None:
    stick = tree.stick(serial=b"ABC")
    for number in (0, 2):
        tree.serial_port(f"ttyACM{number}", tree.function(stick, number, "cdc_acm"))
    assert device_ids(tree) == {"/dev/ttyACM0": "ABC", "/dev/ttyACM2": "ABC-2"}


def test_channels_that_nothing_tells_apart_have_no_id(tree: SysTree) -> None:
    function = tree.function(tree.stick(serial=b"ABC"))
    for name in ("can0", "can1"):
        tree.network(name, function)
    assert device_ids(tree) == {"can0": None, "can1": None}


def test_a_device_of_the_board_has_the_name_of_its_place_and_a_virtual_one_its_alias(tree: SysTree) -> None:
    tree.network("can0", tree.board("spi0.0"))
    tree.network("vcan0", alias=b"engine bus\n")
    tree.network("vcan1")
    assert device_ids(tree) == {"can0": "spi0.0", "vcan0": "engine bus", "vcan1": None}
    assert adapters(tree)["can0"].driver == "mcp251x"


def test_garbage_in_descriptors_is_harmless(tree: SysTree) -> None:
    stick = tree.stick(serial=b"\xff\x1b[2J\x00A\n second", product=b"x" * 100_000, manufacturer=b"\xc3\x28")
    tree.network("can0", tree.function(stick), flags=-5)
    (function,) = stick.glob("*:1.0")
    (function / "net" / "can0" / "dev_id").write_bytes(b"9" * 5000)
    (found,) = adapters(tree).values()
    assert found.serial_number == "\ufffd?[2J?A"
    assert len(found.product) == MAX_TEXT_CHARACTERS
    assert found.is_up is False


def test_a_machine_without_sys_has_nothing(tmp_path: Path) -> None:
    inventory = Inventory(["/dev/no-such-port", "odd\0name"], tmp_path / "no-sys")
    assert (inventory.adapters(), inventory.signature()) == ([], frozenset())


def test_there_is_a_limit_to_how_many_are_listed(tree: SysTree) -> None:
    for number in range(MAX_ADAPTERS + 4):
        tree.network(f"vcan{number}")
    assert len(adapters(tree)) == MAX_ADAPTERS


def test_a_configured_port_is_known_by_the_names_that_lead_to_it(tree: SysTree, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    port, link = os.ttyname(theirs), tmp_path / "can-adapter"
    inventory = Inventory([str(link)], tree.root)
    assert inventory.adapters() == []
    before = inventory.signature()
    link.symlink_to(port)
    (found,) = inventory.adapters()
    assert (found.channel, found.names, found.device_id) == (port, frozenset({port, str(link)}), None)
    assert inventory.signature() != before
    link.unlink()
    assert inventory.signature() == before
    os.close(ours)
    os.close(theirs)


def test_the_signature_changes_when_something_comes_or_goes(tree: SysTree) -> None:
    inventory = Inventory(root=tree.root)
    signatures = [inventory.signature()]
    tree.network("can0", tree.function(tree.stick()))
    signatures.append(inventory.signature())
    tree.serial_port("ttyACM0", tree.function(tree.stick("1-2")))
    signatures.append(inventory.signature())
    assert len(set(signatures)) == 3
    assert inventory.signature() == signatures[-1]
    tree.unplug("ttyACM0")
    assert inventory.signature() == signatures[1]
