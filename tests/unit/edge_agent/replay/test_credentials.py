"""Which token a replay streams with, and which it never sends anywhere."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_mock import MockerFixture

from edge_agent.errors import CredentialError, EnrollError
from edge_agent.replay import credentials
from edge_agent.replay.credentials import agent_token
from tests.helpers.http_answers import HttpAnswers

REGISTER = "/api/v1/agents/register"
BOUGHT = "cea_agent_bought"
GOOD = {REGISTER: (201, {"agent_id": "van7", "agent_token": BOUGHT, "ws_url": "ws://x/ws/agent"})}
REFUSED = {REGISTER: (401, {"code": "TOKEN_INVALID", "message": "no such token", "details": {}})}


class Home:
    """Where tokens of this user lie."""

    def __init__(self, directory: Path) -> None:
        self.enrolled = directory / "state" / "token"
        self.directory = directory
        self.warnings: list[str] = []

    def write(self, name: str, token: str, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token + "\n")
        path.chmod(mode)
        return path

    def token(self, server: str, token_file: Path | None = None, agent_id: str = "van7") -> str:
        return agent_token(server, agent_id, token_file, None, self.warnings.append)

    def stored(self) -> dict[str, str]:
        places = (self.enrolled.parent / "replay").glob("*/*")
        return {f"{path.parent.name}/{path.name}": path.read_text().strip() for path in places}


@pytest.fixture
def home(tmp_path: Path, mocker: MockerFixture) -> Home:
    made = Home(tmp_path)
    mocker.patch.object(credentials, "default_token_file", return_value=made.enrolled)
    return made


def test_a_token_of_an_agent_is_used_as_it_is_and_nobody_asked(home: Home) -> None:
    given = home.write("given", "cea_agent_given", mode=0o644)
    home.write("state/token", "cea_agent_enrolled")
    with HttpAnswers(GOOD) as server:
        assert home.token(f"http://{server.authority}", given) == "cea_agent_given"
    assert server.requests == []
    assert home.stored() == {}


def test_an_enrolment_token_buys_one_for_each_server_and_agent_once(home: Home) -> None:
    given = home.write("given", "cea_enrol_given")
    with HttpAnswers(GOOD) as server:
        url = f"http://{server.authority}"
        assert [home.token(url, given) for _ in range(3)] == [BOUGHT] * 3
        assert [asked.body["agent_id"] for asked in server.requests] == ["van7"]
        assert server.requests[0].body["enrolment_token"] == "cea_enrol_given"
        assert home.token(url, given, "van8") == BOUGHT
        with HttpAnswers(GOOD) as other:
            home.token(f"http://{other.authority}", given)
        assert len(other.requests) == 1
        place, other_place = (one.authority.replace(":", "-") for one in (server, other))
        assert home.stored() == {
            f"{place}/van7": BOUGHT,
            f"{place}/van8": BOUGHT,
            f"{other_place}/van7": BOUGHT,
        }
    (path, *_) = (home.enrolled.parent / "replay").glob("*/*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_bought_before_needs_no_token_any_more(home: Home) -> None:
    with HttpAnswers(GOOD) as server:
        url = f"http://{server.authority}"
        home.token(url, home.write("given", "cea_enrol_given"))
        home.write("state/token", "cea_agent_enrolled")
        assert home.token(url) == BOUGHT


def test_without_any_other_it_is_the_one_of_enroll(home: Home) -> None:
    with HttpAnswers(GOOD) as server:
        with pytest.raises(CredentialError, match="no token here: run `edge-agent enroll`"):
            home.token(f"http://{server.authority}")
        home.write("state/token", "cea_agent_enrolled")
        assert home.token(f"http://{server.authority}") == "cea_agent_enrolled"
    assert server.requests == []


def test_an_enrolment_token_that_is_used_up_falls_back_to_the_one_of_enroll(home: Home) -> None:
    given = home.write("given", "cea_enrol_used")
    with HttpAnswers(REFUSED) as server:
        url = f"http://{server.authority}"
        with pytest.raises(EnrollError, match="ask for a new enrolment token"):
            home.token(url, given)
        home.write("state/token", "cea_agent_enrolled")
        assert home.token(url, given) == "cea_agent_enrolled"
    assert home.stored() == {}


def test_a_stored_token_that_others_can_read_is_refused(home: Home) -> None:
    home.write("state/token", "cea_agent_enrolled", mode=0o644)
    with pytest.raises(CredentialError, match="others can read this token: run `chmod 600"):
        home.token("http://127.0.0.1:1")


def test_a_token_comes_from_standard_input(home: Home, mocker: MockerFixture) -> None:
    mocker.patch("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b" cea_agent_piped\n")))
    assert home.token("http://127.0.0.1:1", Path("-")) == "cea_agent_piped"


def test_a_token_that_would_cross_a_network_unencrypted_is_warned_of_before(
    home: Home, mocker: MockerFixture
) -> None:
    bought = mocker.patch(
        "edge_agent.uplink.enroll.register", side_effect=EnrollError("UNREACHABLE", "away", "wait")
    )
    given = home.write("given", "cea_enrol_given")
    with pytest.raises(EnrollError):
        home.token("http://stream.example.com", given)
    (warning,) = home.warnings
    assert "everyone on the way can read the token" in warning
    home.warnings.clear()
    with pytest.raises(EnrollError):
        home.token("https://stream.example.com", given)
    assert home.warnings == []
    assert bought.call_count == 2
