"""How firmware of slcan adapters writes frames, as its source or manual says; nothing here is its code.

Where a row names a repository, that is where the fact can be looked up. `stamp` is what is counted behind a
frame, see `STAMPS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from can_stream.frames.batches import FD_LENGTHS, FrameFlag
from tests.helpers.strategies import Row


class Stamp(Struct, frozen=True):
    """`count` of the microseconds since the adapter was plugged in and the number of the frame.

    `period`: it starts again here; 0: it is no clock, so that frames have the reader's time.
    """

    count: Callable[[int, int], int]
    form: str
    period: int = 0


STAMPS: Final = {
    "ms60000": Stamp(lambda us, _: us // 1000 % 60_000, "04X", 60_000_000),
    "ms16bit": Stamp(lambda us, _: us // 1000 % (1 << 16), "04X", 65_536_000),
    "ms16bit unpadded": Stamp(lambda us, _: us // 1000 % (1 << 16), "02X", 65_536_000),
    "us3600000000": Stamp(lambda us, _: us % 3_600_000_000, "08X", 3_600_000_000),
    "us32bit": Stamp(lambda us, _: us % (1 << 32), "08X", 1 << 32),
    "ms32bit": Stamp(lambda us, _: us // 1000 % (1 << 32), "08X", 1000 << 32),
    "frames": Stamp(lambda _, number: number % (1 << 16), "04X"),
    "ticks of 10 ms": Stamp(lambda us, _: us // 10_000 % (1 << 16), "04X"),
    "nothing": Stamp(lambda _us, _number: 0, "04X"),
}


class Dialect(Struct, frozen=True):
    """`z1`: what is behind a frame after `Z1`, `z0` after `Z0`. `line` writes the rest: how is in the names.

    `answers` by the command's letter, where they are others than Lawicel's; None: silence. `greeting`: what
    is said before the first frame, with how many lines that are none.
    """

    name: str
    source: str
    z1: str = ""
    z0: str = ""
    end: bytes = b"\r"
    lower: bool = False
    fd: bool = False
    extended: bool = True
    extended_letter: str = "T"
    remote: bool = True
    data_of_remote: bool = False
    indicator: str = ""
    before: str = ""
    behind: str = ""
    blank_id: bool = False
    blanks: bool = False
    answers: dict[str, bytes | None] = {}
    greeting: bytes = b""
    greeting_lines: int = 0

    def line(self, row: Row, us: int, number: int, stamp: str) -> bytes:
        """A frame that was on the bus so many microseconds after the adapter was plugged in."""
        _, arbitration_id, flag, length, data = row
        extended = bool(flag & FrameFlag.EXTENDED)
        letter = "tr"[bool(flag & FrameFlag.REMOTE)]
        if flag & FrameFlag.FD:
            letter = "db"[bool(flag & FrameFlag.BRS)]
        letter = letter.upper() if extended else letter
        letter = self.extended_letter if letter == "T" else letter
        width = 8 if extended else 3
        parts = [f"{arbitration_id:{width}X}" if self.blank_id else f"{arbitration_id:0{width}X}"]
        parts.append(f"{FD_LENGTHS.index(length):X}")
        written = bytes(length) if flag & FrameFlag.REMOTE and self.data_of_remote else data
        parts += [f"{byte:02X}" for byte in written]
        if stamp:
            counted = STAMPS[stamp]
            parts.append(f"{counted.count(us, number):{counted.form}}")
        if self.indicator == "all" or (self.indicator == "fd" and flag & FrameFlag.FD):
            parts.append(str(number % 2))
        text = (" " if self.blanks else "").join(parts)
        before = self.before.upper() if extended else self.before
        text = before + letter + (text.lower() if self.lower else text) + self.behind
        return text.encode("latin-1") + self.end


_SILENT: Final[dict[str, bytes | None]] = dict.fromkeys("CVNSYZOLF")
_CANABLE: Final = _SILENT | {"V": b"b158aa7 github.com/normaldotcom/canable-fw.git\r"}
_SAME_V: Final[dict[str, bytes | None]] = {"V": b"V1234\r", "N": b"N2208\r", "F": b"F00\r", "L": b"\a"}
_ESP32RET: Final[dict[str, bytes | None]] = {"V": b"V1013\n", "N": b"ESP32RET\n", "F": b"F00\r"}
_VL2K: Final[dict[str, bytes | None]] = {"V": b"VL2K1\r", "N": b"NA123\r", "F": b"F00\r"}
_26K80: Final[dict[str, bytes | None]] = {"N": b"1234\r", "F": b"00\r"}
_NAKAKIYO: Final = "Nakakiyo092/canable2-fw: doc/1.-Command-List, doc/3.-Reporting-Mechanism"
_LAWICEL: Final = "CAN232 manual v3, CANUSB manual"
_LATONITA: Final = "latonita/arduino-canbus-monitor: can-232.cpp"
_SEEED: Final = "Seeed-Studio/Seeed_Arduino_CAN: examples/canbus-monitor/can-serial.cpp"
_MINTYNET: Final = "mintynet/esp32-slcan: esp32-slcan.ino"
_ZUBAX: Final = "Zubax Babel: main.cpp, documentation of slcan.timestamping_on and slcan.flags_on"
_ELMUE: Final = "Elmue/CANable-2.5-firmware: User & Developer Manual, Slcan responses"
_CANABLE_2: Final = "normaldotcom/canable2-fw: src/slcan.c"
_EWERT: Final = "Ewert CANdapter manual, python-can: interfaces/slcan.py"
_KERNEL: Final = "torvalds/linux: drivers/net/can/slcan/slcan-core.c"

DIALECTS: Final = (
    Dialect("CAN232", _LAWICEL, fd=False),
    Dialect("CAN232 with Z1", _LAWICEL, z1="ms60000"),
    Dialect("CANUSB", _LAWICEL, answers={"V": b"V1011\r", "N": b"NLW1A\r"}),
    Dialect("CANUSB with Z1", _LAWICEL, z1="ms60000", answers={"V": b"V1011\r", "N": b"NLW1A\r"}),
    Dialect("CANable 1", "normaldotcom/canable-fw: src/slcan.c", data_of_remote=True, answers=_CANABLE),
    Dialect("CANable 2", _CANABLE_2, fd=True, data_of_remote=True, answers=_CANABLE),
    Dialect("CANable of rusefi", "rusefi/canable-fw: inc/slcan.h", answers=_CANABLE),
    Dialect("MM32 CANable", "AllenMaa/mm32f5330_canable: slcan.h", answers=_CANABLE),
    Dialect("CANable 2 of Nakakiyo", _NAKAKIYO, fd=True, answers=_VL2K),
    Dialect("CANable 2 of Nakakiyo with Z1", _NAKAKIYO, z1="ms60000", fd=True, answers=_VL2K),
    Dialect("CANable 2 of Nakakiyo left at Z2", _NAKAKIYO, z0="us3600000000", fd=True, answers=_VL2K),
    Dialect("... with error indicator", _NAKAKIYO, fd=True, indicator="fd", answers=_VL2K),
    Dialect("... and Z1", _NAKAKIYO, z1="ms60000", fd=True, indicator="fd", answers=_VL2K),
    Dialect("... and Z2", _NAKAKIYO, z0="us3600000000", fd=True, indicator="fd", answers=_VL2K),
    Dialect("... of all frames and Z1", _NAKAKIYO, z1="ms60000", fd=True, indicator="all", answers=_VL2K),
    Dialect("... of all frames and Z2", _NAKAKIYO, z0="us3600000000", fd=True, indicator="all"),
    Dialect("... its own frames", _NAKAKIYO, fd=True, before="z", answers=_VL2K),
    Dialect("... its own frames with Z1", _NAKAKIYO, z1="ms60000", fd=True, before="z", answers=_VL2K),
    Dialect("USB2CANFDV1 of Nakakiyo with Z2", "Nakakiyo092/usb2canfdv1", z0="us3600000000", fd=True),
    Dialect("USB2CANFDV1", "WeActStudio.USB2CANFDV1.SLCAN_Firmware: slcan.c", fd=True, answers=_CANABLE),
    Dialect("CANable 2.5", _ELMUE, fd=True, answers={"V": b"+Board: Multiboard\tSlcan: 105\r", "N": b"\a"}),
    Dialect("CANable 2.5 with feedback", _ELMUE, fd=True, answers=dict.fromkeys("CSYOZL", b"#\r")),
    Dialect("USBtin", "Thomas Fischl's USBtin: frontend.c", answers={"V": b"V0100\r", "N": b"NFFFF\r"}),
    Dialect("USBtin with Z1", "Thomas Fischl's USBtin: frontend.c, clock.c", z1="ms60000"),
    Dialect("USBtin clone", "GBert/USBtinClone", z1="ms60000", answers={"V": b"V0102\r", "N": b"N0001\r"}),
    Dialect("Teensy CAN FD", "skpang/Teensy40_CAN_FD_to_USB_converter: process_data.h", fd=True),
    Dialect("arduino-canbus-monitor", _LATONITA, remote=False, answers={"V": b"V1013\r", "N": b"NA123\r"}),
    Dialect("arduino-canbus-monitor with Z1", _LATONITA, z1="ms60000", remote=False),
    Dialect("arduino-canbus-monitor left at Z2", _LATONITA, z0="ms32bit", remote=False),
    Dialect("Seeed canbus-monitor", _SEEED, remote=False, answers={"F": b"F00\r"}),
    Dialect("Seeed canbus-monitor with Z1", _SEEED, z1="ms60000", remote=False),
    Dialect("Seeed canbus-monitor left at Z2", _SEEED, z0="ms32bit", remote=False),
    Dialect("Z1 that is acknowledged only", "latonita/arduino-canbus-monitor: issue 15", remote=False),
    Dialect("slcanuino", "kahiroka/slcanuino: slcanuino.ino", data_of_remote=True, answers=_SAME_V),
    Dialect("slcanuino with Z1", "kahiroka/slcanuino: slcanuino.ino", z1="frames", data_of_remote=True),
    Dialect("slcanuino_pio", "dannywi/slcanuino_pio, can-utils issue 324", end=b"\r\n", remote=False),
    Dialect("esp32-slcan", _MINTYNET, data_of_remote=True, answers=_SAME_V),
    Dialect("esp32-slcan with Z1", _MINTYNET, z1="ms60000", data_of_remote=True, answers=_SAME_V),
    Dialect("esp32-slcan with l", _MINTYNET, end=b"\r\r\n", data_of_remote=True, answers=_SAME_V),
    Dialect(
        "ESP32-SLCAN", "NickTaormina/ESP32-SLCAN: main/slcan.c", extended=False, remote=False,
        answers=_SILENT | {"C": b"close driver\r"},
    ),
    Dialect("ESP32RET", "collin80/ESP32RET: lawicel.cpp", lower=True, remote=False, answers=_ESP32RET),
    Dialect("ESP32RET with Z1", "collin80/ESP32RET: lawicel.cpp", z1="ms16bit", lower=True, remote=False),
    Dialect("ESP-NOW gateway", "%02x of the time, 16 bits", z1="ms16bit unpadded", lower=True, remote=False),
    Dialect("ESP32 sniffer", "stamps unasked", z0="ms60000", z1="ms60000", lower=True, extended=False),
    Dialect(
        "ESP32 TWAI over CDC", "xTaskGetTickCount of FreeRTOS, 100 Hz", z1="ticks of 10 ms",
        greeting=b"\r\nSLCAN ESP32 Ready\r\nUse 'candump' or 'cansend' tools\r\n", greeting_lines=2,
        answers={"V": b"V1234\r", "N": b"NESP32\r"},
    ),
    Dialect("ESP-IDF example", "printf of t%03x%d", lower=True, extended=False, answers=_SILENT),
    Dialect("ArduPilot", "ArduPilot: AP_SLCANIface.cpp", z0="ms16bit", answers={"V": b"V1010\r"}),
    Dialect("ArduPilot with CAN FD", "ArduPilot: AP_SLCANIface.cpp", z0="ms16bit", z1="ms16bit", fd=True),
    Dialect("Zubax Babel", _ZUBAX, z0="", z1="ms16bit"),
    Dialect("Zubax Babel with loopback", _ZUBAX, z1="ms16bit", behind="L"),
    Dialect("Zubax Babel with loopback, no stamps", _ZUBAX, behind="L"),
    Dialect("Zubax Babel after its command line", _ZUBAX, z1="ms16bit", greeting=b"\x03"),
    Dialect("CANtact", "linklayer/cantact-fw: slcan.c", answers=_SILENT),
    Dialect(
        "stm32f4-slcan", "yhtham1/stm32f4-slcan", data_of_remote=True,
        greeting=b"float:0.11\r\n", greeting_lines=1,
    ),
    Dialect("lawicel-slcan", "darauble/lawicel-slcan", z1="ms60000"),
    Dialect("sam_slcan", "hugllc/sam_slcan: slcan_encode.c", answers={"F": b"\r", "V": b"\r", "N": b"\r"}),
    Dialect("SLCAN_26k80", "gdramos/SLCAN_26k80: slcan.c", data_of_remote=True, answers=_26K80),
    Dialect("canhacker11", "igkov/canhacker11: canhacker.c", z0="ms60000", z1="ms60000", data_of_remote=True),
    Dialect("CAN over Ethernet", "timzifer/ebyte_can_ethernet_to_slcan: frame.go"),
    Dialect("Linux at the other end", _KERNEL, answers=_SILENT),
    Dialect("python-can at the other end", "hardbyte/python-can: slcan.py", fd=True, answers=_SILENT),
    Dialect("CANdapter", _EWERT, extended_letter="x", remote=False, greeting=b"\x06\x06\x06"),
    Dialect("CANdapter with A1", _EWERT, z0="ms60000", extended_letter="x", remote=False),
    Dialect("microseconds in 32 bits", "micros() in eight digits", z1="us32bit", remote=False),
    Dialect("a stamp that stands still", "0000 in place of a time", z1="nothing", remote=False),
    Dialect("identifiers filled up with blanks", "sketches with %3X, read by python-can", blank_id=True),
    Dialect("blanks between the fields", "CANHacker's view", blanks=True, remote=False),
    Dialect("blanks and Z1", "CANHacker's view", z1="ms60000", blanks=True, remote=False),
    Dialect("LF alone", "Carloop: slcan example", end=b"\n", lower=True, extended=False, remote=False),
    Dialect("a checksum behind", "nobody's, but the kernel's slcan reads it", behind=";5A", remote=False),
)  # fmt: skip
