"""Keeps the recording within its bounds: the oldest packets go, counted."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from stream_server import clock
from stream_server.config import RecordingSection
from stream_server.errors import StorageError
from stream_server.metrics import Metrics
from stream_server.recording import recording_store
from stream_server.storage.database import Database

PERIOD_SECONDS: Final = 10.0
_logger: Final = logging.getLogger(__name__)


class Retention:
    """Deletes what is too old or too much, in small transactions, so that new packets never wait long."""

    def __init__(self, database: Database, limits: RecordingSection, metrics: Metrics) -> None:
        self._database = database
        self._limits = limits
        self._metrics = metrics

    async def run(self) -> None:
        """Apply the bounds every ten seconds until cancelled."""
        while True:
            try:
                await self.apply(clock.wall_ns())
            except StorageError as error:
                _logger.warning("retention waits: %s", error)
            await asyncio.sleep(PERIOD_SECONDS)

    async def apply(self, now_ns: int) -> int:
        """Delete what is due now; returns how many frames went."""
        before_ns = now_ns - int(self._limits.max_age_seconds * 1e9)
        surplus = await self._database.read(recording_store.recorded_bytes) - self._limits.max_bytes
        gone = 0
        while True:
            packets, frames, size = await self._database.write(
                partial(recording_store.delete_oldest, received_before_ns=before_ns, surplus_bytes=surplus)
            )
            if not packets:
                return gone
            gone += frames
            surplus -= size
            self._metrics.retention_packets.inc(packets)
            self._metrics.retention_frames.inc(frames)
