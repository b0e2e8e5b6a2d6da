"""Two agents on the kernel's buses of the guest, a server, and a group of their dongles: vcan0 and vcan1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

from tests.helpers.agents import Dongle
from tests.helpers.conditions import eventually
from tests.helpers.group_requests import GroupOperator
from tests.helpers.processes import START_SECONDS, StreamServer
from tests.vm.can_utils import Witness, generate, send

GROUP: Final = "bridge"
BUSES: Final[Mapping[str, str]] = {"a": "vcan0", "b": "vcan1"}
DONGLES: Final[Mapping[str, Dongle]] = {
    side: {"id": f"{side}-bus", "channel": bus, "mode": "normal", "bitrate": 500_000}
    for side, bus in BUSES.items()
}
# Nothing grows too old only because a process takes long to start in here.
ALL: Final = {"transmit": "all", "max_age_seconds": 60, "wake": True}
BEGIN_ID: Final = 0x7F1
PROBE_ID: Final = 0x7F0


class Account(NamedTuple):
    """What has become of the frames that a source has read behind its marker."""

    made: int
    sent: int
    accepted: int
    in_doubt: int
    not_sent: Mapping[str, int]

    @property
    def settled(self) -> int:
        """All of them together."""
        return self.sent + self.accepted + self.in_doubt + sum(self.not_sent.values())

    def since(self, before: Account) -> Account:
        """What has been added to it."""
        reasons = {why: n - before.not_sent.get(why, 0) for why, n in self.not_sent.items()}
        return Account(
            self.made - before.made,
            self.sent - before.sent,
            self.accepted - before.accepted,
            self.in_doubt - before.in_doubt,
            {why: n for why, n in reasons.items() if n},
        )


class Bridge:
    """The group at `server`, and who watches both buses: `on` by side."""

    def __init__(self, server: StreamServer) -> None:
        self.server = server
        self._operator = GroupOperator(server)
        self._probes = count(1)
        self.on: dict[str, Witness] = {}
        self.watch()

    def watch(self) -> None:
        """From now on, on the buses that there are now."""
        self.close()
        self.on = {side: Witness(bus) for side, bus in BUSES.items()}

    def close(self) -> None:
        """Nobody watches any more."""
        for witness in self.on.values():
            witness.kill()

    def activate(self) -> None:
        """Once the server knows both dongles."""
        self._operator.make(GROUP, *(str(DONGLES[side]["id"]) for side in BUSES))
        self._operator.ask("POST", f"/{GROUP}/activate", {})

    @property
    def state(self) -> Mapping[str, Any]:
        """What the server says of the group."""
        state: Mapping[str, Any] = self._operator.ask("GET", f"/{GROUP}")
        return state

    def begins(self, way: Sequence[str]) -> None:
        """Others send on the one side's bus until that is on the other one's."""
        source, sink = way
        before = len(self.on[sink].seen(BEGIN_ID))
        with generate(BUSES[source], BEGIN_ID, 50):
            eventually(lambda: len(self.on[sink].seen(BEGIN_ID)) > before, f"{way} begins", START_SECONDS)

    def goes_on(self, way: Sequence[str]) -> None:
        """A frame that is sent now gets to the other side, and so has all that was sent before it."""
        number = self.probe(way[0])
        eventually(lambda: number in self.on[way[1]].numbers(PROBE_ID), f"{way} goes on", START_SECONDS)

    def probe(self, side: str) -> int:
        """One frame on this bus; its number."""
        number = next(self._probes)
        send(BUSES[side], f"{PROBE_ID:03X}#{number.to_bytes(4, 'little').hex()}")
        return number

    def account(self, way: str) -> Account:
        """What has become of all that was sent until now, and of a frame behind it that has got through."""
        self.goes_on(way)
        look = partial(self._settled, f"{way[0]}_to_{way[1]}")
        found = eventually(look, "each frame is in a count", START_SECONDS)
        assert found is not None
        return found

    def _settled(self, way: str) -> Account | None:
        state = self.state
        names = ("made_frames", "sent", "accepted", "in_doubt", "not_sent")
        found = Account(*(state[f"{name}_{way}"] for name in names))
        return found if found.made == found.settled else None
