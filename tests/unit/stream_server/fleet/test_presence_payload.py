"""What a dongle's presence says, by its agent's and by whether the agent lists it."""

from __future__ import annotations

from typing import Final

import pytest

from stream_server.fleet.presence import Transition
from stream_server.fleet.presence_payload import presence_payload

SEEN_AT_NS: Final = 1_766_417_462_000_123_000


@pytest.mark.parametrize(
    ("agent_online", "listed", "online", "reason"),
    [
        (True, True, True, "connected"),
        (True, False, False, "unlisted"),
        (False, True, False, "closed"),
        (False, False, False, "closed"),
    ],
)
def test_a_dongle_is_online_when_its_agent_is_and_lists_it(
    agent_online: bool, listed: bool, online: bool, reason: str
) -> None:
    agent = Transition("van7", agent_online, "connected" if agent_online else "closed", SEEN_AT_NS)
    payload = presence_payload("van7-can0", agent, listed=listed, clock_synchronised=None)
    assert payload == {
        "dongle_id": "van7-can0",
        "online": online,
        "agent_id": "van7",
        "seen_at": "2025-12-22T15:31:02.000123Z",
        "reason": reason,
        "clock_synchronised": None,
    }


def test_who_was_never_seen_has_no_time() -> None:
    agent = Transition("van7", online=False, reason="server_started", seen_at_ns=0)
    assert presence_payload("van7-can0", agent, listed=True, clock_synchronised=True)["seen_at"] is None
