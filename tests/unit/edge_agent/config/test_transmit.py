"""[transmit] and [relay]: a permission is clear, or it is a mistake that names its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from can_stream.strict_config import ConfigError
from edge_agent.cli.set_up.check_config import check_config
from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig
from edge_agent.config.transmit import AllowEntry

SERVER = '[server]\nurl = "https://stream.example.com"\n'
LISTENER = '[[dongles]]\nchannel = "can0"\n'
NORMAL = '[[dongles]]\nchannel = "can1"\nmode = "normal"\n'
LOG = '[[dongles]]\nchannel = "a.log"\ninterface = "log"\nmode = "normal"\n'


def config_of(tmp_path: Path, text: str) -> AgentConfig:
    path = tmp_path / "agent.toml"
    path.write_text(SERVER + text)
    return load_agent_config(path, "van7")


def problems_of(tmp_path: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text)
    return dict(caught.value.problems)


def test_everything_is_off_by_default(tmp_path: Path) -> None:
    config = config_of(tmp_path, NORMAL)
    assert (config.transmit.mode, config.relay.transmit) == ("off", "off")


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('[transmit]\nmode = "on"', "transmit.mode"),
        ('[transmit]\nmode = "allowlist"', "transmit.allow"),
        ('[transmit]\nmode = "all"\nallow = [{ id = 1 }]', "transmit.allow"),
        ('[transmit]\nmode = "all"\nmax_frames_per_second = 0', "transmit.max_frames_per_second"),
        ("[transmit]\nallow = [{ data = '00' }]", "transmit.allow[0].id"),
        ('[transmit]\nallow = [{ id = 1 }, { id = "7DF" }]', "transmit.allow[1].id"),
        ('[transmit]\nallow = [{ id = "0x7E9", mask = "0x7F8" }]', "transmit.allow[0].mask"),
        ('[transmit]\nallow = [{ id = "0x7DF", mask = "0x1FFFFFFF" }]', "transmit.allow[0].extended"),
        ('[transmit]\nallow = [{ id = "0x800", extended = false }]', "transmit.allow[0].extended"),
        ('[transmit]\nallow = [{ id = 1, data = "2 1" }]', "transmit.allow[0].data"),
        ('[transmit]\nallow = [{ id = 1, data = "0201" }]', "transmit.allow[0].data"),
        ('[transmit]\nallow = [{ id = 1, data = "0x 1g" }]', "transmit.allow[0].data"),
        ('[transmit]\nallow = [{ id = 1, data = "00 00 00 00 00 00 00 00 00" }]', "transmit.allow[0].data"),
        (f'[transmit]\nallow = [{{ id = 1, data = "{"** " * 65}" }}]', "transmit.allow[0].data"),
        ("[transmit]\nallow = [{ id = 1, rate = 1 }]", "transmit.allow[0].rate"),
        ('[relay]\ntransmit = "all"', "relay.max_age_seconds"),
        ('[relay]\ntransmit = "allowlist"\nmax_age_seconds = 1', "relay.allow"),
        ('[relay]\ntransmit = "all"\nmax_age_seconds = 0', "relay.max_age_seconds"),
        ("[relay]\nmax_bus_load = 1.1", "relay.max_bus_load"),
        ("[relay]\nmax_bus_load = 0", "relay.max_bus_load"),
        ("[relay]\nmax_live_bus_load = 1.1", "relay.max_live_bus_load"),
        ("[relay]\nlease_seconds = 0.4", "relay.lease_seconds"),
        ("[relay]\nlease_seconds = 11", "relay.lease_seconds"),
        ("[relay]\nasleep_after_seconds = 0", "relay.asleep_after_seconds"),
        ('[relay]\nenable_file = ""', "relay.enable_file"),
        ("[relay]\nsource = 1", "relay.source"),
        ('[relay]\ngate = [{ signal = "A.B" }]', "relay.gate[0].max"),
        ('[relay]\ngate = [{ signal = "A", max = 0 }]', "relay.gate[0].signal"),
        ('[relay]\ngate = [{ signal = "A.B", min = 2, max = 1 }]', "relay.gate[0].max"),
        ('[relay]\ngate = [{ signal = "A.B", equal = 2, max = 1 }]', "relay.gate[0].equal"),
        ('[relay]\ngate = [{ signal = "A.B", max = inf }]', "relay.gate[0].max"),
        ('[relay]\ngate = [{ signal = "A.B", max = 0, fresh_seconds = 0 }]', "relay.gate[0].fresh_seconds"),
        ('[relay]\npolicy = [{ id = 1, replay = "newest" }]', "relay.policy[0].replay"),
        ("[relay]\npolicy = [{ id = 1 }]", "relay.policy[0].replay"),
        ('[relay]\npolicy = [{ id = -1, replay = "all" }]', "relay.policy[0].id"),
        (
            '[relay]\npolicy = [{ id = 1, replay = "all" }, { id = "0x1", replay = "never" }]',
            "relay.policy[1].id",
        ),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, lines: str, key: str) -> None:
    assert set(problems_of(tmp_path, f"{NORMAL}{lines}\n")) == {key}


def test_a_switch_is_found_from_the_directory_of_the_file(tmp_path: Path) -> None:
    for said, path in (("key", tmp_path / "key"), ("/run/key", Path("/run/key"))):
        assert config_of(tmp_path, f'{NORMAL}[relay]\nenable_file = "{said}"\n').relay.enable_file == str(
            path
        )


def test_the_same_number_as_a_long_and_a_short_id_is_two_ids(tmp_path: Path) -> None:
    policy = 'policy = [{ id = 1, replay = "latest" }, { id = 1, extended = true, replay = "never" }]'
    assert len(config_of(tmp_path, f"{NORMAL}[relay]\n{policy}\n").relay.policy) == 2


@pytest.mark.parametrize("dongles", [LISTENER, LOG, LISTENER + LOG])
def test_a_permission_that_no_dongle_could_use_is_a_mistake(tmp_path: Path, dongles: str) -> None:
    text = f'{dongles}[transmit]\nmode = "all"\n[relay]\ntransmit = "all"\nmax_age_seconds = 1\n'
    found = problems_of(tmp_path, text)
    assert set(found) == {"transmit.mode", "relay.transmit"}
    assert 'mode = "normal"' in found["transmit.mode"]


def test_one_dongle_in_normal_mode_is_enough_and_the_listener_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.log").write_text("(1.000000) can0 100#01\n")
    path = tmp_path / "agent.toml"
    allow = '{ id = "0x7DF", data = "02 01 0c" }, { id = "0x100", mask = "0x700" }, { id = "0x18DAF110" }'
    path.write_text(
        f'{SERVER}[agent]\nid = "van7"\n{LISTENER}{NORMAL}{LOG}'
        f'[transmit]\nmode = "allowlist"\nallow = [{allow}]\nmax_frames_per_second = 2.5\n'
        '[relay]\ntransmit = "all"\nmax_age_seconds = 2\n'
    )
    result = CliRunner().invoke(check_config, [str(path)])
    assert result.exit_code == 0
    assert result.output.splitlines()[1:] == [
        "  van7-can0: socketcan can0, listen_only",
        "    never transmits",
        "  van7-can1: socketcan can1, normal",
        "    may transmit ids 0x7DF with data 02 01 0C, 0x100 mask 0x700, 0x18DAF110, at most 2.5 frames/s "
        "by commands, which is not in force yet, for this version runs none; "
        "and every frame, none older than 2 s, by the relay",
        "  van7-a.log: log a.log, normal",
        "    never transmits",
    ]


def test_a_long_list_is_told_shortly(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    allow = ", ".join(f"{{ id = {number} }}" for number in range(20))
    path.write_text(f'{SERVER}{NORMAL}[transmit]\nmode = "allowlist"\nallow = [{allow}]\n')
    assert (
        "0x007 and 12 more entries, at most 100 frames/s"
        in CliRunner().invoke(check_config, [str(path)]).output
    )


@given(st.text(max_size=30) | st.text("0123456789aF* ", max_size=30))
def test_any_text_is_data_or_a_problem(text: str) -> None:
    entry = AllowEntry(1, data=text)
    masks = entry.data_masks() if not list(entry.problems()) else (b"", b"")
    assert masks is not None
    wanted, mask = masks
    assert len(wanted) == len(mask) <= 64
    assert all(byte & ~bits == 0 for byte, bits in zip(wanted, mask, strict=True))
