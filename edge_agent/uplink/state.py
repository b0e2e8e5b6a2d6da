"""How the uplink stands: one of five phases, and the table of what leads from one to another."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct


class UplinkPhase(StrEnum):
    """Where the uplink stands. What went wrong stays said until the server welcomes the agent again."""

    CONNECTING = "connecting"  # for the first time; nothing has gone wrong yet
    GREETING = "greeting"  # given up on purpose, for a hello that says more
    STREAMING = "streaming"
    WAITING = "waiting"  # the last attempt failed, and another may help
    REFUSED = "refused"  # it was turned away: only a person can help, though it is tried again


class UplinkEvent(StrEnum):
    """What happens to the uplink."""

    WELCOMED = "welcomed"  # both connections are open and greeted
    LOST = "lost"  # a connection could not be opened, or is over
    REFUSED = "refused"  # by the server, for a reason that trying again soon cannot change
    GREET_AGAIN = "greet again"  # the agent has new dongles or lanes


# From, event, to. A pair that is not here changes nothing: what streams is welcome, and what waits will name
# all there is in its next greeting. Until then the phase stays, for the watchdog is patient by it.
TRANSITIONS: Final = (
    (UplinkPhase.CONNECTING, UplinkEvent.WELCOMED, UplinkPhase.STREAMING),
    (UplinkPhase.CONNECTING, UplinkEvent.LOST, UplinkPhase.WAITING),
    (UplinkPhase.CONNECTING, UplinkEvent.REFUSED, UplinkPhase.REFUSED),
    (UplinkPhase.CONNECTING, UplinkEvent.GREET_AGAIN, UplinkPhase.GREETING),
    (UplinkPhase.GREETING, UplinkEvent.WELCOMED, UplinkPhase.STREAMING),
    (UplinkPhase.GREETING, UplinkEvent.LOST, UplinkPhase.WAITING),
    (UplinkPhase.GREETING, UplinkEvent.REFUSED, UplinkPhase.REFUSED),
    (UplinkPhase.GREETING, UplinkEvent.GREET_AGAIN, UplinkPhase.GREETING),
    (UplinkPhase.STREAMING, UplinkEvent.LOST, UplinkPhase.WAITING),
    (UplinkPhase.STREAMING, UplinkEvent.REFUSED, UplinkPhase.REFUSED),
    (UplinkPhase.STREAMING, UplinkEvent.GREET_AGAIN, UplinkPhase.GREETING),
    (UplinkPhase.WAITING, UplinkEvent.WELCOMED, UplinkPhase.STREAMING),
    (UplinkPhase.WAITING, UplinkEvent.LOST, UplinkPhase.WAITING),
    (UplinkPhase.WAITING, UplinkEvent.REFUSED, UplinkPhase.REFUSED),
    (UplinkPhase.REFUSED, UplinkEvent.WELCOMED, UplinkPhase.STREAMING),
    (UplinkPhase.REFUSED, UplinkEvent.LOST, UplinkPhase.WAITING),
    (UplinkPhase.REFUSED, UplinkEvent.REFUSED, UplinkPhase.REFUSED),
)
_NEXT: Final = {(phase, event): then for phase, event, then in TRANSITIONS}


class UplinkState(Struct, frozen=True):
    """How the uplink stands: `message` says the remedy where it does not stream, `fault` names it.

    `reason` is the message without when it is tried again.
    """

    phase: UplinkPhase
    message: str
    fault: str = ""
    reason: str = ""

    @property
    def connected(self) -> bool:
        """Whether what there is to send is sent."""
        return self.phase is UplinkPhase.STREAMING

    @property
    def refused(self) -> bool:
        """Whether the last attempt failed for a reason that trying again soon cannot change."""
        return self.phase is UplinkPhase.REFUSED

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed, for whatever reason."""
        return self.phase in (UplinkPhase.WAITING, UplinkPhase.REFUSED)


def next_phase(phase: UplinkPhase, event: UplinkEvent) -> UplinkPhase | None:
    """Where `event` leads from `phase`; None where it changes nothing."""
    return _NEXT.get((phase, event))
