"""The tester of the relay's benchmark speaks ISO-TP as it says."""

from __future__ import annotations

from typing import cast

from bench.relay_nodes import Answer, Node
from bench.relay_tester import BLOCK, TESTER, UNIT, question_times_ms, transfer_seconds


class Side:
    """A node whose frames are at the other one at once."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.sent: list[tuple[int, bytes]] = []
        self.other: Side | None = None

    def send(self, arbitration_id: int, data: bytes) -> None:
        self.sent.append((arbitration_id, data))
        if self.other is not None and self.other.answer is not None:
            self.other.answer(arbitration_id, data)


def joined() -> dict[str, Side]:
    a, b = Side(), Side()
    a.other, b.other = b, a
    return {"a": a, "b": b}


def test_a_transfer_is_a_first_frame_and_the_rest_with_a_flow_control_before_each_eight() -> None:
    sides = joined()
    assert transfer_seconds(cast("dict[str, Node]", sides)) is not None
    frames = [data for one, data in sides["a"].sent if one == TESTER]
    assert len(frames) == 1 + 585
    assert frames[0][:2] == bytes((0x1F, 0xFF))
    assert [data[0] for data in frames[1:17]] == [0x20 | number & 15 for number in range(1, 17)]
    controls = [data for one, data in sides["b"].sent if one == UNIT]
    assert controls == [bytes((0x30, BLOCK, 0))] * 74


def test_each_question_has_its_own_answer() -> None:
    sides = joined()
    assert len(question_times_ms(cast("dict[str, Node]", sides), 5, 0.0)) == 5
    assert [data for _, data in sides["a"].sent] == [data for _, data in sides["b"].sent]
    assert len(sides["b"].sent) == 5
