"""Any bytes are a CAN interface, the news that there is none, or the documented error."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import LinkError
from edge_agent.host.can_link import CanLink, parse_link
from tests.helpers.can_links import STATES, controller_data, controller_link, link_answer, message

ANSWER = link_answer(info_data=controller_data(data_bitrate=2_000_000), statistics=(1, 2, 3, 4, 5, 6))
U32 = st.integers(0, 2**32 - 1)


def read(answer: bytes) -> None:
    with contextlib.suppress(LinkError):
        link = parse_link(answer)
        assert link is None or isinstance(link, CanLink)


@given(st.binary(max_size=200), st.sampled_from([2, 3, 16, 17]))
def test_any_bytes_are_an_answer_or_the_documented_error(body: bytes, kind: int) -> None:
    read(body)
    read(message(kind, body))
    read(message(kind, ANSWER[16:32] + body))


@given(st.data())
def test_an_answer_with_some_bytes_changed_is_one_or_the_documented_error(data: st.DataObject) -> None:
    changed = bytearray(ANSWER)
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    read(bytes(changed))


@given(st.sampled_from(sorted(STATES)), U32, U32, U32, U32, st.tuples(*[st.integers(0, 65535)] * 2))
def test_what_a_driver_says_is_read_as_it_says_it(
    state: str, bitrate: int, sample_point: int, modes: int, restart_ms: int, berr: tuple[int, int]
) -> None:
    link = controller_link(
        state=state, bitrate=bitrate, sample_point=sample_point, modes=modes, restart_ms=restart_ms, berr=berr
    )
    assert (link.state, link.restart_ms, (link.tx_errors, link.rx_errors)) == (state, restart_ms, berr)
    assert (link.bitrate or 0, link.sample_point_permille or 0) == (bitrate, sample_point)
    assert (link.loopback, link.listen_only, link.fd) == (
        bool(modes & 1),
        bool(modes & 2),
        bool(modes & 0x20),
    )
