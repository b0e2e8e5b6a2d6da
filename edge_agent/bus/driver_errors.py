"""What a driver's exception means for the person who plugged the adapter in."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterator
from typing import Final

from can_stream.text.foreign import shown
from edge_agent.errors import SourceError

_MAX_REASON_CHARACTERS: Final = 300

# Extras of python-can that install an interface's driver (its pyproject.toml, 4.6).
_EXTRAS: Final = {
    "canalystii": "canalystii",
    "cantact": "cantact",
    "gs_usb": "gs-usb",
    "neovi": "neovi",
    "nixnet": "nixnet",
    "pcan": "pcan",
    "udp_multicast": "multicast",
}


def open_failure(error: BaseException, interface: str, channel: str) -> SourceError:
    """The SourceError for an exception that opening python-can's `interface` at `channel` raised."""
    text = _text(error)
    numbers = {number for one in _chain(error) if isinstance(number := getattr(one, "errno", None), int)}
    for code, known, reason, remedy in _by_errno(channel):
        if numbers & known:
            return SourceError(code, reason, remedy)
    if any(isinstance(one, ImportError | NotImplementedError) for one in _chain(error)):
        return _missing_driver(interface, text)
    if any(isinstance(one, ValueError | TypeError | KeyError) for one in _chain(error)):
        remedy = "check `channel`, `bitrate`, `fd` and `options` of this dongle"
        return SourceError(
            "BAD_OPTION", f"{interface} refuses the configuration of {channel}: {text}", remedy
        )
    return SourceError(
        "CANNOT_OPEN",
        f"{interface} cannot open {channel}: {text}",
        "check that it is plugged in and not in use",
    )


def read_failure(error: BaseException, interface: str, channel: str) -> SourceError:
    """The SourceError for an exception that reading an opened bus raised."""
    reason = f"reading {interface} {channel} failed: {_text(error)}"
    return SourceError("READ_FAILED", reason, "check that the adapter is still plugged in")


def unknown_interface(interface: str, known: list[str]) -> SourceError:
    """The SourceError for an `interface` that python-can has no driver for."""
    near = difflib.get_close_matches(interface, [*known, "log"], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are log, {', '.join(sorted(known))}"
    return SourceError("UNKNOWN_INTERFACE", f"there is no interface {interface!r}", hint)


def _by_errno(channel: str) -> list[tuple[str, set[int], str, str]]:
    return [
        (
            "NO_PERMISSION",
            {errno.EACCES, errno.EPERM},
            f"no permission to use {channel}",
            "run `sudo usermod -aG dialout $USER` and log in again; for USB adapters add a udev rule",
        ),
        (
            "NO_DEVICE",
            {errno.ENOENT, errno.ENODEV, errno.ENXIO},
            f"{channel} is not there",
            "plug it in, or correct `channel`",
        ),
        ("BUSY", {errno.EBUSY}, f"{channel} is in use", "stop the other program that uses it"),
        ("DOWN", {errno.ENETDOWN}, f"{channel} is down", "check the interface"),
        (
            "NO_SOCKETCAN",
            {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT},
            "this kernel has no SocketCAN",
            "run `sudo modprobe can_raw`, or use another interface",
        ),
    ]


def _missing_driver(interface: str, text: str) -> SourceError:
    extra = _EXTRAS.get(interface)
    remedy = (
        f"run `pip install 'python-can[{extra}]'` in the agent's environment"
        if extra
        else "install the adapter's driver (see python-can's page of this interface)"
    )
    return SourceError("NO_DRIVER", f"the driver of {interface} is missing: {text}", remedy)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(16):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _text(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return shown(text, _MAX_REASON_CHARACTERS)
