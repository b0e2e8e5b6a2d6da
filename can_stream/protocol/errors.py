"""What can be wrong with bytes from the other side.

WireError
 +- PacketError      a data packet, an envelope or an ack is not what docs/wire-protocol.md describes
 +- ControlMessageError     a control message is not valid JSON of its declared shape
 +- SessionError     a valid message came where the session does not allow it
"""

from __future__ import annotations


class WireError(Exception):
    """Something from the other side breaks the wire protocol."""


class PacketError(WireError):
    """A binary message cannot be read: `reason`, at byte `offset` (None where no single byte is at fault)."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        self.reason = reason
        self.offset = offset
        super().__init__(reason if offset is None else f"{reason} at byte {offset}")


class ControlMessageError(WireError):
    """A control message cannot be read: `reason` names the field."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class SessionError(WireError):
    """A well-formed message breaks the rules of a session: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
