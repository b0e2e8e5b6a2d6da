"""Whatever is in a configuration file, it gives a config or the documented error."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.strict_config import ConfigError, check
from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig
from edge_agent.config.server_url import http_url, url_problem, websocket_url

KEYS = [
    "agent", "id", "server", "url", "token_file", "dongles", "channel", "interface", "mode", "bitrate", "fd",
    "data_bitrate", "frames", "frame_filters", "mask", "extended", "options", "speed", "loop", "uplink",
    "flush_seconds", "spool", "databases", "log_channel", "transmit", "relay", "allow", "data", "policy",
    "replay", "max_age_seconds", "device_id",
]  # fmt: skip
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["can0", "log", "slcan", "listen_only", "https://x.example", "max", "0x7E8", "all", "02 **"]
    )
    | st.dates()
)
keys = st.sampled_from(KEYS) | st.text(max_size=10)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
tables = st.dictionaries(keys, documents, max_size=8)


def outcome(document: dict[str, Any]) -> AgentConfig | ConfigError:
    try:
        return check(document, AgentConfig)
    except ConfigError as error:
        return error


@given(tables)
def test_any_document_gives_a_config_or_named_problems(document: dict[str, Any]) -> None:
    result = outcome(document)
    if isinstance(result, ConfigError):
        assert result.problems
        assert len(str(result).splitlines()) == len(result.problems)
    else:
        assert result.dongles


@given(tables, tables, tables)
def test_any_content_of_the_right_tables(
    dongle: dict[str, Any], options: dict[str, Any], uplink: dict[str, Any]
) -> None:
    result = outcome(
        {
            "server": {"url": "http://x.example"},
            "dongles": [{"channel": "can0", "interface": "log", **dongle, "options": options}],
            "uplink": uplink,
        }
    )
    if isinstance(result, ConfigError):
        places = ("dongles[0].", "uplink.")
        assert all(problem.key.startswith(places) for problem in result.problems)


@given(tables, tables)
def test_any_content_of_the_permissions_to_transmit(transmit: dict[str, Any], relay: dict[str, Any]) -> None:
    result = outcome(
        {
            "server": {"url": "http://x.example"},
            "dongles": [{"channel": "can0", "mode": "normal"}],
            "transmit": transmit,
            "relay": relay,
        }
    )
    if isinstance(result, ConfigError):
        assert all(problem.key.startswith(("transmit.", "relay.")) for problem in result.problems)
    else:
        assert result.relay.transmit == "off" or result.relay.max_age_seconds is not None


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_in_the_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "agent.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:  # no such file names a server and a dongle
            load_agent_config(path, "van7")
    assert all(line.startswith(str(path)) for line in str(caught.value).splitlines())


@given(st.text(max_size=60) | st.from_regex(r"\A(https?|wss?)://[a-z0-9@:/?#\[\].]{0,40}\Z"))
def test_any_url_is_refused_or_derives(url: str) -> None:
    if url_problem(url) is None:
        assert websocket_url(url, "/ws/agent").startswith(("ws://", "wss://"))
        assert http_url(url, "/x").startswith(("http://", "https://"))
        assert "@" not in url.split("/")[2]
