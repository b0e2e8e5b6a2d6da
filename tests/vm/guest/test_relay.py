"""Two buses of the kernel as one: an agent of its own on the one, the service on the other."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.agents import agent_configuration, registered_agents, run_agent
from tests.helpers.conditions import eventually
from tests.helpers.processes import Process, StreamServer, installed_command, run_command
from tests.vm.bridge import ALL, BUSES, DONGLES, Bridge
from tests.vm.can_utils import generate, reload_vcan

SERVICE: Final = "edge-agent.service"
CONFIG: Final = Path("/etc/edge-agent/agent.toml")
TOKEN: Final = Path("/var/lib/edge-agent/token")
RECORD: Final = Path("/run/edge-agent/relay-van-b") / f"relay-{DONGLES['b']['id']}.record"
LEASE_SECONDS: Final = 2.0
MOST_IN_DRIVER: Final = 16


class ServedBridge(Bridge):
    """Its side b is the installed service."""

    def configure(self, **relay: Any) -> None:
        """Its file has this [relay]; without any it is as the manual begins: it only listens."""
        dongle = {**DONGLES["b"], "mode": "normal" if relay else "listen_only"}
        CONFIG.write_text(agent_configuration("van-b", {"url": self.server.url}, [dongle], relay=relay))
        run_command(["systemctl", "restart", SERVICE])


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBridge]:
    """Active, on buses that give back what is sent; b only listens."""
    place = tmp_path_factory.mktemp("bridge")
    reload_vcan("echo=1")
    run_command([*installed_command("edge-agent"), "install", "--system"])
    with StreamServer(place / "server") as server:
        a, b = registered_agents(server, ["van-a", "van-b"], place)
        TOKEN.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy(b.token_file, TOKEN)
        with run_agent(a, server.url, [DONGLES["a"]], relay=ALL):
            found = ServedBridge(server)
            found.configure()
            found.activate()
            yield found
            found.close()
            journal = run_command(["journalctl", "--no-pager", "-o", "cat", "-u", SERVICE])
            sys.stderr.write(f"--- the group\n{found.state}\n--- end of the journal\n{journal[-3000:]}\n")
            run_command(["systemctl", "stop", SERVICE])
    run_command([*installed_command("edge-agent"), "uninstall", "--system"])
    for left in (CONFIG, TOKEN):
        left.unlink()
    reload_vcan()


def check_both_ways(bridge: ServedBridge, first_id: int, confirmed: str) -> None:
    """What others send on either bus is on the other one: once, in order, nothing back, and `confirmed`."""
    before = {way: bridge.account(way) for way in ("ab", "ba")}
    frames = 200
    ids = {"a": first_id, "b": first_id + 1}
    for side, others in [(side, generate(BUSES[side], ids[side], 5, frames)) for side in ids]:
        assert others.wait() == 0, f"cangen on {side}: {others.errors}"
    for source, sink in ("ab", "ba"):
        added = bridge.account(source + sink).since(before[source + sink])
        assert added._asdict() == {
            **{"made": frames + 1, "sent": 0, "accepted": 0, "in_doubt": 0, "not_sent": {}},
            confirmed: frames + 1,
        }
        numbers = bridge.on[source].numbers(ids[source])
        assert len(numbers) == frames
        assert bridge.on[sink].numbers(ids[source]) == numbers == sorted(set(numbers))


def test_a_gateway_as_it_is_installed_lets_nothing_onto_its_bus(bridge: ServedBridge) -> None:
    bridge.begins("ba")
    assert generate(BUSES["a"], 0x111, 5, 20).wait() == 0
    bridge.goes_on("ba")
    assert "transmit" in bridge.state["directions"]["a_to_b"]
    assert len(bridge.on["a"].seen(0x111)) == 20
    assert bridge.on["b"].seen(0x111) == []
    bridge.configure(**ALL)
    bridge.begins("ab")
    bridge.goes_on("ba")
    assert bridge.on["b"].seen(0x111) == [], "it may send from now on, and not what was before"


def test_on_buses_with_the_flag_echo_what_comes_is_sent(bridge: ServedBridge) -> None:
    check_both_ways(bridge, 0x101, "sent")


def test_a_restart_of_the_service_while_frames_flow_loses_and_doubles_nothing(bridge: ServedBridge) -> None:
    before, record = bridge.account("ab"), RECORD.stat().st_ino
    with generate(BUSES["a"], 0x121, 5) as others:
        eventually(lambda: len(bridge.on["b"].seen(0x121)) > 50, "frames flow")
        run_command(["systemctl", "restart", SERVICE])
        came = len(bridge.on["b"].seen(0x121))
        eventually(lambda: len(bridge.on["b"].seen(0x121)) > came, "they flow again")
        assert others.is_running
    after = bridge.account("ab")
    added = after.since(before)
    sent, seen = bridge.on["a"].numbers(0x121), bridge.on["b"].numbers(0x121)
    assert seen == sorted(set(seen)), "twice, or out of order"
    assert added.made == len(sent) + 1
    assert added.not_sent == {}
    assert added.in_doubt <= MOST_IN_DRIVER
    assert added.sent <= len(seen) + 1 <= added.sent + added.in_doubt
    assert RECORD.stat().st_ino == record
    asked = json.loads(run_command([*installed_command("edge-agent"), "relay", "show", "--json"]))
    assert asked["relays"][0]["totals"]["sent"] == after.sent


def test_a_stop_on_the_gateway_is_silence_also_after_a_restart_and_the_doctor_says_so(
    bridge: ServedBridge,
) -> None:
    before = bridge.account("ab")
    with generate(BUSES["a"], 0x131, 5):
        eventually(lambda: len(bridge.on["b"].seen(0x131)) > 50, "frames flow")
        run_command([*installed_command("edge-agent"), "relay", "stop"])
        stopped_seconds = time.time()
        run_command(["systemctl", "restart", SERVICE])
        doctor = Process([*installed_command("edge-agent"), "doctor"])
        doctor.wait()
        assert "`edge-agent relay stop` was said here" in doctor.output, doctor.output
        bridge.begins("ba")
        until_seconds = stopped_seconds + LEASE_SECONDS + 1.0
        eventually(lambda: bridge.on["a"].seen(0x131)[-1][0] > until_seconds, "frames beyond the lease")
    last = len(bridge.on["a"].seen(0x131))
    run_command([*installed_command("edge-agent"), "relay", "start"])
    bridge.begins("ab")
    added = bridge.account("ab").since(before)
    seen = bridge.on["b"].seen(0x131)
    assert seen[-1][0] <= stopped_seconds + LEASE_SECONDS
    assert len(seen) < last, "what came meanwhile does not come afterwards"
    # Of a direction that its sink has closed nothing is made, and what is on its way is given up.
    assert {*added.not_sent} <= {"disabled", "deactivated"}
    assert added.in_doubt <= MOST_IN_DRIVER


def test_on_buses_without_the_flag_echo_what_comes_is_accepted(bridge: ServedBridge) -> None:
    bridge.close()
    reload_vcan()
    bridge.watch()
    for way in ("ab", "ba"):
        bridge.begins(way)
    check_both_ways(bridge, 0x141, "accepted")
