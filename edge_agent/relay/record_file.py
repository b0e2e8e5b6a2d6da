"""The record of one dongle as a mapped file. Signatures first; the body follows."""

from __future__ import annotations

from pathlib import Path

from edge_agent.relay.record import Record


def open_record(directory: Path, dongle_id: str, boot_id: str, now_ns: int) -> Record:
    """The record in `directory` (the runtime directory), begun anew where there is none that counts.

    `now_ns` of CLOCK_BOOTTIME. Raises RelayError where it cannot be mapped.
    """
    raise NotImplementedError
