"""What every handler may use."""

from __future__ import annotations

from dataclasses import dataclass

from stream_server.access.access import Access
from stream_server.config import ServerConfig
from stream_server.fleet.fleet import Fleet
from stream_server.fleet.memory import Memory
from stream_server.groups.activations import Activations
from stream_server.groups.groups import Groups
from stream_server.http.front import Front
from stream_server.http.long_answers import LongAnswers
from stream_server.metrics import Metrics
from stream_server.recording.recorder import Recorder
from stream_server.recording.retention import Retention
from stream_server.relay.relay import Relay
from stream_server.signals.last_value_store import LastValueStore
from stream_server.signals.tables import SignalTables
from stream_server.sse.fanout import FanOut
from stream_server.storage.database import Database
from stream_server.storage.readiness import Readiness
from stream_server.streams.hub import StreamHub


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running server. `database` is `server.sqlite3`, `recording` the other file."""

    config: ServerConfig
    database: Database
    recording: Database
    metrics: Metrics
    access: Access
    front: Front
    hub: StreamHub
    fanout: FanOut
    fleet: Fleet
    groups: Groups
    activations: Activations
    recorder: Recorder
    relay: Relay
    signal_tables: SignalTables
    last_values: LastValueStore
    readiness: Readiness
    retention: Retention
    long_answers: LongAnswers
    memory: Memory
