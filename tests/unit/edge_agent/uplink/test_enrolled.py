"""An agent is called as it was enrolled, and its file cannot say otherwise."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.strict_config import ConfigError
from edge_agent.config.loading import load_agent_config
from edge_agent.errors import CredentialError
from edge_agent.uplink.credentials import write_token
from edge_agent.uplink.enrolled import check_place, enrolled, load_config, store_enrolled_id

TOKEN = "cea_agent_s3cret"
LEAST = '[server]\nurl = "https://stream.example.com"\n{server}\n[[dongles]]\nchannel = "can0"\n'


def written(directory: Path, server: str = "", agent: str = "") -> Path:
    path = directory / "agent.toml"
    path.write_text(LEAST.format(server=server) + agent)
    return path


def enrol(token_file: Path, agent_id: str) -> None:
    """What `edge-agent enroll` leaves."""
    write_token(token_file, TOKEN)
    store_enrolled_id(token_file, agent_id, TOKEN)


def test_the_id_lies_beside_the_token_and_names_agent_and_dongles(tmp_path: Path) -> None:
    token = tmp_path / "state" / "token"
    path = written(tmp_path, f'token_file = "{token}"')
    assert load_config(path).agent_id == load_agent_config(path).agent_id, "not enrolled yet: the host name"
    enrol(token, "van7")
    config = load_config(path)
    assert (config.agent_id, config.dongles[0].id) == ("van7", "van7-can0")
    assert stat.S_IMODE((tmp_path / "state" / "token.agent-id").stat().st_mode) == 0o644
    assert TOKEN not in (tmp_path / "state" / "token.agent-id").read_text()


def test_another_id_in_the_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    token = tmp_path / "token"
    enrol(token, "van7")
    path = written(tmp_path, f'token_file = "{token}"', '[agent]\nid = "bus9"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == (
        f"{path}: agent.id: is 'bus9', but the token in {token} is that of 'van7': leave `id` out "
        'or set it to "van7", or run `edge-agent enroll --server https://stream.example.com '
        f"--token-file FILE --agent-id bus9 --out {token}`"
    )
    assert load_config(written(tmp_path, f'token_file = "{token}"', '[agent]\nid = "van7"\n'))


def test_a_token_without_an_id_beside_it_goes_on_working(tmp_path: Path) -> None:
    write_token(tmp_path / "token", TOKEN)
    path = written(tmp_path, f'token_file = "{tmp_path / "token"}"', '[agent]\nid = "bus9"\n')
    assert load_config(path).agent_id == "bus9"


def test_the_id_says_nothing_of_another_token_in_its_place(tmp_path: Path) -> None:
    token = tmp_path / "token"
    enrol(token, "van7")
    write_token(token, "cea_agent_of-somebody-else")
    path = written(tmp_path, f'token_file = "{token}"', '[agent]\nid = "bus9"\n')
    assert load_config(path).agent_id == "bus9"
    token.unlink()
    assert enrolled(str(token)), "a token that only the service can read is not another one"


def test_an_id_of_before_fingerprints_names_the_agent_where_its_file_does_not(tmp_path: Path) -> None:
    token = tmp_path / "token"
    enrol(token, "van7")
    (tmp_path / "token.agent-id").write_text("van7\n")
    named = f'token_file = "{token}"'
    assert load_config(written(tmp_path, named)).agent_id == "van7"
    assert load_config(written(tmp_path, named, '[agent]\nid = "bus9"\n')).agent_id == "bus9"


def test_an_id_that_somebody_has_edited_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    enrol(token, "van7")
    beside = tmp_path / "token.agent-id"
    beside.write_text(beside.read_text().replace("van7", "van8"))
    assert enrolled(str(token)) is None
    path = written(tmp_path, f'token_file = "{token}"', '[agent]\nid = "van7"\n')
    assert load_config(path).agent_id == "van7", "what the server says it is can be written down"
    store_enrolled_id(token, "van7", TOKEN)
    assert enrolled(str(token)), "mended by the next `enroll`"


def test_without_a_token_file_it_lies_where_enroll_puts_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.uplink.enrolled.default_token_file", lambda: tmp_path / "token")
    assert enrolled(None) is None
    store_enrolled_id(tmp_path / "token", "van7", TOKEN)
    assert load_config(written(tmp_path)).agent_id == "van7"
    with pytest.raises(ConfigError, match=r"--token-file FILE --agent-id bus9`$"):
        load_config(written(tmp_path, agent='[agent]\nid = "bus9"\n'))


def test_a_services_copy_of_the_token_before_is_not_another_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enrolled again while the service runs: what systemd handed to it is of before."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setattr("edge_agent.uplink.credentials.default_token_file", lambda *_: tmp_path / "token")
    monkeypatch.setattr("edge_agent.uplink.enrolled.default_token_file", lambda: tmp_path / "token")
    write_token(tmp_path / "credentials" / "agent-token", "cea_agent_of-before")
    enrol(tmp_path / "token", "van7")
    assert load_config(written(tmp_path)).agent_id == "van7"


def test_where_it_cannot_be_stored_the_remedy_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CredentialError, match="set `id` below"):
        store_enrolled_id(tmp_path / "file" / "token", "van7", TOKEN)


@pytest.mark.parametrize("name", ["token", "t" * 240], ids=["a directory", "a long name"])
def test_that_there_is_no_room_for_the_id_is_known_before(tmp_path: Path, name: str) -> None:
    check_place(tmp_path / "free", "choose")
    if name == "token":
        (tmp_path / "token.agent-id").mkdir()
    with pytest.raises((CredentialError, OSError), match=r"agent-id: .*: choose|too long"):
        check_place(tmp_path / name, "choose")
    assert [one.name for one in tmp_path.iterdir()] == ["token.agent-id"] * (name == "token")


@given(content=st.binary(max_size=120))
def test_any_bytes_are_an_id_or_none(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    token = tmp_path_factory.getbasetemp() / "token"
    token.with_name("token.agent-id").write_bytes(content)
    token.unlink(missing_ok=True)
    found = enrolled(str(token))
    assert found is None or content.decode().strip().partition("\n")[0] == found.agent_id
