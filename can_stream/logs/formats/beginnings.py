"""How logs of some formats begin: here, so that to know a format its reader need not be loaded.

Public sources: pcap and pcapng (IETF opsawg drafts), python-can's CSV writer, BUSMASTER's log writer.
"""

from __future__ import annotations

import struct
from typing import Final

PCAP_MICROSECONDS: Final = 0xA1B2C3D4
PCAP_NANOSECONDS: Final = 0xA1B23C4D
PCAPNG_SECTION: Final = b"\x0a\x0d\x0d\x0a"
PCAP_MAGICS: Final = (
    *(struct.pack(f"{order}L", one) for one in (PCAP_MICROSECONDS, PCAP_NANOSECONDS) for order in "<>"),
    PCAPNG_SECTION,
)
CSV_HEADER: Final = b"timestamp,arbitration_id,"
BUSMASTER_HEADER: Final = b"***BUSMASTER"
