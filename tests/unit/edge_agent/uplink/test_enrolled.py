"""An agent is called as it was enrolled, where its file says nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.loading import load_agent_config
from edge_agent.uplink.enrolled import enrolled_id, load_config, store_enrolled_id

LEAST = '[server]\nurl = "https://stream.example.com"\n{server}\n[[dongles]]\nchannel = "can0"\n'


def written(directory: Path, server: str = "", agent: str = "") -> Path:
    path = directory / "agent.toml"
    path.write_text(LEAST.format(server=server) + agent)
    return path


def test_the_id_lies_beside_the_token_and_names_agent_and_dongles(tmp_path: Path) -> None:
    token = tmp_path / "state" / "token"
    path = written(tmp_path, f'token_file = "{token}"')
    assert load_config(path).agent_id == load_agent_config(path).agent_id, "not enrolled yet: the host name"
    store_enrolled_id(token, "van7")
    config = load_config(path)
    assert (config.agent_id, config.dongles[0].id) == ("van7", "van7-can0")
    assert stat.S_IMODE((tmp_path / "state" / "token.agent-id").stat().st_mode) == 0o644


def test_what_the_file_says_wins(tmp_path: Path) -> None:
    store_enrolled_id(tmp_path / "token", "van7")
    path = written(tmp_path, f'token_file = "{tmp_path / "token"}"', '[agent]\nid = "bus9"\n')
    assert load_config(path).agent_id == "bus9"


def test_without_a_token_file_it_lies_where_enroll_puts_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.uplink.enrolled.default_token_file", lambda: tmp_path / "token")
    assert enrolled_id(None) is None
    store_enrolled_id(tmp_path / "token", "van7")
    assert load_config(written(tmp_path)).agent_id == "van7"


def test_where_it_cannot_be_stored_enrolling_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store_enrolled_id(tmp_path / "file" / "token", "van7")
    assert enrolled_id(str(tmp_path / "file" / "token")) is None


@given(content=st.binary(max_size=80))
def test_any_bytes_are_an_id_or_none(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    token = tmp_path_factory.getbasetemp() / "token"
    token.with_name("token.agent-id").write_bytes(content)
    found = enrolled_id(str(token))
    assert found is None or found == content.decode().strip()
