"""How a group stands, from how its dongles do."""

from __future__ import annotations

import pytest

from stream_server.groups.group_state import summariser
from stream_server.groups.memberships import Group


@pytest.mark.parametrize(
    ("online", "side"),
    [((True, True), None), ((False, True), "A"), ((True, False), "B"), ((False, False), "AB")],
)
def test_the_side_that_is_away_is_named_and_no_relaying_is_claimed(
    online: tuple[bool, bool], side: str | None
) -> None:
    summarise = summariser(Group("bridge", "can0", "can1", 0))
    assert summarise([{"online": one} for one in online]) == {
        "group_id": "bridge",
        "dongle_a_id": "can0",
        "dongle_b_id": "can1",
        "mode": "inactive",
        "offline_side": side,
    }
