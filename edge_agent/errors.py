"""What can go wrong in the edge agent.

EdgeAgentError
 +- SourceError       a live source cannot be opened or read
 |   +- SourceEndedError   a replayed log has come to its end
 +- LinkError         the kernel does not say how a CAN interface stands
 +- SetUpError        a CAN interface cannot be set up
 +- HelperError       the helper is not there, or does not do what it is asked for
 +- CredentialError   a token file cannot be read or written
 +- EnrollError       the server has not registered this agent
 +- UplinkError       the uplink cannot be set up at all
 +- ReplayError       a replay cannot be done as asked
 +- OutputError       what a command has to say cannot be written
 +- StatusError       the running agent cannot be asked, or cannot be made to answer
 +- RelayError        what a server hands over for a bus cannot be, or the record of a bus cannot be kept
 |   +- RelayStopError     the relay to a dongle cannot be stopped or started again
 +- OwnerError        another process is this agent already
 +- SpoolError        the spool cannot be used now, or what is there not at all
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from can_stream.errors import CanStreamError


class EdgeAgentError(CanStreamError):
    """Something the edge agent was asked to do cannot be done."""


_FAULTS: Final = {
    "NO_DEVICE": "unplugged", "READ_FAILED": "unplugged", "WRITE_FAILED": "unplugged", "DEAD": "dead_driver",
}  # fmt: skip


class SourceError(EdgeAgentError):
    """A source cannot go on: `code` for programs, `reason` what happened, `remedy` what to do about it."""

    def __init__(self, code: str, reason: str, remedy: str = "") -> None:
        self.code = code
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}: {remedy}" if remedy else reason)

    @property
    def fault(self) -> str:
        """The word for it in the metrics of the bus's service."""
        return _FAULTS.get(self.code, self.code.lower())


class SourceEndedError(SourceError):
    """A source that ends (a log without `loop`) has given its last frame."""

    def __init__(self, reason: str) -> None:
        super().__init__("ENDED", reason)


class LinkError(EdgeAgentError):
    """How a CAN interface stands cannot be known: the message says why."""


class SetUpError(EdgeAgentError):
    """`channel` ("" for all) cannot be set up: `reason` what happened, `remedy` what to do about it."""

    def __init__(self, channel: str, reason: str, remedy: str) -> None:
        self.channel = channel
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{channel}: {reason}: {remedy}" if channel else f"{reason}: {remedy}")


class HelperError(EdgeAgentError):
    """The agent and its helper do not come together: the message says why."""


class CredentialError(EdgeAgentError):
    """The token file `path` cannot be used: `reason`. Its content is never part of the text."""

    def __init__(self, path: PurePath, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class EnrollError(EdgeAgentError):
    """Registration failed: `code` for programs, `reason` what happened, `remedy` what to do about it."""

    def __init__(self, code: str, reason: str, remedy: str) -> None:
        self.code = code
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}: {remedy}")


class UplinkError(EdgeAgentError):
    """The uplink cannot be set up: the message says the remedy."""


class OutputError(EdgeAgentError):
    """What a command has to say cannot be written."""


class ReplayError(EdgeAgentError):
    """A replay cannot be done as asked: the message says the remedy."""


class RelayError(EdgeAgentError):
    """Nothing can be relayed so: the message says why."""


class StatusError(EdgeAgentError):
    """The status of a running agent is not to be had: `code` for programs, `reason`, `remedy` what to do."""

    def __init__(self, code: str, reason: str, remedy: str = "") -> None:
        self.code = code
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}: {remedy}" if remedy else reason)


class RelayStopError(RelayError):
    """The file `path` that stops the relay can be neither made nor taken away: `reason`."""

    def __init__(self, path: PurePath, reason: str) -> None:
        self.path = path
        self.reason = reason
        remedy = "run this command as the agent's user, or as root with sudo"
        super().__init__(f"{path}: {reason}: {remedy}")


class OwnerError(EdgeAgentError):
    """This process may not be the agent `agent_id`: `reason`, and the `remedy`. `is_owned`: another is it."""

    def __init__(self, agent_id: str, reason: str, remedy: str, *, is_owned: bool = False) -> None:
        self.agent_id = agent_id
        self.is_owned = is_owned
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"agent {agent_id}: {reason}: {remedy}")


class SpoolError(EdgeAgentError):
    """The spool in `directory` cannot be used: `reason`, and the `remedy`.

    `is_corrupt`: what is there never will be, and a new one can take its place. `is_in_use`: somebody else
    has it now, and what is there can be read once they are done. `is_gone`: the open file is in its place no
    more, and can still be read. `is_full`: nothing can be added, and what is there can be read.
    """

    def __init__(
        self,
        directory: PurePath,
        reason: str,
        remedy: str,
        *,
        is_corrupt: bool = False,
        is_in_use: bool = False,
        is_gone: bool = False,
        is_full: bool = False,
    ) -> None:
        self.directory = directory
        self.reason = reason
        self.remedy = remedy
        self.is_corrupt = is_corrupt
        self.is_in_use = is_in_use
        self.is_gone = is_gone
        self.is_full = is_full
        super().__init__(f"{directory}: {reason}: {remedy}")
