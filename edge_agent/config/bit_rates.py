"""The bit rates that slcan adapters know, each with the command that sets it.

Lawicel CAN232 and CANUSB manuals; `Y` and S9 are of the firmware of CANable.
"""

from __future__ import annotations

from typing import Final

BITRATE_COMMANDS: Final = {
    10_000: "S0", 20_000: "S1", 50_000: "S2", 83_300: "S9", 100_000: "S3", 125_000: "S4", 250_000: "S5",
    500_000: "S6", 750_000: "S7", 800_000: "S7", 1_000_000: "S8",
}  # fmt: skip
DATA_BITRATE_COMMANDS: Final = {2_000_000: "Y2", 5_000_000: "Y5"}
