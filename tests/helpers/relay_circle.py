"""Two groups between the same two buses and a third one between two others, all by two agents."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.helpers.relayed_group import ALL, Node, RelayedGroup, udp_dongle

BACK: Final = "back"
CALM: Final = "calm"
BIT_RATE: Final = 50_000  # what two agents fill also on a slow machine


class RelayCircle(RelayedGroup):
    """`bridge` leads from bus a to bus b, `back` between the same two by dongles of their own, `calm` from
    bus c to bus d. `modes`: of the four dongles a-bus, b-bus, a-back and b-back."""

    def __init__(self, directory: Path, modes: Sequence[str]) -> None:
        self._modes = dict(zip(("a-bus", "b-bus", "a-back", "b-back"), modes, strict=True))
        super().__init__(directory, {side: ALL | {"dongles": self._transmitting(side)} for side in "ab"})
        for name, side in (("c", "a"), ("d", "b")):
            self.nodes[name] = Node(*self._calm(side))
            self._parts.callback(self.nodes[name].close)

    def dongles(self, side: str) -> list[dict[str, Any]]:
        place = (self.channels[side], self.ports[side])
        found = [
            udp_dongle(name, *place, self._modes[name], BIT_RATE) for name in (f"{side}-bus", f"{side}-back")
        ]
        return [*found, udp_dongle(f"{side}-calm", *self._calm(side))]

    def _transmitting(self, side: str) -> list[str]:
        may = [name for name, mode in self._modes.items() if mode == "normal" and name.startswith(side)]
        return [*may, f"{side}-calm"]

    def make(self) -> None:
        for group_id, name in (("bridge", "bus"), (BACK, "back"), (CALM, "calm")):
            self._operator.make(group_id, f"a-{name}", f"b-{name}")

    def close_circle(self) -> float:
        """The second group is active from now on: the moment before."""
        begin_seconds = time.monotonic()
        self.ask("POST", f"/{BACK}/activate", {})
        return begin_seconds

    def mode(self, group_id: str) -> tuple[str, str]:
        """And why it is not active."""
        state = self.ask("GET", f"/{group_id}")
        return state["mode"], state["reason"] or ""

    def stopped(self) -> list[str]:
        """The groups that a loop has stopped."""
        modes = {group_id: self.mode(group_id) for group_id in ("bridge", BACK, CALM)}
        return [one for one, (mode, why) in modes.items() if mode == "degraded" and why.startswith("loop: ")]

    @contextmanager
    def traffic(self, name: str, arbitration_id: int, per_second: int) -> Iterator[None]:
        """Another node of this bus sends numbered frames meanwhile."""
        ended = threading.Event()

        def send() -> None:
            number, begin_seconds = 0, time.monotonic()
            while not ended.wait(max(0.0, begin_seconds + number / per_second - time.monotonic())):
                self.nodes[name].send(arbitration_id, number.to_bytes(4, "big"))
                number += 1

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _calm(self, side: str) -> tuple[str, int]:
        host = self.channels[side].split(".")
        return ".".join([host[0], "75", *host[2:]]), self.ports[side] + 20_000


@contextmanager
def relay_circle(directory: Path, modes: Sequence[str]) -> Iterator[RelayCircle]:
    """Made, and no group of it is active."""
    circle = RelayCircle(directory, modes)
    try:
        circle.make()
        yield circle
    finally:
        circle.close()
