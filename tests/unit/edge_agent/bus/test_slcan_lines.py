"""Lines that are not in plain form: any bytes are harmless, and what is found is in plain form."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bus.slcan_lines import PlainFrame, Reply, ReplyKind, plain_frame, reply_in

PLAIN = re.compile(rb"([trdb][0-9A-Fa-f]{3}|[TRDBx][0-9A-Fa-f]{8})[0-9A-Fa-f]+")


@given(
    st.binary(max_size=80)
    | st.from_regex(rb"\A[\x00 z]{0,3}[tTrRdDbBx][0-9A-Fa-f xL]{0,60}\Z")
    | st.text("tTrRdDbBxzZ 0123456789AFL;", max_size=60).map(str.encode)
)
def test_whatever_is_found_is_in_plain_form(line: bytes) -> None:
    found = plain_frame(line)
    if found is not None:
        assert PLAIN.fullmatch(found.line)
        assert plain_frame(found.line) in (
            PlainFrame(found.line, b"", False),
            PlainFrame(found.line, b"", True),
        )


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (b"t 121AA", b"t0121AA"),
        (b"t12 1AA", b"t0121AA"),
        (b"t0x11AA", b"t0011AA"),
        (b"t 123 8 11 22 33 44 55 66 77 88 EA5F", b"t12381122334455667788EA5F"),
        (b"T0000 1230", None),
        (b"t+120", None),
        (b"t-120", None),
        (b"t1_20", None),
        (b"t123 03FF", None),
        (b"t1239" + b"11" * 12, None),
        (b"t1230" + b"7" * 65, None),
    ],
)
def test_fields_are_found_between_blanks(line: bytes, plain: bytes | None) -> None:
    found = plain_frame(line)
    assert (None if found is None else found.line) == plain


def test_answers_are_told_by_their_line_end() -> None:
    assert reply_in(b"", b"\r") == Reply(ReplyKind.DONE)
    assert reply_in(b"", b"\a") == Reply(ReplyKind.REFUSED)
    assert reply_in(b"", b"\n") is None
    assert reply_in(b"F1", b"\r") is None


def test_an_answer_behind_an_ack_without_a_line_end_is_one() -> None:
    assert reply_in(b"\x06\x06\x06F00", b"\r") == Reply(ReplyKind.STATUS, "00")
    assert reply_in(b"\x06", b"\r") is None
    assert reply_in(b"\xff\xfe\x00", b"\r") is None


FD_FRAME = b"d1019" + b"22" * 12


@pytest.mark.parametrize(
    ("line", "hides"),
    [
        (b"t1002AABBt1012CCDD", True),
        (b"d1009" + b"11" * 12 + FD_FRAME, True),
        (b"B000001009" + b"11" * 12 + b"B000001019" + b"22" * 12, True),
        (b"t1002AABB" + FD_FRAME, True),
        (b"d1001AA1234d1001BB1235", True),
        (b"d1001AA12340d1001BB12351", True),
        (b"d1001AAd1001BB", True),
        (b"d1001AA1234", False),
        (b"d1001AAD1230123", False),
        (b"d1001AAD12301230", False),
        (b"t1002AABB" + b"00" * 6, False),
        (b"r1008" + b"dd" * 8 + b"D123", False),
    ],
)
def test_a_frame_whose_predecessor_has_lost_its_line_end_is_seen(line: bytes, hides: bool) -> None:
    """Letters of CAN FD are digits too: it must be a whole frame where no timestamp can be."""
    found = plain_frame(line)
    assert found is not None
    assert found.hides_another is hides
