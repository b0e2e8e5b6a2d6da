"""Bodies of POST /api/v1/agents/register."""

from __future__ import annotations

from typing import Final

import msgspec

from can_stream.protocol.control import Text
from can_stream.protocol.identity import Identifier

AGENT_PREFIX: Final = "cea_agent_"
ENROLMENT_PREFIX: Final = "cea_enroll_"


class RegisterRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An enrolment token, and the agent_id asked for."""

    enrolment_token: Text
    agent_id: Identifier
    version: Text = ""


class RegisterResponse(msgspec.Struct, frozen=True):
    """The new identity. `agent_token` is shown only here; the server keeps a hash."""

    agent_id: Identifier
    agent_token: str
    ws_url: str
