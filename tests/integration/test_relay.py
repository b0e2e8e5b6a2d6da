"""Two agents, two buses, one server: what happens on one bus happens on the other, once and in order."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.helpers.conditions import eventually
from tests.helpers.relayed_group import ALL, RelayedGroup, relayed_group

pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")

# Nothing grows too old only because a process takes long to start on a busy machine.
PATIENT = ALL | {"max_age_seconds": 60}
DEMO_VEHICLE = Path(__file__).parents[2] / "dbc" / "demo-vehicle.dbc"


def send_numbered(group: RelayedGroup, side: str, arbitration_id: int, numbers: range) -> None:
    """Frames with these numbers, no faster than udp_multicast takes them."""
    for number in numbers:
        group.nodes[side].send(arbitration_id, number.to_bytes(4, "big"))
        time.sleep(0.002)


def test_every_frame_of_either_bus_is_on_the_other_once_and_in_order(tmp_path: Path) -> None:
    with relayed_group(tmp_path) as group:
        a, b = group.nodes["a"], group.nodes["b"]
        send_numbered(group, "a", 0x100, range(20))  # before: not for the activation
        group.activate()
        group.until_relayed("ab")
        group.until_relayed("ba", 0x7F1)
        for begin in range(0, 500, 50):
            send_numbered(group, "a", 0x101, range(begin, begin + 50))
            send_numbered(group, "b", 0x202, range(begin, begin + 50))
        eventually(lambda: len(b.numbered(0x101)) >= 500, "all of A on B")
        eventually(lambda: len(a.numbered(0x202)) >= 500, "all of B on A")
        assert b.numbered(0x101) == list(range(500))
        assert a.numbered(0x202) == list(range(500))
        # What a gateway has put on a bus is not sent back.
        assert a.numbered(0x101) == list(range(500))
        assert b.numbered(0x202) == list(range(500))
        assert b.numbered(0x100) == []


@pytest.mark.parametrize("victim", ["a", "b", "server"])
def test_nothing_comes_twice_or_out_of_order_through_a_kill(victim: str, tmp_path: Path) -> None:
    with relayed_group(tmp_path, PATIENT, PATIENT) as group:
        b = group.nodes["b"]
        group.activate()
        group.until_relayed("ab")
        send_numbered(group, "a", 0x101, range(300))
        eventually(lambda: len(b.numbered(0x101)) >= 200, "most of them, before the kill")
        if victim == "server":
            group.server.process.kill()
            group.server.start()
        else:
            group.agents[victim].kill()
            group.start(victim)
        send_numbered(group, "a", 0x101, range(300, 600))
        group.until_relayed("ab", 0x7F2)
        seen = b.numbered(0x101)
        assert seen == sorted(set(seen))
        state = group.state
        assert seen[:200] == list(range(200)), (state["in_doubt_a_to_b"], state["not_sent_a_to_b"])
        assert "deactivated" not in state["not_sent_a_to_b"]


def test_the_end_of_an_activation_is_silence_within_the_lease(tmp_path: Path) -> None:
    with relayed_group(tmp_path) as group:
        b = group.nodes["b"]
        group.activate()
        group.until_relayed("ab")
        send_numbered(group, "a", 0x101, range(100))
        group.ask("POST", "/bridge/deactivate", {})
        ended_seconds = time.monotonic()
        send_numbered(group, "a", 0x101, range(100, 1400))
        late = [
            at
            for (one, _), at in zip(b.frames, b.at_seconds, strict=False)
            if one == 0x101 and at > ended_seconds + 2.2
        ]
        assert late == []
        group.activate()
        group.until_relayed("ab", 0x7F3)
        assert max(b.numbered(0x101)) < 1400


def test_a_gateway_that_does_not_transmit_gets_nothing(tmp_path: Path) -> None:
    with relayed_group(tmp_path, b={"transmit": "off"}) as group:
        a, b = group.nodes["a"], group.nodes["b"]
        group.activate()
        group.until_relayed("ba")
        send_numbered(group, "a", 0x101, range(100))
        group.until_relayed("ba", 0x7F1)
        assert b.numbered(0x101) == []
        assert "transmit" in group.state["directions"]["a_to_b"]
        assert a.numbered(0x101) == list(range(100))


def test_an_allowlist_lets_nothing_but_itself_through(tmp_path: Path) -> None:
    allowed = {"transmit": "allowlist", "max_age_seconds": 2, "wake": True, "allow": [{"id": 0x101}]}
    with relayed_group(tmp_path, b=allowed) as group:
        b = group.nodes["b"]
        group.activate()
        group.until_relayed("ab", 0x101)
        send_numbered(group, "a", 0x102, range(50))
        before = len(b.numbered(0x101))
        send_numbered(group, "a", 0x101, range(50))
        eventually(lambda: len(b.numbered(0x101)) >= before + 50, "what is allowed")
        assert b.numbered(0x102) == []


def test_a_gate_refuses_at_once_and_lets_go_on_what_comes_once_it_holds(tmp_path: Path) -> None:
    gate = {"signal": "Engine.VehicleSpeed", "max": 5, "fresh_seconds": 300}
    patient = {**ALL, "max_age_seconds": 300, "gate": [gate]}
    with relayed_group(tmp_path, b=patient, databases=[str(DEMO_VEHICLE)]) as group:
        b = group.nodes["b"]
        group.activate()
        group.until_relayed("ba")  # beside it
        send_numbered(group, "a", 0x101, range(50))  # nobody has said how fast it is
        b.send(0x100, engine(speed_kmh=40))
        group.until_relayed("ba", 0x7F1)
        send_numbered(group, "a", 0x101, range(50, 100))
        # As if it stood still: said by this gateway's other side it proves nothing.
        group.nodes["a"].send(0x100, engine(speed_kmh=0))
        eventually(lambda: refused(group).get("gate", 0) >= 101, "all of it is counted")
        assert b.numbered(0x101) == []

        def goes_through() -> bool:
            b.send(0x100, engine(speed_kmh=4))
            group.nodes["a"].send(0x7F2, bytes(8))
            return bool(b.numbered(0x7F2))

        eventually(goes_through, "it stands still")
        send_numbered(group, "a", 0x101, range(100, 150))
        eventually(lambda: len(b.numbered(0x101)) >= 50, "what came while the gate held")
        assert b.numbered(0x101) == list(range(100, 150))


def engine(speed_kmh: int) -> bytes:
    """Engine of the demo vehicle."""
    return bytes(2) + (speed_kmh * 100).to_bytes(2, "big") + bytes(4)


def refused(group: RelayedGroup) -> dict[str, int]:
    """What B has counted, by reason."""
    counts: dict[str, int] = group.state["not_sent_a_to_b"]
    return counts
