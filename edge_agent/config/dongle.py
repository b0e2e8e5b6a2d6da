"""[[dongles]] of the agent's configuration: one table of the TOML file per CAN adapter, as Structs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from can_stream.databases import MAX_DATABASES
from can_stream.databases.options import MAX_OPTIONS, DatabaseOptions
from can_stream.protocol.control import DongleInfo
from can_stream.protocol.identity import Identifier, is_identifier
from can_stream.strict_config.checking import check
from can_stream.strict_config.errors import ConfigError
from edge_agent.config.bit_rates import BITRATE_COMMANDS, DATA_BITRATE_COMMANDS
from edge_agent.config.can_settings import CanSettings
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.signal_rules import MAX_RULES, SignalRule

MAX_FILTERS: Final = 256
# Interfaces whose adapters are found wherever they are plugged in.
PLUGGABLE: Final = ("socketcan", "slcan")

Id = Annotated[
    Identifier,
    Meta(description='1 to 64 of a-z 0-9 . _ - starting with a letter or digit, e.g. "van7-can0"'),
]
Text = Annotated[str, Meta(min_length=1, max_length=512)]
Bitrate = Annotated[int, Meta(ge=1_000, le=20_000_000)]

# python-can's name for "never acknowledge, never transmit", where an interface has one; see
# docs/agent-configuration.md for what that means on the bus.
LISTEN_ONLY_OPTIONS: Final[Mapping[str, tuple[str, Any]]] = {
    "cantact": ("monitor", True),
    "kvaser": ("driver_mode", False),
    "nixnet": ("listen_only", True),
    "pcan": ("state", "PASSIVE"),
    "seeedstudio": ("operation_mode", "silent"),
    "systec": ("state", "PASSIVE"),
    "vector": ("listen_only", True),
}
DEFAULT_RESTART_SECONDS: Final = 0.1
_SOCKETCAN_KEYS: Final = ("sample_point_permille", "restart_seconds", "tx_queue_length")
_OWN_KEYS: Final = frozenset({"interface", "channel", "bitrate", "fd", "data_bitrate"})
_REFUSED_OPTIONS: Final = frozenset(
    {"receive_own_messages", "can_filters", "config_context", "ignore_config"}
)


class LogOptions(msgspec.Struct, frozen=True):
    """`options` of a dongle with `interface = "log"`."""

    speed: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000)] | Literal["max"],
        Meta(description='a number above 0 and up to 1000000, or "max"'),
    ] = 1.0
    loop: bool = False
    log_channel: Text | None = None


class SlcanOptions(msgspec.Struct, frozen=True):
    """`options` of a dongle with `interface = "slcan"`."""

    serial_baudrate: Annotated[int, Meta(ge=1_200, le=12_000_000)] = 115_200
    timestamps: bool = False


class DongleSection(msgspec.Struct, frozen=True):
    """[[dongles]]: one CAN adapter, or a log that plays the part of one."""

    channel: Text = ""
    device_id: Text | None = None
    id: Id | None = None
    interface: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="a name like slcan")] = (
        "socketcan"
    )
    mode: Literal["listen_only", "normal"] = "listen_only"
    bitrate: Bitrate | None = None
    fd: bool = False
    data_bitrate: Bitrate | None = None
    sample_point_permille: Annotated[int, Meta(ge=1, le=999)] | None = None
    restart_seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    tx_queue_length: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    frames: Literal["all", "off"] = "all"
    frame_filters: Annotated[list[FrameFilter], Meta(max_length=MAX_FILTERS)] = []
    databases: Annotated[list[Text], Meta(max_length=MAX_DATABASES)] = []
    database_options: Annotated[list[DatabaseOptions], Meta(max_length=MAX_OPTIONS)] = []
    signals: Annotated[list[SignalRule], Meta(max_length=MAX_RULES)] = []
    options: dict[str, Any] = {}

    def problems(self) -> Iterable[tuple[str, str]]:
        """What the fields only say together."""
        yield from id_problems(self.id)
        yield from self._place_problems()
        if self.data_bitrate is not None and not self.fd:
            yield "data_bitrate", "needs `fd = true`"
        if self.signals and not self.databases:
            yield "signals", "needs `databases`: without them no signal is known"
        if self.database_options and not self.databases:
            yield "database_options", "needs `databases`: there is nothing that it speaks of"
        for key in _SOCKETCAN_KEYS:
            if self.interface != "socketcan" and getattr(self, key) is not None:
                yield key, f"is for socketcan: the driver of {self.interface} does not let it be set"
        if self.restart_seconds is not None and self.mode != "normal":
            yield "restart_seconds", 'needs `mode = "normal"`: a listener is never bus-off'
        if self.interface == "log":
            yield from self._log_problems()
        elif self.interface == "slcan":
            yield from self._slcan_problems()
        else:
            yield from self._option_problems()

    @property
    def filters_in_kernel(self) -> bool:
        """Whether the kernel applies `frame_filters`.

        A decoder needs every frame, and a sender the echoes of what it sent.
        """
        needs_all = bool(self.databases) or self.mode != "listen_only"
        return self.interface == "socketcan" and bool(self.frame_filters) and not needs_all

    def can_settings(self) -> CanSettings:
        """How the kernel interface is to be set up; of a socketcan dongle."""
        is_normal = self.mode == "normal"
        restart_seconds = DEFAULT_RESTART_SECONDS if self.restart_seconds is None else self.restart_seconds
        return CanSettings(
            channel=self.place,
            listen_only=not is_normal,
            bitrate=self.bitrate,
            sample_point_permille=self.sample_point_permille,
            fd=self.fd,
            data_bitrate=self.data_bitrate,
            # A listener is never bus-off, and not every driver can restart.
            restart_ms=round(restart_seconds * 1000) if is_normal else None,
            tx_queue_length=self.tx_queue_length,
        )

    @property
    def place(self) -> str:
        """What the dongle is found by: `channel` or `device_id`."""
        return self.channel or self.device_id or ""

    def log_options(self) -> LogOptions:
        """`options` of a log. Raises ConfigError."""
        return check(self.options, LogOptions)

    def slcan_options(self) -> SlcanOptions:
        """`options` of an slcan adapter. Raises ConfigError."""
        return check(self.options, SlcanOptions)

    def info(self) -> DongleInfo:
        """This dongle, whose id `load_agent_config` has filled in, as the server is told of it."""
        assert self.id is not None
        return DongleInfo(
            dongle_id=self.id,
            interface=self.interface,
            # Where a log lies on this machine is nobody else's business.
            channel=PurePath(self.channel).name if self.interface == "log" else self.place,
            device_id=self.device_id,
            mode=self.mode,
            bitrate=self.bitrate,
            fd=self.fd,
            data_bitrate=self.data_bitrate,
            frames=self.frames,
        )

    def _place_problems(self) -> Iterable[tuple[str, str]]:
        if self.device_id is None:
            if not self.channel:
                yield "channel", "is required, or `device_id` instead; see `edge-agent dongles`"
        elif self.channel:
            yield "device_id", "stands instead of `channel`, leave one of them out"
        elif self.interface not in PLUGGABLE:
            yield "device_id", f"is for {' and '.join(PLUGGABLE)}; name a `channel` here"

    def _log_problems(self) -> Iterable[tuple[str, str]]:
        for key in ("bitrate", "data_bitrate", "fd"):
            if getattr(self, key):
                yield key, "has no effect on a log"
        yield from self._options_as(LogOptions)

    def _slcan_problems(self) -> Iterable[tuple[str, str]]:
        if self.bitrate is None:
            yield "bitrate", "is required for slcan: these adapters do not remember one"
        elif self.bitrate not in BITRATE_COMMANDS:
            yield "bitrate", f"slcan has {_listed(BITRATE_COMMANDS)}"
        if self.data_bitrate is not None and self.data_bitrate not in DATA_BITRATE_COMMANDS:
            yield "data_bitrate", f"slcan has {_listed(DATA_BITRATE_COMMANDS)}"
        yield from self._options_as(SlcanOptions)

    def _options_as(self, struct_type: type[msgspec.Struct]) -> Iterable[tuple[str, str]]:
        try:
            check(self.options, struct_type)
        except ConfigError as error:
            yield from ((f"options.{problem.key}", problem.reason) for problem in error.problems)

    def _option_problems(self) -> Iterable[tuple[str, str]]:
        by_mode = LISTEN_ONLY_OPTIONS.get(self.interface, ("", None))[0]
        for key in self.options:
            if key in _OWN_KEYS:
                yield f"options.{key}", f"belongs into the dongle itself, as `{key}`"
            elif key in _REFUSED_OPTIONS:
                yield f"options.{key}", "is set by the agent"
            elif key == by_mode:
                yield f"options.{key}", "follows from `mode`, leave it out"
            elif self.interface == "socketcan":
                yield f"options.{key}", "is for interfaces of python-can; socketcan has no options"


def _listed(bitrates: Iterable[int]) -> str:
    *most, last = sorted(bitrates)
    return f"{', '.join(map(str, most))} and {last}"


def id_problems(configured: str | None) -> list[tuple[str, str]]:
    """What is wrong with an id that the pattern alone lets through."""
    good = configured is None or is_identifier(configured)
    return [] if good else [("id", "must not end with a line break")]
