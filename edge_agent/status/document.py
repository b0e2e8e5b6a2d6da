"""What the running agent says of itself to whoever asks on this machine: one JSON document."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from can_stream.protocol.control import ServiceStatus
from edge_agent.errors import StatusError
from edge_agent.relay.figures import RelayFigures
from edge_agent.status.accounting import Books

MAX_DOCUMENT_BYTES: Final = 4 << 20


class DongleStatus(msgspec.Struct, frozen=True):
    """One dongle: what it is, what is wrong with it (`fault`, "" for nothing), and its books.

    `frames_per_second` is the mean of the last seconds; `seconds_since_frame` is None before the first frame.
    `values` is None without databases. `mode` is that of the configuration; agents of before do not say it.
    `carried`: whether its frames are relayed to the other side of an active group.
    """

    dongle_id: str
    interface: str
    channel: str
    fault: str
    frames_per_second: float
    seconds_since_frame: float | None
    frames: Books
    values: Books | None = None
    mode: str = ""
    carried: bool = False


class AgentStatus(msgspec.Struct, frozen=True):
    """The whole document. Times are UTC. `relays`: the dongles on whose buses a group may put frames."""

    agent_id: str
    version: str
    start_id: str
    pid: int
    ts: str
    uptime_seconds: float
    clock_synchronised: bool
    server_url: str
    services: list[ServiceStatus]
    dongles: list[DongleStatus]
    ca_file: str | None = None
    proxy: str | None = None
    relays: list[RelayFigures] = []

    def service(self, agent_service_id: str) -> ServiceStatus | None:
        """The service of this name."""
        return next((one for one in self.services if one.agent_service_id == agent_service_id), None)

    def metric(self, agent_service_id: str, name: str) -> Any:
        """A number of a service; None where there is none."""
        service = self.service(agent_service_id)
        return None if service is None else service.metrics.get(name)


_decoder: Final = msgspec.json.Decoder(AgentStatus)


def encode_status(status: AgentStatus) -> bytes:
    """JSON, one line."""
    return msgspec.json.encode(status) + b"\n"


def decode_status(content: bytes) -> AgentStatus:
    """The document in `content`. StatusError for anything else."""
    if len(content) > MAX_DOCUMENT_BYTES:
        raise StatusError("BAD_ANSWER", f"more than {MAX_DOCUMENT_BYTES} bytes are no status")
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise StatusError("BAD_ANSWER", f"the answer is not an agent's status: {error}") from None
