"""What the kernel is asked for when an interface is taken down and up."""

from __future__ import annotations

import errno
import struct

import pytest

from edge_agent.errors import LinkError
from edge_agent.host.link_restart import check_done, set_link, set_request


def answer(number: int, kind: int = 2) -> bytes:
    return struct.pack("=IHHIIi", 36, kind, 0, 1, 0, number) + bytes(16)


@pytest.mark.parametrize(("up", "flags"), [(True, 1), (False, 0)])
def test_one_flag_of_one_interface_is_changed(*, up: bool, flags: int) -> None:
    request = set_request(7, up=up)
    length, kind, asked, _, _ = struct.unpack_from("=IHHII", request)
    assert (length, kind, asked) == (len(request), 16, 5), "RTM_NEWLINK, to be acknowledged"
    assert struct.unpack_from("=BxHiII", request, 16) == (0, 0, 7, flags, 1)


def test_what_the_kernel_answers_is_told() -> None:
    check_done(answer(0))
    with pytest.raises(LinkError, match="EPERM"):
        check_done(answer(-errno.EPERM))
    for other in (answer(0, kind=16), answer(5), b"", b"\0" * 16):
        with pytest.raises(LinkError):
            check_done(other)


def test_an_interface_that_is_not_there_is_said() -> None:
    with pytest.raises(LinkError):
        set_link(0x7FFF_FFFF, up=False)
