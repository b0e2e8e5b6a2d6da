"""The agent's configuration file: what is accepted, what it means, what is refused."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import msgspec
import pytest

from can_stream.databases.bundled import bundled
from can_stream.databases.options import options_for
from can_stream.strict_config import ConfigError
from edge_agent.config.dongle import LISTEN_ONLY_OPTIONS, DongleSection, LogOptions, SlcanOptions
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig, AgentSection, ServerSection, UplinkSection
from edge_agent.config.signal_rules import SignalRule
from edge_agent.config.transmit import AllowEntry, RelaySection, ReplayRule, TransmitSection

SERVER = '[server]\nurl = "https://stream.example.com"\n'
DOCS = Path(__file__).parents[4] / "docs" / "agent-configuration.md"


def config_of(tmp_path: Path, text: str, host_name: str = "Van7") -> AgentConfig:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return load_agent_config(path, host_name)


def problems_of(tmp_path: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text)
    return dict(caught.value.problems)


def test_the_least_that_works_is_a_url_and_a_channel(tmp_path: Path) -> None:
    config = config_of(tmp_path, SERVER + '[[dongles]]\nchannel = "can0"\n')
    assert config.agent_id == "van7"
    (info,) = config.dongle_infos()
    assert (info.dongle_id, info.interface, info.mode) == ("van7-can0", "socketcan", "listen_only")
    assert config.server.websocket_url("/ws/agent") == "wss://stream.example.com/ws/agent"


def test_default_ids_are_made_of_host_name_and_channel(tmp_path: Path) -> None:
    text = SERVER + '[[dongles]]\nchannel = "/dev/ttyUSB0"\ninterface = "slcan"\nbitrate = 500000\n'
    config = config_of(tmp_path, text, host_name="Van 7.Local")
    assert [info.dongle_id for info in config.dongle_infos()] == ["van-7.local-dev-ttyusb0"]


def test_two_dongles_of_one_id_are_refused_also_when_the_ids_are_defaults(tmp_path: Path) -> None:
    text = SERVER + '[[dongles]]\nchannel = "can0"\n[[dongles]]\nchannel = "can1"\nid = "van7-can0"\n'
    assert set(problems_of(tmp_path, text)) == {"dongles[0].id", "dongles[1].id"}


def test_duplicates_are_told_together_with_everything_else(tmp_path: Path) -> None:
    text = SERVER + '[[dongles]]\nchannel = "can0"\nfd = 1\n[[dongles]]\nchannel = "can0"\n'
    assert set(problems_of(tmp_path, text)) == {"dongles[0].fd", "dongles[0].id", "dongles[1].id"}


def test_a_database_is_one_that_comes_along_or_a_file_beside_the_configuration(tmp_path: Path) -> None:
    config = config_of(tmp_path, SERVER + '[[dongles]]\nchannel = "can0"\ndatabases = ["obd2", "obd2.dbc"]\n')
    assert config.dongles[0].databases == [str(bundled("obd2")), str(tmp_path / "obd2.dbc")]


def test_what_is_said_of_databases_is_of_a_name_or_of_a_path_beside_the_configuration(tmp_path: Path) -> None:
    lines = (
        'databases = ["van/n2k.dbc"]\n'
        'database_options = [{ match = "n2k*", protocol = "j1939" },'
        ' { match = "van/*.dbc", encoding = "gbk" }]\n'
    )
    (dongle,) = config_of(tmp_path, SERVER + f'[[dongles]]\nchannel = "can0"\n{lines}').dongles
    found = options_for(PurePath(dongle.databases[0]), dongle.database_options)
    assert (found.protocol, found.encoding) == ("j1939", "gbk")
    elsewhere = options_for(tmp_path / "other" / "n2k.dbc", dongle.database_options)
    assert (elsewhere.protocol, elsewhere.encoding) == ("j1939", None)


@pytest.mark.parametrize("section", ["commands"])
def test_what_is_not_built_yet_is_refused_not_ignored(tmp_path: Path, section: str) -> None:
    text = SERVER + f'[[dongles]]\nchannel = "can0"\n[{section}]\n'
    assert problems_of(tmp_path, text) == {section: "is not supported by this version yet"}


def test_a_spool_syncs_after_it_writes_and_has_room_for_a_packet(tmp_path: Path) -> None:
    text = SERVER + '[[dongles]]\nchannel = "can0"\n[spool]\n'
    assert set(problems_of(tmp_path, text + "sync_seconds = 0.25\n")) == {"spool.sync_seconds"}
    assert set(problems_of(tmp_path, text + "max_bytes = 999_999\n")) == {"spool.max_bytes"}


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('interface = "slcan"', "bitrate"),
        ('interface = "slcan"\nbitrate = 123456', "bitrate"),
        ('interface = "slcan"\nbitrate = 500000\nfd = true\ndata_bitrate = 3000000', "data_bitrate"),
        ('interface = "slcan"\nbitrate = 500000\noptions = { timestamps = 1 }', "options.timestamps"),
        (
            'interface = "slcan"\nbitrate = 500000\noptions = { sleep_after_open = 1 }',
            "options.sleep_after_open",
        ),
        (
            'interface = "slcan"\nbitrate = 500000\noptions = { serial_baudrate = 0 }',
            "options.serial_baudrate",
        ),
        ("data_bitrate = 2000000", "data_bitrate"),
        ("bitrate = 10", "bitrate"),
        ("options = { bitrate = 500000 }", "options.bitrate"),
        ("options = { receive_own_messages = true }", "options.receive_own_messages"),
        ("options = { anything = 1 }", "options.anything"),
        ('interface = "vector"\noptions = { listen_only = false }', "options.listen_only"),
        ('interface = "log"\nbitrate = 500000', "bitrate"),
        ('interface = "log"\noptions = { speed = 0 }', "options.speed"),
        ('interface = "log"\noptions = { lop = true }', "options.lop"),
        ("sample_point_permille = 1000", "sample_point_permille"),
        ("restart_seconds = 0.1", "restart_seconds"),
        ('interface = "slcan"\nbitrate = 500000\ntx_queue_length = 100', "tx_queue_length"),
        ('interface = "log"\nsample_point_permille = 875', "sample_point_permille"),
        ('frame_filters = [{ id = "7E8" }]', "frame_filters[0].id"),
        ("frame_filters = [{ id = 0x20000000 }]", "frame_filters[0].id"),
        ('frame_filters = [{ id = "0x12345678", extended = false }]', "frame_filters[0].extended"),
        ('id = "Van 7"', "id"),
        ('id = "van7\\n"', "id"),
        ('mode = "loopback"', "mode"),
        ('database_options = [{ match = "a.dbc", protocol = "can" }]', "database_options"),
        (
            'databases = ["a.dbc"]\ndatabase_options = [{ match = "a.dbc", protocol = "nmea2000" }]',
            "database_options[0].protocol",
        ),
        (
            'databases = ["a.dbc"]\ndatabase_options = [{ match = "a.dbc", encoding = "klingon" }]',
            "database_options[0].encoding",
        ),
        (
            'databases = ["a.dbc"]\ndatabase_options = [{ match = "a.dbc", bus = "A", buss = "B" }]',
            "database_options[0].buss",
        ),
        ('databases = ["a.dbc"]\ndatabase_options = [{ match = "a.dbc" }]', "database_options[0].protocol"),
    ],
)
def test_each_mistake_in_a_dongle_is_named(tmp_path: Path, lines: str, key: str) -> None:
    found = problems_of(tmp_path, SERVER + f'[[dongles]]\nchannel = "x"\n{lines}\n')
    assert set(found) == {f"dongles[0].{key}"}


@pytest.mark.parametrize(
    ("lines", "key", "part"),
    [
        ("", "channel", "or `device_id` instead"),
        ('channel = ""', "channel", "length"),
        ('channel = "can0"\ndevice_id = "A1"', "device_id", "leave one of them out"),
        ('device_id = "A1"\ninterface = "log"', "device_id", "name a `channel`"),
        ('device_id = "A1"\ninterface = "pcan"', "device_id", "socketcan and slcan"),
        ('device_id = "A1"\ninterface = "slcan"', "bitrate", "required"),
    ],
)
def test_a_dongle_has_either_a_channel_or_a_device_id(
    tmp_path: Path, lines: str, key: str, part: str
) -> None:
    found = problems_of(tmp_path, SERVER + f"[[dongles]]\n{lines}\n")
    assert set(found) == {f"dongles[0].{key}"}
    assert part in found[f"dongles[0].{key}"]


def test_a_device_id_makes_the_default_id_and_is_told(tmp_path: Path) -> None:
    text = SERVER + '[[dongles]]\ndevice_id = "1d50:606F@1-1.2"\n'
    (info,) = config_of(tmp_path, text).dongle_infos()
    assert info.dongle_id == "van7-1d50-606f-1-1.2"
    assert (info.device_id, info.channel) == ("1d50:606F@1-1.2", "1d50:606F@1-1.2")
    assert set(problems_of(tmp_path, text + '[[dongles]]\ndevice_id = "1D50:606f@1-1.2"\n')) == {
        "dongles[0].id",
        "dongles[1].id",
    }


@pytest.mark.parametrize("speed", ["1", "2.5", '"max"'])
def test_a_log_plays_at_any_speed(tmp_path: Path, speed: str) -> None:
    text = (
        f'[[dongles]]\nchannel = "a.log"\ninterface = "log"\noptions = {{ speed = {speed}, loop = true }}\n'
    )
    options = config_of(tmp_path, SERVER + text).dongles[0].log_options()
    assert options == LogOptions(speed="max" if "max" in speed else float(speed), loop=True)


def test_slcan_has_all_its_bit_rates_and_options(tmp_path: Path) -> None:
    text = '[[dongles]]\nchannel = "/dev/ttyACM0"\ninterface = "slcan"\nbitrate = 800000\nfd = true\n'
    text += "data_bitrate = 5000000\noptions = { serial_baudrate = 3_000_000, timestamps = true }\n"
    (dongle,) = config_of(tmp_path, SERVER + text).dongles
    assert dongle.slcan_options() == SlcanOptions(serial_baudrate=3_000_000, timestamps=True)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://name:word@x.example", "credentials"),
        ("https://name@x.example", "credentials"),
        ("ftp://x.example", "must be like"),
        ("x.example", "must be like"),
        ("https://", "must be like"),
        ("https://x.example:99999", "is not a URL"),
        ("https://x.example/?token=1", "query"),
        ("https://x example", "must be like"),
    ],
)
def test_a_url_that_cannot_be_a_server_is_refused(tmp_path: Path, url: str, part: str) -> None:
    found = problems_of(tmp_path, f'[server]\nurl = "{url}"\n[[dongles]]\nchannel = "can0"\n')
    assert set(found) == {"server.url"}
    assert part in found["server.url"]
    assert "word" not in found["server.url"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws/agent"),
        ("wss://x.example/base/", "wss://x.example/base/ws/agent"),
        ("HTTPS://[::1]:8443/", "wss://[::1]:8443/ws/agent"),
    ],
)
def test_the_websocket_address_follows_from_the_url(url: str, expected: str) -> None:
    assert ServerSection(url).websocket_url("/ws/agent") == expected


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "[agent]": AgentSection,
    "[server]": ServerSection,
    "[[dongles]]": DongleSection,
    "frame_filters": FrameFilter,
    "[[dongles.signals]]": SignalRule,
    "log": LogOptions,
    "interface slcan": SlcanOptions,
    "[uplink]": UplinkSection,
    "[transmit]": TransmitSection,
    "[relay]": RelaySection,
    "entry of allow": AllowEntry,
    "entry of policy": ReplayRule,
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_and_its_default_is_in_the_documentation(heading: str) -> None:
    sections = re.split(r"^##+ ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (section,) = [one for one in sections if heading in one.splitlines()[0]]
    rows = {match[1]: match[2] for match in re.finditer(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE)}
    fields = {field.encode_name: field for field in msgspec.structs.fields(SECTIONS[heading])}
    assert set(rows) == set(fields)
    for key, field in fields.items():
        if isinstance(field.default, bool | int | float | str):
            shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert shown in rows[key], key
        assert ("required" in rows[key]) == field.required


def test_every_key_that_is_not_supported_yet_is_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for struct in (AgentConfig,):
        for key in struct.not_supported:
            assert f"`{key}`" in text, key


def test_every_interface_that_can_listen_only_is_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"`{interface}`" in text for interface in LISTEN_ONLY_OPTIONS)


def test_the_example_of_the_documentation_is_a_good_file(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        config_of(tmp_path, block)
