"""The record of one dongle as a mapped file of the runtime directory. What a kill leaves there is enough: a
record does not outlive its boot, so nothing is ever synced to a disk."""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path

from edge_agent.errors import RelayError
from edge_agent.host.runtime_directory import relay_record
from edge_agent.relay.record import RECORD_BYTES, Record

_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def open_record(directory: Path, dongle_id: str, boot_id: str, now_ns: int) -> Record:
    """The record in `directory` (`relay_directory`), begun anew where there is none that counts.

    `now_ns` of CLOCK_BOOTTIME. Raises RelayError where it cannot be mapped: then nothing may be sent.
    """
    path = relay_record(directory, dongle_id)
    try:
        descriptor = os.open(path, _OPEN_FLAGS, 0o600)
        try:
            # A write to a mapped page that the file system has no room for would end the process.
            os.posix_fallocate(descriptor, 0, RECORD_BYTES)
            memory = mmap.mmap(descriptor, RECORD_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RelayError(f"{path}: {reason}: nothing is relayed to {dongle_id} without it") from error
    return Record(memory, boot_id, secrets.token_hex(16), now_ns)
