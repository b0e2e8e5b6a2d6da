"""Whether the ids of a database are those of J1939 or NMEA 2000, where it does not say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from can_stream.databases.findings import Findings
from can_stream.signals.model import MessageModel

# SAE J1939-81: the address of who has none yet, which databases write for "any source".
_NULL_ADDRESS: Final = 0xFE
_PDU2: Final = 0xF0
# SAE J1939-21, NMEA 2000: requests, acknowledgements, transport, group functions; and torque control.
_COMMON_PDU1: Final = (0x00, *range(0xE8, 0xF0))


def check_protocol(messages: Sequence[MessageModel], findings: Findings) -> None:
    """A finding where every message looks like a parameter group and none is matched as one."""
    if messages and not any(message.by_pgn for message in messages) and looks_like_j1939(messages):
        findings.warn(
            1,
            "looks_like_j1939",
            "all ids look like J1939 or NMEA 2000, and the file does not say so: only frames of just these "
            "ids are decoded; `--protocol j1939`, or `protocol` in `database_options`, matches them by "
            "parameter group, whatever priority and source address (`can` says that they are neither)",
        )


def looks_like_j1939(messages: Sequence[MessageModel]) -> bool:
    """Whether all ids are those of parameter groups: of the null address, or mostly broadcasts."""
    ids = [message.arbitration_id for message in messages if message.is_extended]
    if len(ids) < len(messages) or any(number >> 25 & 1 for number in ids):
        return False
    if all(number & 0xFF == _NULL_ADDRESS for number in ids):
        return True
    formats = [number >> 16 & 0xFF for number in ids]
    broadcasts = sum(number >= _PDU2 for number in formats)
    return 2 * broadcasts >= len(ids) and all(number >= _PDU2 or number in _COMMON_PDU1 for number in formats)
