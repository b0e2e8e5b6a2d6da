"""What a tester does on one bus with a unit on another: a question, an ISO-TP transfer (ISO 15765-2)."""

from __future__ import annotations

import queue
import time
from typing import Final

from bench.relay_nodes import IDS, Node

QUESTION: Final = IDS["a"].start + 0x10
ANSWER: Final = IDS["b"].start + 0x10
TESTER: Final = IDS["a"].start + 0x20
UNIT: Final = IDS["b"].start + 0x20
TRANSFER_BYTES: Final = 4_095
BLOCK: Final = 8
# The customary bound of a tester for a flow control.
TIMEOUT_SECONDS: Final = 1.0
_QUESTION_SECONDS: Final = 5.0
_DATA_OF_FIRST: Final = 6
_DATA_OF_NEXT: Final = 7


def question_times_ms(found: dict[str, Node], times: int, pause_seconds: float) -> list[float]:
    """One question at a time. A question without an answer counts as 5,000 ms."""
    answers: queue.Queue[bytes] = queue.Queue()

    def answer(arbitration_id: int, data: bytes) -> None:
        if arbitration_id == QUESTION:
            found["b"].send(ANSWER, data)

    def hear(arbitration_id: int, data: bytes) -> None:
        if arbitration_id == ANSWER:
            answers.put(data)

    found["b"].answer, found["a"].answer = answer, hear
    spent = []
    for number in range(times):
        asked, data = time.monotonic(), number.to_bytes(8, "big")
        found["a"].send(QUESTION, data)
        try:
            while answers.get(timeout=_QUESTION_SECONDS) != data:
                pass
            spent.append((time.monotonic() - asked) * 1e3)
        except queue.Empty:
            spent.append(_QUESTION_SECONDS * 1e3)
        time.sleep(pause_seconds)
    found["a"].answer = found["b"].answer = None
    return spent


def transfer_seconds(found: dict[str, Node], size: int = TRANSFER_BYTES) -> float | None:
    """From the first frame of the tester to the unit's last; None where a flow control came too late.

    Flow controls ask for no pause between frames, and come every eight of them.
    """
    controls: queue.Queue[bytes] = queue.Queue()
    ended: queue.Queue[float] = queue.Queue()
    left = [0, 0]

    def unit(arbitration_id: int, data: bytes) -> None:
        if arbitration_id != TESTER:
            return
        if data[0] >> 4 == 1:
            left[0], left[1] = (data[0] & 15) * 256 + data[1] - _DATA_OF_FIRST, BLOCK
            found["b"].send(UNIT, bytes((0x30, BLOCK, 0)))
            return
        left[0] -= _DATA_OF_NEXT
        left[1] -= 1
        if left[0] <= 0:
            ended.put(time.monotonic())
        elif left[1] == 0:
            left[1] = BLOCK
            found["b"].send(UNIT, bytes((0x30, BLOCK, 0)))

    def tester(arbitration_id: int, data: bytes) -> None:
        if arbitration_id == UNIT:
            controls.put(data)

    found["b"].answer, found["a"].answer = unit, tester
    began = time.monotonic()
    try:
        _send(found["a"], controls, size)
        return ended.get(timeout=TIMEOUT_SECONDS) - began
    except queue.Empty:
        return None
    finally:
        found["a"].answer = found["b"].answer = None


def _send(node: Node, controls: queue.Queue[bytes], size: int) -> None:
    node.send(TESTER, bytes((0x10 | size >> 8, size & 255)) + bytes(_DATA_OF_FIRST))
    controls.get(timeout=TIMEOUT_SECONDS)
    frames = -((_DATA_OF_FIRST - size) // _DATA_OF_NEXT)
    for number in range(1, frames + 1):
        node.send(TESTER, bytes((0x20 | number & 15,)) + bytes(_DATA_OF_NEXT))
        if number % BLOCK == 0 and number < frames:
            controls.get(timeout=TIMEOUT_SECONDS)
