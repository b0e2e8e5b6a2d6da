"""A gate holds by what others said lately on its bus, and by nothing else: unknown means no."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.signals.model import MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from edge_agent.config.gates import GateEntry
from edge_agent.transmit.gates import Gates
from tests.helpers.signal_tables import table_of

SECOND = 1_000_000_000
SPEED = SignalModel("Speed", 0, 16)
TABLE = table_of({"Abs": [SPEED], "Other": [SPEED]})
STANDING = GateEntry("Abs.Speed", "bus", max=10)


def said(*rows: tuple[int, int], flag: int = 0, length: int = 8) -> FrameBatch:
    """Frames of (arbitration id, value)."""
    data = np.zeros((len(rows), 8), np.uint8)
    for at, (_, value) in enumerate(rows):
        data[at, :2] = np.frombuffer(value.to_bytes(2, "little"), np.uint8)
    count = len(rows)
    return FrameBatch(
        np.zeros(count, np.int64),
        np.array([one for one, _ in rows], np.uint32),
        np.full(count, flag, np.uint8),
        np.full(count, length, np.uint8),
        data,
    )


def gates_with(table: SignalTable | None = TABLE, gates: Sequence[GateEntry] = (STANDING,)) -> Gates:
    found = Gates(gates)
    for values in found.buses.values():
        values.use(table)
    return found


def test_it_holds_while_what_others_say_lies_within_and_is_fresh() -> None:
    gates = gates_with()
    bus = gates.buses["bus"]
    assert "no frame of others" in gates.closed([STANDING], SECOND)
    bus.hear(said((0x100, 500), (0x100, 10)), SECOND)
    assert gates.closed([STANDING], 2 * SECOND) == ""
    assert "nothing newer than 1 s" in gates.closed([STANDING], 2 * SECOND + 1)
    bus.hear(said((0x100, 10), (0x101, 5), (0x100, 11)), 2 * SECOND)
    assert gates.closed([STANDING], 2 * SECOND) == "Abs.Speed of bus is 11, and must be at most 10"
    bus.hear(said((0x100, 3)), 3 * SECOND)
    assert gates.closed([STANDING], 3 * SECOND) == ""


@pytest.mark.parametrize("flag", [FrameFlag.TX, FrameFlag.ERROR, FrameFlag.REMOTE, FrameFlag.EXTENDED])
def test_an_own_echo_opens_no_gate_nor_does_what_says_nothing(flag: FrameFlag) -> None:
    gates = gates_with()
    gates.buses["bus"].hear(said((0x100, 0), flag=int(flag)), SECOND)
    assert gates.closed([STANDING], SECOND)
    gates.buses["bus"].hear(said((0x100, 0)), SECOND)
    assert not gates.closed([STANDING], SECOND)


def test_what_cannot_be_decoded_is_not_known_any_more() -> None:
    gates = gates_with()
    gates.buses["bus"].hear(said((0x100, 0)), SECOND)
    gates.buses["bus"].hear(said((0x100, 0), length=1), SECOND)
    assert "no frame of others" in gates.closed([STANDING], SECOND)


def test_a_value_whose_age_is_not_known_permits_nothing() -> None:
    gates = gates_with()
    gates.buses["bus"].hear(said((0x100, 0)), 0)
    assert gates.closed([STANDING], 1)
    gates.buses["bus"].hear(said((0x100, 0)), 2)
    assert gates.closed([STANDING], 1)  # read in the future


def test_databases_that_do_not_know_it_and_other_ones_that_come_make_it_unknown() -> None:
    absent = GateEntry("Abs.Brake", "bus", max=10)
    gates = gates_with(gates=[STANDING, absent])
    gates.buses["bus"].hear(said((0x100, 0)), SECOND)
    assert not gates.closed([STANDING], SECOND)
    assert "in none of its databases" in gates.closed([STANDING, absent], SECOND)
    gates.buses["bus"].use(table_of({"Abs": [SPEED, SignalModel("Brake", 16, 8)]}))
    assert "no frame of others" in gates.closed([STANDING], SECOND)
    gates.buses["bus"].hear(said((0x100, 0)), SECOND)
    assert not gates.closed([STANDING, absent], SECOND)
    gates.buses["bus"].use(None)
    assert "not loaded" in gates.closed([STANDING], SECOND)


def test_a_name_that_two_signals_have_is_not_known() -> None:
    twice = SignalTable(MessageModel("Abs", 0x100 + at, False, False, 8, (SPEED,)) for at in range(2))
    gates = gates_with(twice)
    gates.buses["bus"].hear(said((0x100, 0), (0x101, 0)), SECOND)
    assert "2 times" in gates.closed([STANDING], SECOND)


def test_a_frame_that_another_message_claims_by_its_id_says_nothing_by_its_group() -> None:
    by_group = MessageModel("Abs", 0x18FEF100, True, True, 8, (SPEED,))
    exact = MessageModel("Foreign", 0x18FEF142, True, False, 8, (SPEED,))
    gates = gates_with(SignalTable([by_group, exact]))
    gates.buses["bus"].hear(said((0x18FEF142, 0), flag=int(FrameFlag.EXTENDED)), SECOND)
    assert gates.closed([STANDING], SECOND)
    gates.buses["bus"].hear(said((0x18FEF133, 0), flag=int(FrameFlag.EXTENDED)), SECOND)
    assert not gates.closed([STANDING], SECOND)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0x100, 0x101]),
        st.integers(0, 20),
        st.sampled_from([0, int(FrameFlag.TX)]),
        st.sampled_from([1, 8]),
        st.integers(0, SECOND),
    ),
    max_size=20,
)


@given(EVENTS)
def test_unknown_means_no(events: list[tuple[int, int, int, int, int]]) -> None:
    gates, now_ns = gates_with(), SECOND
    last: tuple[int, int] | None = None
    for arbitration_id, value, flag, length, pause_ns in events:
        now_ns += pause_ns
        gates.buses["bus"].hear(said((arbitration_id, value), flag=flag, length=length), now_ns)
        if arbitration_id == 0x100 and not flag:
            last = (value, now_ns) if length == 8 else None
        for later_ns in (0, SECOND // 2, SECOND, SECOND + 1):
            holds = last is not None and last[0] <= 10 and now_ns + later_ns - last[1] <= SECOND
            assert (gates.closed([STANDING], now_ns + later_ns) == "") is holds
