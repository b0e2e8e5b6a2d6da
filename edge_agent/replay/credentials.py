"""Which token a replay streams with: a stored agent token, else one that an enrolment token buys."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from can_stream.protocol.identity import identifier_from
from can_stream.protocol.registration import AGENT_PREFIX
from edge_agent.errors import EnrollError
from edge_agent.uplink import enroll
from edge_agent.uplink.credentials import default_token_file, read_enrolment_token, read_token, write_token
from edge_agent.uplink.hello import VERSION


def agent_token(
    server: str, agent_id: str, token_file: Path | None, ca_file: Path | None, warn: Callable[[str], None]
) -> str:
    """The token for `agent_id` at `server`. Raises CredentialError, EnrollError.

    In this order: an agent token in `token_file`; the one a replay to this server as this agent stored;
    a new one, bought with the enrolment token in `token_file`; the one that `edge-agent enroll` stored.
    """
    given = None if token_file is None else read_enrolment_token(token_file, sys.stdin.buffer)
    if given is not None and given.startswith(AGENT_PREFIX):
        return given
    stored = _stored_at(server, agent_id)
    if stored.exists():
        return read_token(stored)
    if given is None:
        return read_token(default_token_file())
    if (warning := enroll.clear_text_warning(server)) is not None:
        warn(warning)
    try:
        answer = enroll.register(server, given, agent_id, ca_file=ca_file, version=VERSION)
    except EnrollError:
        if default_token_file().exists():
            return read_token(default_token_file())
        raise
    write_token(stored, answer.agent_token)
    return answer.agent_token


def _stored_at(server: str, agent_id: str) -> Path:
    """One file for each server and agent, beside the token of `edge-agent enroll`."""
    parts = urlsplit(server)
    place = identifier_from(f"{parts.hostname or ''}-{parts.port or ''}")
    return default_token_file().parent / "replay" / place / agent_id
