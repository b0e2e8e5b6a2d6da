"""Registration of this agent with a stream server: an enrolment token in, the agent's own token out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from can_stream.protocol.identity import identifier_problem, is_identifier
from can_stream.protocol.registration import RegisterRequest, RegisterResponse
from edge_agent.config.server_url import clear_text, url_problem
from edge_agent.errors import EnrollError, UplinkError
from edge_agent.uplink.asking import Asking
from edge_agent.uplink.http_answer import in_short
from edge_agent.uplink.obstacle import Obstacle, by_answer, in_options

REGISTER_PATH: Final = "/api/v1/agents/register"
_LOOK_SECONDS: Final = 10.0
_REMEDIES: Final = {
    "AGENT_EXISTS": "choose another id with --agent-id, or ask for an enrolment token that names this agent "
    "(`stream-server enroll create --agent-id ID`); the token then replaces the old registration",
    401: "ask for a new enrolment token (`stream-server enroll create`) and use it before it expires",
    403: "ask for a new enrolment token (`stream-server enroll create`) that allows this agent id",
    404: "check the URL: a stream server answers there at " + REGISTER_PATH,
    429: "wait a minute and try again",
}


def refuse_clear_text(server_url: str, *, allowed: bool) -> str | None:
    """What to warn of before a token is sent to `server_url`, None where nobody can read it.

    Raises EnrollError where others can, unless that is `allowed`.
    """
    said = clear_text(server_url)
    if said is not None and not allowed:
        raise EnrollError("CLEAR_TEXT", said, "use https://, or --allow-clear-text in a network of your own")
    return said


def register(
    server_url: str,
    enrolment_token: str,
    agent_id: str,
    *,
    ca_file: Path | None = None,
    timeout_seconds: float = 20.0,
    version: str = "",
) -> RegisterResponse:
    """Registers `agent_id` at `server_url` and returns the token to store. Raises EnrollError."""
    problem = url_problem(server_url)
    if problem is not None:
        raise EnrollError("BAD_URL", f"the server's URL {problem}", "check --server")
    if not is_identifier(agent_id):
        raise EnrollError("BAD_AGENT_ID", identifier_problem(agent_id), "see --agent-id")
    body = msgspec.json.encode(RegisterRequest(enrolment_token, agent_id, version))
    try:
        asking = Asking(server_url, ca_file, timeout_seconds)
    except UplinkError as error:
        raise EnrollError("BAD_CA_FILE", str(error), "see --ca-file") from None
    answer = asking.ask(REGISTER_PATH, body=body)
    if isinstance(answer, Obstacle):
        raise _in_the_way(answer)
    if 200 <= answer.status < 300:
        with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            return msgspec.json.decode(answer.body, type=RegisterResponse)
    own = answer.own_words
    if own is None or answer.status < 300:
        raise _in_the_way(by_answer(asking.way, answer))
    remedy = _REMEDIES.get(own.code) or _REMEDIES.get(answer.status) or "see the server's log"
    # A server may repeat what it was sent.
    said = own.message.replace(enrolment_token, "[token]")
    raise EnrollError(own.code, in_short(said or f"status {answer.status}"), remedy)


def is_void(server_url: str, agent_token: str, *, ca_file: Path | None = None) -> bool:
    """Whether the server says of itself that it does not know this token; False where it says nothing."""
    try:
        asking = Asking(server_url, ca_file, _LOOK_SECONDS)
    except UplinkError:
        return False
    answer = asking.ask_about(agent_token)
    return not isinstance(answer, Obstacle) and answer.status == 401 and answer.own_words is not None


def _in_the_way(seen: Obstacle) -> EnrollError:
    return EnrollError(seen.fault.upper(), seen.reason, in_options(seen.remedy))
