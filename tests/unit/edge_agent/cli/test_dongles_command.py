"""What `edge-agent dongles` shows of a /sys that is made."""

from __future__ import annotations

import json
import os
import tomllib
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from pytest_mock import MockerFixture

from edge_agent.cli.look.dongles import table
from edge_agent.cli.main import main
from edge_agent.config.loading import load_agent_config
from edge_agent.host.adapter import Adapter
from edge_agent.host.inventory import Inventory
from tests.helpers.sysfs import SysTree


@pytest.fixture
def tree(tmp_path: Path, mocker: MockerFixture) -> SysTree:
    made = SysTree(tmp_path / "sys")
    mocker.patch("edge_agent.cli.look.dongles.Inventory", partial(Inventory, root=made.root))
    return made


def shown(*options: str) -> str:
    result = CliRunner().invoke(main, ["dongles", *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_nothing_is_no_failure_and_says_what_was_looked_for(tree: SysTree) -> None:
    assert "network interface for CAN" in shown()
    assert "serial port on USB" in shown()
    assert json.loads(shown("--json")) == []


def test_each_adapter_is_a_row_and_a_piece_of_configuration(tree: SysTree) -> None:
    tree.network("can0", tree.function(tree.stick(serial=b'A"1')), flags=0x1)
    tree.serial_port("ttyACM77", tree.function(tree.stick("1-2", serial=b"C3"), driver="cdc_acm"))
    tree.network("vcan0", flags=0)
    text = shown()
    first, can, vcan, port, *_ = text.splitlines()
    assert first.split("  ")[0] == "CHANNEL"
    assert can.split()[:4] == ["can0", "socketcan", "gs_usb", 'A"1']
    assert (vcan.split()[2], vcan.split()[-1]) == ("virtual", "down")
    assert port.split()[:4] == ["/dev/ttyACM77", "slcan", "cdc_acm", "C3"]
    assert "vcan0 is down: run `sudo ip link set vcan0 up`" in text
    configuration = tomllib.loads(text[text.index("[[dongles]]") :].partition("\nThis kernel")[0])
    assert configuration["dongles"][-1] == {
        "interface": "slcan",
        "channel": "/dev/ttyACM77",
        "bitrate": 500_000,
    }
    assert r'# or device_id = "A\"1"' in text


def test_a_port_says_who_has_it(tree: SysTree, mocker: MockerFixture) -> None:
    ours, theirs = os.openpty()
    channel = os.ttyname(theirs)
    here = Adapter("slcan", channel, 1, frozenset({channel}), device_id="C3")
    mocker.patch("edge_agent.cli.look.dongles.Inventory").return_value.adapters.return_value = [here]
    (one,) = json.loads(shown("--json"))
    assert one["state"].startswith("used by ")
    assert f"(process {os.getpid()})" in one["state"]
    assert "stop it" in one["remedy"]
    os.close(theirs)
    (one,) = json.loads(shown("--json"))
    assert (one["state"], one["remedy"]) == ("free" if os.geteuid() == 0 else "accessible", None)
    os.close(ours)


def test_programs_get_all_that_is_known(tree: SysTree) -> None:
    tree.network("can0", tree.function(tree.stick(serial=b"A1")), flags=0)
    (one,) = json.loads(shown("--json"))
    assert (one["channel"], one["device_id"], one["driver"], one["usb_id"]) == (
        "can0",
        "A1",
        "gs_usb",
        "1d50:606f",
    )
    assert (one["state"], one["bitrate"]) == ("down", None)
    assert "type can bitrate" in one["remedy"]


def test_a_line_that_is_too_long_ends_in_dots() -> None:
    rows = [("can0", "socketcan", "gs_usb", "A1", "500000", "up", "x" * 90)]
    lines = table(rows, 80)
    assert max(map(len, lines)) == 80
    assert lines[1].endswith("...")
    assert table(rows, None)[1].endswith("x" * 90)


def test_a_whole_configuration_for_what_is_plugged_in(tree: SysTree, tmp_path: Path) -> None:
    stick = tree.stick(serial=b"A1", product=b"Candle\xc2\x85\x7fLight")
    tree.network("can0", tree.function(stick), flags=0x1)
    tree.serial_port("ttyACM77", tree.function(tree.stick("1-2", serial=b"C3"), driver="cdc_acm"))
    tree.network("vcan0", flags=0x1)
    file = tmp_path / "agent.toml"
    file.write_text(shown("--config"))
    result = CliRunner().invoke(main, ["check-config", "--config", str(file)])
    assert result.exit_code == 0, result.output
    config = load_agent_config(file)
    assert [one.place for one in config.dongles] == ["can0", "vcan0", "/dev/ttyACM77"]
    assert {one.mode for one in config.dongles} == {"listen_only"}
    assert "take it out where this is no CAN adapter" in file.read_text()


def test_a_configuration_for_nothing_is_none_and_says_what_can_be_tried(tree: SysTree) -> None:
    result = CliRunner().invoke(main, ["dongles", "--config"])
    assert (result.exit_code, result.stdout) == (1, "")
    for said in ("No CAN adapter is plugged in", "ip link add dev vcan0 type vcan", 'interface = "log"'):
        assert said in result.stderr
    assert CliRunner().invoke(main, ["dongles", "--config", "--json"]).exit_code == 2
