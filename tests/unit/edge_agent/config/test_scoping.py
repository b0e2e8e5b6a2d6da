"""An entry for one dongle permits nothing on the bus of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.strict_config import ConfigError
from edge_agent.config.gates import GateEntry
from edge_agent.config.loading import load_agent_config
from edge_agent.config.scoping import relay_for, relayed_to, transmit_for
from edge_agent.config.sections import AgentConfig
from edge_agent.config.transmit import AllowEntry, RelaySection, ReplayRule, TransmitSection

TWO = """[server]
url = "https://stream.example.com"
[[dongles]]
id = "one"
channel = "can0"
mode = "normal"
databases = ["a.dbc"]
[[dongles]]
id = "two"
channel = "can1"
mode = "normal"
[[dongles]]
id = "played"
channel = "a.log"
interface = "log"
"""


def config_of(tmp_path: Path, text: str) -> AgentConfig:
    path = tmp_path / "agent.toml"
    path.write_text(f"{TWO}{text}\n")
    return load_agent_config(path, "van7")


@pytest.mark.parametrize(
    ("lines", "key", "remedy"),
    [
        ('[relay]\ntransmit = "all"', "relay.dongles", "is required"),
        ('[relay]\ntransmit = "all"\ndongles = ["three"]', "relay.dongles[0]", "one of one, two"),
        ('[relay]\ntransmit = "all"\ndongles = []', "relay.dongles", ""),
        ('[transmit]\nmode = "all"\n[relay]', "transmit.dongles", "is required"),
        ('[relay]\npolicy = [{ id = 1, replay = "all", dongle = "x" }]', "relay.policy[0].dongle", "one of"),
        ('[relay]\nallow = [{ id = 1, dongle = "x" }]', "relay.allow[0].dongle", "one of"),
        (
            '[relay]\ndongles = ["one"]\nallow = [{ id = 1, dongle = "two" }]',
            "relay.allow[0].dongle",
            "add it",
        ),
        ('[relay]\ngate = [{ signal = "A.B", max = 0, dongle = "x" }]', "relay.gate[0].dongle", "one of"),
        (
            '[relay]\ngate = [{ signal = "A.B", max = 0, dongle = "two" }]',
            "relay.gate[0].signal",
            "databases",
        ),
        ('[relay]\ngate = [{ signal = "A.B", max = 0, dongle = "played" }]', "relay.gate[0].dongle", "a log"),
        (
            '[relay]\ntransmit = "all"\ndongles = ["two"]\ngate = [{ signal = "A.B", max = 0 }]',
            "relay.gate[0].signal",
            "name another bus",
        ),
        (
            '[relay]\npolicy = [{ id = 1, replay = "all", dongle = "one" }, { id = 1, replay = "never" }]',
            "relay.policy[1].id",
            "policy[0]",
        ),
    ],
)
def test_each_mistake_names_its_place_and_the_remedy(
    tmp_path: Path, lines: str, key: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, f"{lines}\nmax_age_seconds = 1")
    found = dict(caught.value.problems)
    assert set(found) == {key}
    assert remedy in found[key]


def test_all_for_one_of_two_is_for_that_one_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path, '[relay]\ntransmit = "all"\ndongles = ["one"]\nmax_age_seconds = 1')
    assert [one.id for one in relayed_to(config.relay, config.dongles)] == ["one"]
    assert relay_for(config.relay, "two").transmit == "off"


def test_rules_of_one_id_may_differ_from_bus_to_bus(tmp_path: Path) -> None:
    rules = '{ id = 1, replay = "never", dongle = "one" }, { id = 1, replay = "latest", dongle = "two" }'
    relay = config_of(tmp_path, f"[relay]\npolicy = [{rules}]").relay
    assert [rule.replay for rule in relay_for(relay, "two").policy] == ["latest"]


IDS = st.sampled_from(["one", "two", "three"])
WHOSE = st.none() | IDS


@given(st.lists(WHOSE), st.lists(WHOSE), st.none() | st.lists(IDS, min_size=1), IDS)
def test_a_dongle_gets_what_is_for_it_and_nothing_else(
    allow: list[str | None], policy: list[str | None], dongles: list[str] | None, dongle_id: str
) -> None:
    entries = [AllowEntry(number, dongle=whose) for number, whose in enumerate(allow)]
    rules = [ReplayRule(number, "never", dongle=whose) for number, whose in enumerate(policy)]
    gate = [GateEntry("A.B", max=0), GateEntry("A.B", "three", max=0)]
    relay = relay_for(
        RelaySection(transmit="allowlist", dongles=dongles, allow=entries, policy=rules, gate=gate), dongle_id
    )
    mine = [number for number, whose in enumerate(allow) if whose in (None, dongle_id)]
    assert [entry.id for entry in relay.allow] == mine
    assert [rule.id for rule in relay.policy] == [
        n for n, whose in enumerate(policy) if whose in (None, dongle_id)
    ]
    assert [one.dongle for one in relay.gate] == [dongle_id, "three"]
    chosen = dongles is None or dongle_id in dongles
    assert relay.transmit == ("allowlist" if mine and chosen else "off")
    transmit = transmit_for(TransmitSection("allowlist", entries, dongles=dongles), dongle_id)
    assert (transmit.mode, transmit.allow) == (relay.transmit, relay.allow)
