"""Which token a replay streams with, and which it never sends anywhere."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_mock import MockerFixture

from edge_agent.errors import CredentialError, EnrollError, ReplayError
from edge_agent.replay import credentials
from edge_agent.replay.credentials import Identity, identity
from edge_agent.uplink.enrolled import store_enrolled_id
from tests.helpers.http_answers import HttpAnswers

REGISTER = "/api/v1/agents/register"
HEARTBEAT = "/api/v1/agents/heartbeat"
BOUGHT = "cea_agent_bought"
GOOD: dict[str, tuple[int, dict[str, object]]] = {
    REGISTER: (201, {"agent_id": "van7", "agent_token": BOUGHT, "ws_url": "ws://x/ws/agent"})
}
REFUSED = {REGISTER: (401, {"code": "TOKEN_INVALID", "message": "no such token", "details": {}})}


class Home:
    """Where tokens of this user lie."""

    def __init__(self, directory: Path) -> None:
        self.enrolled = directory / "state" / "token"
        self.directory = directory

    def write(self, name: str, token: str, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token + "\n")
        path.chmod(mode)
        return path

    def identity(self, server: str, token_file: Path | None = None, agent_id: str | None = None) -> Identity:
        return identity(server, agent_id, token_file, None)

    def token(self, server: str, token_file: Path | None = None, agent_id: str = "van7") -> str:
        found = self.identity(server, token_file, agent_id)
        assert found.agent_id == agent_id
        return found.token

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
        assert [asked.body["agent_id"] for asked in server.requests if asked.path == REGISTER] == ["van7"]
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


def test_an_enrolment_token_is_used_where_the_stored_one_is_not_known_any_more(home: Home) -> None:
    """As after a demo was started anew, on the same port."""
    given = home.write("given", "cea_enrol_given")
    void: tuple[int, dict[str, object]] = (
        401,
        {"code": "UNAUTHENTICATED", "message": "this credential is unknown", "details": {}},
    )
    answers: dict[str, tuple[int, dict[str, object]]] = {**GOOD}
    with HttpAnswers(answers) as server:
        url = f"http://{server.authority}"
        home.token(url, given)
        answers[REGISTER] = (201, answers[REGISTER][1] | {"agent_token": "cea_agent_2"})
        answers[HEARTBEAT] = void
        assert home.token(url) == BOUGHT, "without another one it is all that there is"
        assert home.token(url, given) == "cea_agent_2"
        assert home.stored() == {f"{server.authority.replace(':', '-')}/van7": "cea_agent_2"}


def test_what_was_bought_before_needs_no_token_any_more(home: Home) -> None:
    with HttpAnswers(GOOD) as server:
        url = f"http://{server.authority}"
        home.token(url, home.write("given", "cea_enrol_given"))
        home.write("state/token", "cea_agent_enrolled")
        assert home.token(url) == BOUGHT


def test_without_any_other_it_is_the_one_of_enroll(home: Home) -> None:
    with HttpAnswers(GOOD) as server:
        with pytest.raises(CredentialError, match="no token here: give one with --token-file, or run"):
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


# -- whose token it is


def test_the_agent_is_the_one_that_the_token_came_with(home: Home) -> None:
    home.write("state/token", "cea_agent_enrolled")
    store_enrolled_id(home.enrolled, "van7", "cea_agent_enrolled")
    given = home.write("given", "cea_agent_given")
    store_enrolled_id(given, "van9", "cea_agent_given")
    assert home.identity("http://127.0.0.1:1") == Identity("van7", "cea_agent_enrolled")
    assert home.identity("http://127.0.0.1:1", given) == Identity("van9", "cea_agent_given", str(given))


def test_without_any_id_it_is_the_hosts_name(home: Home, mocker: MockerFixture) -> None:
    mocker.patch("socket.gethostname", return_value="Van 12.local")
    given = home.write("given", "cea_agent_given")
    assert home.identity("http://127.0.0.1:1", given).agent_id == "van-12.local"


@pytest.mark.parametrize("is_given", [True, False])
def test_a_token_of_another_agent_is_refused_before_anybody_is_asked(home: Home, *, is_given: bool) -> None:
    place = home.write("given" if is_given else "state/token", "cea_agent_van7s")
    store_enrolled_id(place, "van7", "cea_agent_van7s")
    with pytest.raises(ReplayError) as caught:
        home.identity("http://127.0.0.1:1", place if is_given else None, "van9")
    assert str(caught.value) == (
        f"the token in {place} is that of 'van7', not of 'van9': leave --agent-id out, or give the token of "
        "that agent with --token-file"
    )


def test_an_enrolment_token_that_enroll_has_used_up_leads_to_the_agent_that_it_made(home: Home) -> None:
    """`enroll --token-file F --agent-id van7`, then `replay --token-file F`."""
    given = home.write("given", "cea_enrol_used")
    home.write("state/token", "cea_agent_enrolled")
    store_enrolled_id(home.enrolled, "van7", "cea_agent_enrolled")
    with HttpAnswers(REFUSED) as server:
        url = f"http://{server.authority}"
        assert home.identity(url, given) == Identity("van7", "cea_agent_enrolled")
        with pytest.raises(EnrollError, match="ask for a new enrolment token"):
            home.identity(url, given, "van9")


def test_no_token_is_bought_that_cannot_be_kept(home: Home) -> None:
    (home.directory / "state").touch()
    with HttpAnswers(GOOD) as server, pytest.raises(CredentialError, match="cannot be stored"):
        home.token(f"http://{server.authority}", home.write("given", "cea_enrol_given"))
    assert server.requests == []
