"""A group whose agents and server are killed, whose state is wiped, and whose sink is swapped for another
machine with the same token: no frame comes twice, all are in order, and each is in one count.

Only where `RELAY_KILLS` says how many kills; `RELAY_KILLS_SEED`: which (`scripts/soak.py relay-kills`).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import RegisteredAgent, TokenHolder
from tests.helpers.conditions import eventually
from tests.helpers.relayed_group import ALL, RelayedGroup, relayed_group

pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")

KILLS: Final = int(os.environ.get("RELAY_KILLS", "4"))
SEED: Final = int(os.environ.get("RELAY_KILLS_SEED", "15"))
DATA_ID: Final = 0x101
MOST_IN_DOUBT: Final = 16
# Nothing grows too old only because a process takes long to start on a busy machine.
PATIENT: Final = ALL | {"max_age_seconds": 60}
FIRST: Final[tuple[tuple[str, ...], ...]] = (("a", "b"), ("server", "b"))
LATER: Final[tuple[tuple[str, ...], ...]] = (("a",), ("b",), ("server",), *FIRST, ("a", "server", "b"))


class Traffic:
    """Numbered frames on bus a while the block runs, and how many they were."""

    def __init__(self, group: RelayedGroup) -> None:
        self._group = group
        self._ended = threading.Event()
        self.sent = 0

    @contextmanager
    def running(self, per_second: int = 200) -> Iterator[None]:
        """So many each second."""
        thread = threading.Thread(target=self._send, args=(per_second,))
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def goes_on(self) -> None:
        """A frame that is sent from now on comes out at b."""
        after, node = self.sent, self._group.nodes["b"]
        eventually(lambda: node.numbered(DATA_ID)[-1:] > [after], "it goes on", 120)

    def _send(self, per_second: int) -> None:
        while not self._ended.wait(1 / per_second):
            self._group.nodes["a"].send(DATA_ID, self.sent.to_bytes(4, "big"))
            self.sent += 1


@contextmanager
def marked_group(directory: Path) -> Iterator[tuple[RelayedGroup, int]]:
    """An active group that relays, and how many recorded frames came before A's marker."""
    with relayed_group(directory, PATIENT, PATIENT) as group:
        group.activate()
        group.until_relayed("ab")
        told: list[tuple[int, int]] = []

        def is_quiet() -> bool:
            told.append((recorded(group), sum(counts(group))))
            return len(told) > 3 and len(set(told[-4:])) == 1 and not group.state["buffered_frames_a_to_b"]

        eventually(is_quiet, "all before the first kill is counted")
        yield group, told[-1][0] - told[-1][1]


def kill(group: RelayedGroup, victims: Sequence[str], chance: random.Random) -> None:
    """All of them, and a moment later they are there again."""
    for victim in victims:
        (group.server.process if victim == "server" else group.agents[victim]).kill()
        time.sleep(chance.uniform(0, 0.05))
    for victim in victims:
        if victim == "server":
            group.server.start()
        else:
            group.start(victim)


def recorded(group: RelayedGroup) -> int:
    """How many frames A read, as far as anybody was told of them."""
    text = group.server.read("/api/v1/dongles/a-bus/frames?format=jsonl", group.viewer).decode()
    return sum(json.loads(line)["type"] == "can_frame" for line in text.splitlines())


def counts(group: RelayedGroup) -> tuple[int, int, int]:
    """Of a to b: taken by the driver, in doubt, not sent."""
    state = group.state
    taken = state["sent_a_to_b"] + state["accepted_a_to_b"]
    return taken, state["in_doubt_a_to_b"], sum(state["not_sent_a_to_b"].values())


def account(group: RelayedGroup, unmarked: int) -> tuple[int, int, int]:
    """What has become of all frames, once nothing moves any more and the recording has no more than that."""

    def is_whole() -> bool:
        return not group.state["buffered_frames_a_to_b"] and sum(counts(group)) >= recorded(group) - unmarked

    eventually(is_whole, "each frame is in a count", 60)
    return counts(group)


def check(group: RelayedGroup, unmarked: int, *, is_exact: bool) -> tuple[int, int, int]:
    """The account, and what has been on bus b. `is_exact`: whatever was handed over has been recorded."""
    taken, in_doubt, not_sent = account(group, unmarked)
    seen = group.nodes["b"].numbered(DATA_ID)
    assert seen == sorted(set(seen)), "a frame is twice on the bus, or out of order"
    # Not all that was taken has to be seen: udp_multicast loses what a busy reader has no room for.
    assert len(seen) <= taken + in_doubt
    if is_exact:
        assert taken + in_doubt + not_sent == recorded(group) - unmarked
    return taken, in_doubt, not_sent


class Machines:
    """Two with the same token at bus b, of which one runs."""

    def __init__(self, group: RelayedGroup, directory: Path) -> None:
        self._group = group
        first = group.enrolled["b"]
        path = directory / "b2" / first.token_file.name
        path.parent.mkdir()
        shutil.copy(first.token_file, path)
        self._places: list[TokenHolder] = [RegisteredAgent(first.agent_id, path), first]

    def swap(self) -> None:
        """The one is gone, the other one runs."""
        group = self._group
        group.agents["b"].kill()
        group.enrolled["b"] = self._places[0]
        self._places.reverse()
        group.start("b")

    def wipe(self) -> None:
        """All that it knew is gone: its record, its spool and its state."""
        group = self._group
        group.agents["b"].kill()
        token = group.enrolled["b"].token_file
        for path in token.parent.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != token:
                path.unlink()
        group.start("b")


# Each start of a process takes seconds, and a lane has few of them.
if "RELAY_KILLS" in os.environ:

    def test_killed_at_random_no_frame_comes_twice_and_each_is_in_one_count(tmp_path: Path) -> None:
        chance, deeds, left = random.Random(SEED), list(FIRST), KILLS - sum(map(len, FIRST))
        while left > 0:
            deeds.append(chance.choice(LATER))
            left -= len(deeds[-1])
        with marked_group(tmp_path) as (group, unmarked):
            traffic = Traffic(group)
            with traffic.running():
                traffic.goes_on()
                for victims in deeds:
                    kill(group, victims, chance)
                    traffic.goes_on()
            # What went live to B is lost to the recording where A and the server die together.
            is_exact = not any({"a", "server"} <= {*victims} for victims in deeds)
            _, in_doubt, _ = check(group, unmarked, is_exact=is_exact)
            assert in_doubt <= MOST_IN_DOUBT * sum("b" in victims for victims in deeds)

    def test_wiped_and_swapped_for_another_machine_no_frame_comes_twice(tmp_path: Path) -> None:
        chance = random.Random(SEED)
        with marked_group(tmp_path) as (group, unmarked):
            machines, traffic = Machines(group, tmp_path), Traffic(group)
            deeds = [machines.swap, machines.swap, machines.wipe]
            deeds += [chance.choice(deeds) for _ in range(KILLS - len(deeds) - 1)]
            with traffic.running():
                traffic.goes_on()
                for deed in deeds:
                    deed()
                    traffic.goes_on()
            check(group, unmarked, is_exact=True)
