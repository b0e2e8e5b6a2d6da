"""As whom a replay streams: a stored agent token, else one that an enrolment token buys, and whose it is."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from can_stream.protocol.identity import identifier_from
from can_stream.protocol.registration import AGENT_PREFIX
from can_stream.version import VERSION
from edge_agent.config.enrolling import enrol_command
from edge_agent.errors import EnrollError, ReplayError
from edge_agent.host.ownership import owning
from edge_agent.uplink import enroll
from edge_agent.uplink.credentials import (
    Missing,
    default_token_file,
    place_for_token,
    read_enrolment_token,
    read_token,
)
from edge_agent.uplink.enrolled import enrolled

_GIVE_ONE: Final = f"give one with --token-file, or run {enrol_command()}"
_NO_TOKEN: Final = Missing(f"no token here: {_GIVE_ONE}", f"is empty: {_GIVE_ONE}", _GIVE_ONE)


class Identity(Struct, frozen=True):
    """The agent that a replay is, and the token that proves it.

    `token_file` is where another one would have to be, "" for where `enroll` puts it anyway.
    """

    agent_id: str
    token: str
    token_file: str = ""


def identity(
    server: str,
    wanted_id: str | None,
    token_file: Path | None,
    ca_file: Path | None,
) -> Identity:
    """Who streams to `server`. Raises CredentialError, EnrollError, OwnerError; ReplayError where the token
    is known to be that of another agent than `wanted_id`.

    The token, in this order: an agent token in `token_file`; the one a replay to this server as this agent
    stored, unless the server does not know it any more and there is an enrolment token; a new one, bought
    with the enrolment token in `token_file`; the one that `edge-agent enroll` stored. Where there is no
    `wanted_id` the agent is the one that the token came with, else the host's name.
    """
    given = None if token_file is None else read_enrolment_token(token_file, sys.stdin.buffer)
    if given is not None and token_file is not None and given.startswith(AGENT_PREFIX):
        place = "" if str(token_file) == "-" else str(token_file)
        return Identity(_owner_of(token_file, wanted_id), given, place)
    agent_id = wanted_id or _host_id()
    stored = _stored_at(server, agent_id)
    if stored.exists():
        token = read_token(stored)
        # A demo that is started anew has forgotten everybody: what is given now is meant for the new one.
        if given is None or not enroll.is_void(server, token, ca_file=ca_file):
            return Identity(agent_id, token, str(stored))
    if given is None:
        return _enrolled_one(wanted_id)
    try:
        return Identity(agent_id, _bought(server, agent_id, given, stored, ca_file), str(stored))
    except EnrollError as error:
        if not default_token_file().exists():
            raise
        try:
            return _enrolled_one(wanted_id)
        except ReplayError:
            raise error from None


def _bought(server: str, agent_id: str, given: str, stored: Path, ca_file: Path | None) -> str:
    # A running agent of this id would lose its token by it.
    with owning(agent_id), place_for_token(stored, "set XDG_STATE_HOME to a directory of this user") as store:
        answer = enroll.register(server, given, agent_id, ca_file=ca_file, version=VERSION)
        store(answer.agent_token)
    return answer.agent_token


def _enrolled_one(wanted_id: str | None) -> Identity:
    path = default_token_file()
    token = read_token(path, missing=_NO_TOKEN)
    return Identity(_owner_of(path, wanted_id), token)


def _owner_of(token_file: Path, wanted_id: str | None) -> str:
    owner = enrolled(str(token_file))
    if owner is None:
        return wanted_id or _host_id()
    if wanted_id not in (None, owner.agent_id):
        raise ReplayError(
            f"the token in {token_file} is that of {owner.agent_id!r}, not of {wanted_id!r}: leave "
            "--agent-id out, or give the token of that agent with --token-file"
        )
    return owner.agent_id


def _host_id() -> str:
    return identifier_from(socket.gethostname())


def _stored_at(server: str, agent_id: str) -> Path:
    """One file for each server and agent, beside the token of `edge-agent enroll`."""
    parts = urlsplit(server)
    place = identifier_from(f"{parts.hostname or ''}-{parts.port or ''}")
    return default_token_file().parent / "replay" / place / agent_id
