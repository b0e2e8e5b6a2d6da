"""What the helper does, and for whom."""

from __future__ import annotations

import pytest

from edge_agent.helper.rules import PAUSE_SECONDS, Pauses, is_agent, is_trusted

STATUS = "Name:\tedge-agent\nUid:\t63001\t63001\t63001\t63001\nGid:\t20\t20\t20\t20\n"


def test_the_agents_service_is_known_by_its_cgroup_and_its_user() -> None:
    assert is_agent(63001, "0::/system.slice/edge-agent.service\n", STATUS)
    assert is_agent(63001, "1:name=systemd:/system.slice/edge-agent.service\n0::/\n", STATUS)


@pytest.mark.parametrize(
    ("user", "groups", "status"),
    [
        (1000, "0::/system.slice/edge-agent.service\n", STATUS),
        (63001, "0::/system.slice/stream-server.service\n", STATUS),
        (63001, "0::/user.slice/user-1000.slice/user@1000.service/app.slice/edge-agent.service\n", STATUS),
        (63001, "0::/system.slice/edge-agent.service/mine\n", STATUS),
        (63001, "4:memory:/system.slice/edge-agent.service\n", STATUS),
        (63001, "", STATUS),
        (63001, "0::/system.slice/edge-agent.service\n", ""),
        (63001, "0::/system.slice/edge-agent.service\n", STATUS.replace("63001\n", "0\n")),
    ],
)
def test_nobody_else_is(user: int, groups: str, status: str) -> None:
    assert not is_agent(user, groups, status)


def test_a_file_that_others_can_write_to_is_not_believed() -> None:
    assert is_trusted(0, 0o100644)
    assert not is_trusted(0, 0o100664)
    assert not is_trusted(0, 0o100646)
    assert not is_trusted(1000, 0o100644)


def test_each_interface_is_left_alone_for_a_while() -> None:
    pauses = Pauses()
    assert pauses.wait_seconds("can0", 5.0) == 0
    pauses.taken("can0", 5.0)
    assert pauses.wait_seconds("can0", 6.0) == PAUSE_SECONDS - 1
    assert pauses.wait_seconds("can1", 6.0) == 0
    assert pauses.wait_seconds("can0", 5.0 + PAUSE_SECONDS) == 0
