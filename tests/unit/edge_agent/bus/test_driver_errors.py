"""What a driver raises, in words for the person who plugged the adapter in."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import can
import pytest

from edge_agent.bus.driver_errors import open_failure, read_failure, unknown_interface


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def caused_by(cause: BaseException, text: str = "could not open") -> BaseException:
    """As drivers wrap what really happened."""
    try:
        raise can.CanInitializationError(text) from cause
    except can.CanInitializationError as error:
        return error


def while_handling(first: BaseException) -> BaseException:
    """As drivers raise in an `except` without saying from what."""
    try:
        try:
            raise first
        except BaseException:
            raise can.CanInitializationError("it went wrong")  # noqa: B904 - this is what is tested
    except can.CanInitializationError as error:
        return error


def bare(error: BaseException) -> BaseException:
    return error


WRAPS = (bare, caused_by, while_handling)


@pytest.mark.parametrize(
    ("number", "code", "reason", "remedy"),
    [
        (errno.EACCES, "NO_PERMISSION", "no permission to use can0", "usermod -aG dialout"),
        (errno.EPERM, "NO_PERMISSION", "no permission to use can0", "udev rule"),
        (errno.ENOENT, "NO_DEVICE", "can0 is not there", "plug it in, or correct `channel`"),
        (errno.ENODEV, "NO_DEVICE", "can0 is not there", "plug it in"),
        (errno.ENXIO, "NO_DEVICE", "can0 is not there", "plug it in"),
        (errno.EBUSY, "BUSY", "can0 is in use", "stop the other program"),
        (errno.ENETDOWN, "DOWN", "can0 is down", "check the interface"),
        (errno.EAFNOSUPPORT, "NO_SOCKETCAN", "this kernel has no SocketCAN", "modprobe can_raw"),
        (errno.EPROTONOSUPPORT, "NO_SOCKETCAN", "this kernel has no SocketCAN", "modprobe can_raw"),
    ],
)
@pytest.mark.parametrize(
    "wrap", [lambda error: error, caused_by, while_handling], ids=["bare", "cause", "context"]
)
def test_what_the_system_said_counts_however_deep_it_lies(
    number: int, code: str, reason: str, remedy: str, wrap: Callable[[BaseException], BaseException]
) -> None:
    failure = open_failure(wrap(os_error(number)), "pcan", "can0")
    assert (failure.code, failure.reason) == (code, reason)
    assert remedy in failure.remedy


@pytest.mark.parametrize(
    ("interface", "remedy"),
    [
        ("pcan", "run `pip install 'python-can[pcan]'` in the agent's environment"),
        ("gs_usb", "run `pip install 'python-can[gs-usb]'` in the agent's environment"),
        ("udp_multicast", "run `pip install 'python-can[multicast]'` in the agent's environment"),
        ("kvaser", "install the adapter's driver (see python-can's page of this interface)"),
    ],
)
@pytest.mark.parametrize(
    "error", [ImportError("no module named uptime"), NotImplementedError("not on Linux")]
)
def test_a_driver_that_is_missing_says_how_to_get_it(error: Exception, interface: str, remedy: str) -> None:
    failure = open_failure(caused_by(error), interface, "PCAN_USBBUS1")
    assert (failure.code, failure.remedy) == ("NO_DRIVER", remedy)
    assert failure.reason == f"the driver of {interface} is missing: could not open"


@pytest.mark.parametrize("error", [ValueError("bitrate 7"), TypeError("bitrate 7"), KeyError("bitrate 7")])
def test_a_configuration_that_the_driver_refuses_names_the_keys(error: Exception) -> None:
    failure = open_failure(error, "pcan", "PCAN_USBBUS1")
    assert failure.code == "BAD_OPTION"
    assert "pcan refuses the configuration of PCAN_USBBUS1: " in failure.reason
    assert "bitrate 7" in failure.reason
    assert failure.remedy == "check `channel`, `bitrate`, `fd` and `options` of this dongle"


def test_the_system_knows_better_than_the_kind_of_exception() -> None:
    assert open_failure(caused_by(os_error(errno.ENODEV), ""), "pcan", "x").code == "NO_DEVICE"
    missing = ImportError("libpcan")
    missing.__cause__ = os_error(errno.EACCES)
    assert open_failure(missing, "pcan", "x").code == "NO_PERMISSION"


def test_whatever_else_it_is_has_its_own_words() -> None:
    failure = open_failure(caused_by(os_error(errno.EIO), "bus is in fire"), "pcan", "x")
    assert str(failure) == "pcan cannot open x: bus is in fire: check that it is plugged in and not in use"
    assert failure.code == "CANNOT_OPEN"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("\n  first line\nTraceback: more"), "first line"),
        (RuntimeError(""), "RuntimeError"),
        (SystemExit(), "SystemExit"),
        (RuntimeError("red \x1b[31mink"), r"red \x1b[31mink"),
        (RuntimeError("x" * 10_000), "x" * 300),
    ],
)
def test_a_drivers_words_are_one_short_line_for_a_terminal(error: BaseException, shown: str) -> None:
    assert read_failure(error, "pcan", "x").reason == f"reading pcan x failed: {shown}"
    assert open_failure(error, "pcan", "x").reason == f"pcan cannot open x: {shown}"


def test_a_chain_that_has_no_end_is_followed_for_a_while() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert open_failure(first, "pcan", "x").code == "CANNOT_OPEN"


def test_reading_that_fails_has_a_remedy_whatever_it_was() -> None:
    failure = read_failure(os_error(errno.ENODEV), "slcan", "/dev/ttyACM0")
    assert failure.code == "READ_FAILED"
    assert str(failure) == (
        "reading slcan /dev/ttyACM0 failed: [Errno 19] No such device: "
        "check that the adapter is still plugged in"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("slcann", "did you mean 'slcan'?"),
        ("logg", "did you mean 'log'?"),
        ("xyz", "known are log, pcan, slcan, socketcan"),
    ],
)
def test_an_interface_that_is_none_gets_the_nearest_name_or_all(name: str, hint: str) -> None:
    failure = unknown_interface(name, ["socketcan", "pcan", "slcan"])
    assert (failure.code, failure.reason, failure.remedy) == (
        "UNKNOWN_INTERFACE",
        f"there is no interface {name!r}",
        hint,
    )
