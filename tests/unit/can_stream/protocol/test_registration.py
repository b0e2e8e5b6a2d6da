"""What is asked and answered when an agent registers, as JSON."""

from __future__ import annotations

import msgspec
import pytest

from can_stream.protocol.registration import (
    AGENT_PREFIX,
    ENROLMENT_PREFIX,
    RegisterRequest,
    RegisterResponse,
)


def test_a_request_survives_and_needs_no_version() -> None:
    request = RegisterRequest(ENROLMENT_PREFIX + "x", "van7", "1.2.3")
    assert msgspec.json.decode(msgspec.json.encode(request), type=RegisterRequest) == request
    bare = b'{"enrolment_token":"t","agent_id":"van7"}'
    assert msgspec.json.decode(bare, type=RegisterRequest) == RegisterRequest("t", "van7", "")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"agent_id": "van7"}, "enrolment_token"),
        ({"enrolment_token": "t"}, "agent_id"),
        ({"enrolment_token": "t", "agent_id": "Van 7"}, r"\$.agent_id"),
        ({"enrolment_token": "t", "agent_id": "v" * 65}, r"\$.agent_id"),
        ({"enrolment_token": "t" * 513, "agent_id": "van7"}, r"\$.enrolment_token"),
        ({"enrolment_token": "t", "agent_id": "van7", "role": "admin"}, "role"),
    ],
)
def test_a_request_of_another_shape_is_refused_by_the_field(body: dict[str, str], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.json.decode(msgspec.json.encode(body), type=RegisterRequest)


def test_an_answer_of_a_later_server_is_understood() -> None:
    answer = {"agent_id": "van7", "agent_token": AGENT_PREFIX + "x", "ws_url": "wss://x", "region": "eu"}
    known = msgspec.json.decode(msgspec.json.encode(answer), type=RegisterResponse)
    assert known == RegisterResponse("van7", AGENT_PREFIX + "x", "wss://x")


def test_tokens_of_agents_and_enrolments_cannot_be_taken_for_each_other() -> None:
    assert not AGENT_PREFIX.startswith(ENROLMENT_PREFIX)
    assert not ENROLMENT_PREFIX.startswith(AGENT_PREFIX)
