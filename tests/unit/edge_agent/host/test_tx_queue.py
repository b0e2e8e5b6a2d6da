"""What waits in an interface's queue, as the kernel says it; any other bytes are the documented error."""

from __future__ import annotations

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import LinkError
from edge_agent.host.can_link import read_waiting_frames
from edge_agent.host.tx_queue import queue_request, waiting_frames
from tests.helpers.can_links import attribute, message, refusal

RECEIPT = message(2, struct.pack("=i", 0) + bytes(16))


def queue(waiting: int) -> bytes:
    """RTM_NEWQDISC, with attributes beside ours in between as kernels have them."""
    basic = attribute(1, struct.pack("=QI", 480, 30))
    statistics = attribute(3, struct.pack("=5I", waiting, waiting * 16, 1, 2, 3))
    body = struct.pack("=BxxxiIII", 0, 3, 0, 0xFFFF_FFFF, 2)
    body += attribute(1, b"pfifo_fast\0") + attribute(12, b"\0") + attribute(7, basic + statistics)
    return message(36, body + attribute(3, bytes(36)))


def test_the_frames_of_a_queue_are_told_and_an_interface_without_one_holds_none() -> None:
    assert waiting_frames(queue(7) + RECEIPT) == 7
    assert waiting_frames(RECEIPT) == 0


def test_an_answer_that_has_not_come_to_its_end_goes_on() -> None:
    assert waiting_frames(b"") is None
    assert waiting_frames(queue(7)) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(errno.ENODEV), "ENODEV"),
        (refusal(9999), "-9999"),
        (message(16, bytes(32)) + RECEIPT, "of type 16"),
        (message(36, struct.pack("=BxxxiIII", 0, 3, 0, 0, 2)) + RECEIPT, "without statistics"),
        (queue(7)[:-4], "bytes, "),
        (queue(7)[:8], "8 bytes instead of 16"),
    ],
)
def test_what_is_no_such_answer_is_said(answer: bytes, words: str) -> None:
    with pytest.raises(LinkError) as caught:
        waiting_frames(answer)
    assert words in str(caught.value)


@given(st.data())
def test_any_bytes_are_a_number_or_the_documented_error(data: st.DataObject) -> None:
    answer = bytearray(queue(7) + RECEIPT)
    for _ in range(data.draw(st.integers(0, 8))):
        answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(LinkError):
        waiting = waiting_frames(bytes(answer[: data.draw(st.integers(0, len(answer)))]))
        assert waiting is None or 0 <= waiting < 1 << 34


def test_the_kernel_of_this_machine_answers_and_needs_no_privilege() -> None:
    assert read_waiting_frames(1) == 0  # the loopback interface has no queue
    with pytest.raises(LinkError):
        read_waiting_frames(2**31 - 1)
    assert len(queue_request(1)) == 36
